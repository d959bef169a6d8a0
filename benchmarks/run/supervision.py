"""What stands around every timed case: the machine's standing, its lock, and a watch with probes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.hardware import device_of
from benchmarks.matrix.cases import Case
from benchmarks.measure.conditions import Conditions, faults, out_of_range
from benchmarks.measure.exclusive import WAIT_AGAIN_SECONDS, WAIT_SECONDS, Occupied, exclusive
from benchmarks.measure.probes import probe
from benchmarks.measure.watch import Watch
from benchmarks.measure.worker import Worker
from benchmarks.preparation.preparation import Preparation, cpus_of
from benchmarks.qualification.qualify import qualify
from benchmarks.qualification.standing import Standing, standing
from compressors.interface import Hardware, Progress
from results.history.qualification import History, QualificationStore

TRIES = 3
"""A probe that is out of range is repeated after PAUSE seconds: a dip shorter than that does not move the
median of a case that lasts seconds."""
PAUSE = 0.25


class Watched:
    """What was seen around one case; complete once the block that made it has ended."""

    def __init__(self, given: Standing, accepted: bool) -> None:
        self.standing, self.accepted = given, accepted
        self.conditions: Conditions | None = None

    @property
    def faults(self) -> list[str]:
        """Why its speed should not be judged."""
        return faults(self.conditions) if self.conditions else []

    @property
    def spoilt(self) -> str | None:
        """The reason for `unqualified`; None where the verdict stands."""
        return None if self.accepted or not self.faults else f"contended: {'; '.join(self.faults)}"

    def evidence(self) -> dict[str, Any]:
        """For the record: τ and its source, and the conditions."""
        return {
            "tau": self.standing.tau,
            "tau_source": self.standing.source,
            "qualified": self.standing.qualified,
            "qualification": self.standing.qualification,
            "contended": bool(self.faults),
            "unqualified_ok": self.accepted,
            "conditions": self.conditions.to_json() if self.conditions else {},
        }


class Supervision:
    """Of one run. The probes' workers are kept, one for each device."""

    def __init__(self, prepared: Preparation) -> None:
        self._prepared = prepared
        self._probes: dict[str, Worker] = {}
        self._standings: dict[str, Standing] = {}
        self._patience = WAIT_SECONDS

    def learn(self, standings: Mapping[str, Standing]) -> None:
        """What others have found out, by hardware."""
        self._standings.update(standings)

    @property
    def standings(self) -> Mapping[str, Standing]:
        """Of the devices that speed was judged on, by name."""
        return self._standings

    def known(self, hardware: Hardware) -> Standing:
        """The machine's standing by what is stored of it."""
        return standing(self._history(hardware), self._prepared.settings.tau)

    def _history(self, hardware: Hardware) -> History:
        kept = self._prepared.settings.qualifications
        return QualificationStore(kept).history(self._prepared.fingerprint(hardware)["hash"]) if kept else History()

    def standing(self, case: Case) -> Standing:
        """The machine's standing. Where it has none, the first case with a target starts a short
        qualification, unless the run's options say otherwise. Raises WorkerError, Occupied."""
        settings, hardware = self._prepared.settings, case.hardware
        if hardware.name in self._standings:
            return self._standings[hardware.name]
        machine = self._prepared.fingerprint(hardware)
        store = QualificationStore(settings.qualifications) if settings.qualifications else None
        found = self.known(hardware)
        wanted = settings.qualify and settings.tau is None and case.speed_target is not None
        if store and found.qualification is None and wanted:
            with self._prepared.stage("qualify", f"{hardware.name}: short qualification of this machine") as report:
                with self._impatient():
                    made = qualify(
                        hardware, store, quick=True, seed=settings.seed, machine=machine, wait=self._patience,
                        say=self._prepared.cache.say, progress=report,
                    )  # fmt: skip
            found = standing(self._history(hardware), own=made.id)
        if found.qualification is not None or settings.tau is not None:
            self._standings[hardware.name] = found  # else a later case, with a target, may bring one
        return found

    @contextlib.contextmanager
    def alone(self, hardware: Hardware, report: Progress) -> Iterator[None]:
        """Hold the device's lock. Raises Occupied."""
        with (
            self._impatient(),
            exclusive(device_of(hardware), wait=self._patience, say=self._prepared.cache.say, progress=report),
        ):
            yield

    @contextlib.contextmanager
    def _impatient(self) -> Iterator[None]:
        """Who waited in vain once does not wait as long for every case that follows."""
        try:
            yield
        except Occupied:
            self._patience = WAIT_AGAIN_SECONDS
            raise

    @contextlib.contextmanager
    def watched(self, case: Case, given: Standing) -> Iterator[Watched]:
        """Probe, watch while the block runs, probe again."""
        found = Watched(given, self._prepared.settings.unqualified_ok)
        first = self._probe(case.hardware, given.reference)
        watch = Watch(case.hardware, cpus_of(case.hardware))
        yield found
        window = watch.stop()
        probes = [first, self._probe(case.hardware, given.reference)]
        found.conditions = Conditions(window, probes, given.reference)

    def close(self) -> None:
        """End the probes' workers."""
        while self._probes:
            self._probes.popitem()[1].close()

    def _probe(self, hardware: Hardware, reference: Mapping[str, float]) -> dict[str, float]:
        """The best of a few tries, each only where the ones before were out of range."""
        name = hardware.name
        if name not in self._probes:
            self._probes[name] = Worker(
                f"probes {name}", cpus=cpus_of(hardware), threads=hardware.threads, held_to=hardware.held_to
            )
        best: dict[str, float] = {}
        try:
            for number in range(TRIES):
                if number:
                    time.sleep(PAUSE)
                for what, value in self._probes[name].call(probe, hardware, timeout=60.0).items():
                    best[what] = max(value, best.get(what, value))
                if not out_of_range(best, reference):
                    break
        except Exception:
            self._probes.pop(name).close()
            raise
        return best
