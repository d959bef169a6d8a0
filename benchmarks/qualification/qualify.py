"""One qualification of a device of this machine, measured, judged and stored."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cache import versions
from benchmarks.hardware import device_of
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.measure.conditions import Conditions, faults, medians
from benchmarks.measure.exclusive import WAIT_SECONDS, exclusive
from benchmarks.measure.probes import array_bytes
from benchmarks.measure.watch import Watch, Window, frequencies
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.preparation.preparation import cpus_of
from benchmarks.qualification import block
from benchmarks.qualification.ceilings import ceilings
from benchmarks.qualification.criteria import criteria, qualified
from benchmarks.qualification.delay import DELAY, inject
from benchmarks.qualification.effort import FULL, QUICK
from benchmarks.qualification.noise import Round, measure_rounds
from benchmarks.qualification.spread import HISTORY, spread
from compressors.interface import Hardware, PressbenchError, Progress, no_progress
from results.history.qualification import History, Qualification, QualificationStore
from results.store.store import new_run_id, now


def qualify(
    hardware: Hardware,
    store: QualificationStore,
    *,
    quick: bool = False,
    seed: int = 0,
    machine: dict[str, Any] | None = None,
    wait: float = WAIT_SECONDS,
    say: Callable[[str], None] | None = None,
    progress: Progress = no_progress,
) -> Qualification:
    """Qualify `hardware` and store what was found. machine: its fingerprint, where it is known already.

    Holds the device's lock. Raises Occupied where somebody else does not let go of it, PressbenchError
    where the model cannot be timed, ResultsError where nothing can be stored: that, before anything is timed."""
    say = say or (lambda line: None)
    machine = machine or fingerprint(hardware)
    effort = QUICK if quick else FULL
    store.check()
    with exclusive(device_of(hardware), wait=wait, say=say, progress=progress):
        earlier = store.history(machine["hash"])  # read within the lock: who was waited for may have added to it
        started = time.perf_counter()
        watch = Watch(hardware, cpus_of(hardware))
        try:
            rounds = measure_rounds(hardware, effort, seed=seed, progress=progress)
            progress(f"injected delay of {DELAY:.0%}", effort.rounds, effort.rounds)
            delay = inject(hardware, effort.delay, seed=seed, progress=no_progress)
            window = watch.stop()
            reached = _ceilings(hardware)
        except WorkerError as error:
            raise PressbenchError(f"{hardware.name} cannot be qualified: {error}") from None
    found = spread(rounds, stored_rounds(earlier))
    judged = criteria(hardware, rounds, found, delay, window)
    qualification = Qualification(
        id=new_run_id(),
        ended=now(),
        pressbench=versions("pressbench")["pressbench"],
        fingerprint=machine["hash"],
        hardware=hardware.name,
        hardware_class=hardware.hardware_class,
        quick=quick,
        qualified=qualified(judged),
        tau=found.tau,
        tau_placement=found.placement,
        tau_contention=found.contention,
        criteria=judged,
        rounds=tuple(r.to_json() for r in rounds),
        probes=medians([r.probes for r in rounds]),
        ceilings=reached,
        machine=machine,
        noted={
            "features": sorted(hardware.features),
            "threads": hardware.threads,
            "window": dataclasses.asdict(window),
            "delay": dataclasses.asdict(delay),
            "controls": found.controls,
            "rounds_counted": found.rounds,
            "rounds_left_out": found.left_out,
            "forward_seconds": statistics.median(r.seconds for r in rounds),
            "model": {**block.CONFIG, "batch": block.BATCH, "sequence": block.SEQUENCE},
            "array_bytes": array_bytes(hardware),
            "frequencies": frequencies(cpus_of(hardware)),
        },
        seconds=round(time.perf_counter() - started, 1),
    )
    store.append(qualification)
    return qualification


def stored_rounds(history: History) -> list[Round]:
    """The rounds of a machine's latest qualifications, those taken under load by others left out: what is
    asked is how the machine is, and a case under such load gets no verdict."""
    stored = [r for q in [q for q in history.qualifications if not contended(q)][-HISTORY:] for r in q.rounds]
    return [r for r in map(Round.from_json, stored) if r is not None]


def contended(qualification: Qualification) -> bool:
    """Whether it was taken under conditions in which no case would have been judged."""
    seen = qualification.noted.get("window", {})
    steal, foreign = (value if isinstance(value := seen.get(k), int | float) else None for k in ("steal", "foreign"))
    return bool(faults(Conditions(Window(0.0, steal, foreign, None))))


def _ceilings(hardware: Hardware) -> dict[str, float | None]:
    with Worker("ceilings", cpus=cpus_of(hardware), threads=hardware.threads, held_to=hardware.held_to) as worker:
        found: dict[str, float | None] = worker.call(ceilings, hardware, timeout=block.TIMEOUT)
        return found
