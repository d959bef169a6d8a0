"""A run of the matrix as it is kept: what measures it, the file its records go to, and what came before it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache, content_hash, default_root, hash_files
from benchmarks.hardware import select
from benchmarks.matrix.cases import Case
from benchmarks.matrix.matrix import Matrix
from benchmarks.matrix.options import given
from benchmarks.matrix.targets import target_files
from benchmarks.preparation.settings import BUDGETS, LONG_STAGE, STAGE_LIMITS, USUAL, Settings
from benchmarks.progress import Stages
from benchmarks.regression.comparison import compare, reference, undecided
from benchmarks.regression.confirmation import Suspects
from benchmarks.regression.outcome import INCOMPARABLE, REGRESSION, UNRESOLVED, Comparison
from benchmarks.regression.speed import NOT_SHOWN, in_words
from benchmarks.run.least import in_tenths, least
from benchmarks.run.node import Job
from benchmarks.run.outlook import Outlook, Planned
from benchmarks.run.resume import check_same, finished
from benchmarks.run.session import Session
from benchmarks.run.spread import SpreadSession
from results.history.comparable import of_models
from results.store.last_run import note
from results.store.record import CaseRecord, RunEnd, RunHeader
from results.store.reproduction import COMMAND
from results.store.run_writer import RunWriter
from results.store.store import Run as StoredRun
from results.store.store import new_run_id, now, read_run, resolve_run, resumable


class Run:
    """The session and the file its records go to, made when the first case needs them.

    option: an option's value by its name, as `--tier`. cases: those that are to run.
    pressbench: its version. uncaptured: a context manager factory within which printing reaches the person.
    Raises ResultsError where it cannot be stored or not be resumed."""

    def __init__(
        self,
        option: Callable[[str], Any],
        selected: Matrix,
        cases: Sequence[Case],
        *,
        pressbench: str,
        uncaptured: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        root = option("--cache")
        interrupted = _interrupted(option)
        identity = interrupted.header.run if interrupted else new_run_id()
        self._uncaptured = uncaptured
        self.stages = Stages(sys.__stderr__, uncaptured)
        settings = _settings(option, selected)
        cache = Cache(Path(root) if root else default_root(), self._say)
        self._early: dict[tuple[str, str], CaseRecord] = {}
        self.session: Session = Session(cache, settings, self.stages, identity)
        if selected.cluster is not None:
            self.session = spread = SpreadSession(cache, settings, self.stages, identity)
            job = Job(identity, settings, root, option("--cluster-cache"))
            spread.spread(selected.cluster, cases, job, self._keep_early)
            for line in selected.cluster.told():
                self._say(line)
        device = selected.hardware[0]
        print_ = self.session.prepared.fingerprint(device)
        machine = {"name": print_["key"]["cpu"]["brand_raw"], "threads": device.threads, **print_}
        if "gpu" in print_["key"]:
            machine["gpu"] = print_["key"]["gpu"]["name"]
        kept = ("model", "compressor", "hardware", "tier", "seed", "tau", "within", "against")
        options = {name: option(f"--{name}") for name in kept}
        options["cluster"] = "given" if option("--cluster") else None  # another address may lead to the same nodes
        targets = hash_files(target_files(Path(option("--targets"))))
        options["targets_sha256"] = targets[0][1] if len(targets) == 1 else content_hash(targets)
        own = {model.name: dict(model.understood) for model in selected.own}
        if own:
            options["models_sha256"] = content_hash([own, [model.identity() for model in selected.own]])
        if selected.artifacts:
            options["artifacts_sha256"] = content_hash(
                [[model, name, one.given.sha256] for model, found in selected.artifacts.items()
                 for name, one in sorted(found.items())]
            )  # fmt: skip
        header = RunHeader(
            run=identity,
            started=now(),
            pressbench=pressbench,
            options=options,
            machine=machine,
            expected=tuple(case.id for case in cases),
            extra={COMMAND: {"folder": str(Path.cwd()), "options": given(option)}, **({"models": own} if own else {})},
        )
        if interrupted:
            check_same(interrupted.header, header)
            self.writer = RunWriter.resume(interrupted)
            self.session.finished = finished(interrupted)
            count = len(self.session.finished)
            self._say(f"pressbench: resuming run {identity}: {count} of {len(cases)} cases are finished")
        else:
            self.writer = RunWriter(Path(option("--results")), header)
        note(self.writer.path)
        self.reference = reference(Path(option("--baselines")), Path(option("--results")), print_, identity)
        if isinstance(self.session, SpreadSession):
            self.session.expected = self.reference.history.seconds
        planned = [Planned(case.measure, case.id, case.model.name) for case in cases]
        self.stages.outlook = self.outlook = Outlook(planned, self.reference.history.seconds)
        self._models = {(case.model.name, case.hardware.name) for case in cases}
        self.compared: dict[tuple[str, str], Comparison] = {}
        self.suspects = Suspects(option("--rerun-after"), self._pause)

    def speed(self, case: Case) -> CaseRecord:
        """The record of a speed case beside its history. A suspected regression waits for its next turn at the
        end of the run: its record is the first one, and its test is not over."""
        again = functools.partial(self.session.speed_again, case)
        record, reruns = self.suspects.turn(case.id, lambda: self.session.speed(case), again)
        beside = self.beside_history(record, reruns)
        if beside.comparison and undecided(Comparison.from_json(beside.comparison), reruns):
            if not reruns:
                self._say(f"pressbench: {case.id}: suspected regression, measured again at the end of the run")
            self.suspects.put_off(case.id, record)
        else:
            self.suspects.settle(case.id)
        return beside

    def beside_history(self, record: CaseRecord, reruns: Sequence[CaseRecord] = ()) -> CaseRecord:
        """The record with what became of it against the accepted baseline and earlier runs: a regression makes
        it a failure, whatever its target says, and what is not settled is no pass. reruns: the same case, measured
        again in fresh processes."""
        if self.is_stored(record):  # it was compared then
            if record.comparison:
                self.compared[record.measure, record.case] = Comparison.from_json(record.comparison)
            return record
        record = _by_its_target(record)
        found = compare(record, self.reference, float(record.evidence.get("tau") or 0.0), reruns)
        if found is None:
            return record
        self.compared[record.measure, record.case] = found
        record = dataclasses.replace(record, comparison=found.to_json())
        if found.outcome == REGRESSION:
            verdict, reason = "fail", f"regression: {found.reason}"
        elif found.outcome in UNRESOLVED and record.verdict in ("pass", "measured"):
            verdict, reason = "inconclusive", f"slower than accepted, not settled: {found.reason}"
        else:
            return record
        return dataclasses.replace(record, verdict=verdict, reason=f"{reason}; by its target alone: {record.verdict}")

    @property
    def unresolved(self) -> int:
        """How many cases are slower than what was accepted, and neither a regression nor ruled out."""
        return sum(found.outcome in UNRESOLVED for found in self.compared.values())

    def is_stored(self, record: CaseRecord) -> bool:
        """Whether it was stored before the run was resumed."""
        return self.session.finished.get((record.case, record.measure)) is record

    def waits(self, record: CaseRecord) -> bool:
        """Whether it is a suspect's, which is to be measured again."""
        return record.measure == "speed" and self.suspects.waits(record.case)

    def keep(self, record: CaseRecord) -> None:
        """Store a record, unless it is stored already; a suspect's at its first turn, for a run that is killed
        before the last."""
        stored = self.is_stored(record)
        again = self.waits(record) and self.suspects.turns(record.case)
        if not stored and not again and self._early.pop((record.measure, record.case), None) != record:
            self.writer.write(record)
        self.outlook.finished(record.measure, record.case, None if stored else record.seconds.get("case"))

    def _keep_early(self, record: CaseRecord) -> None:
        """Store a record that came before its turn; in its turn it is stored again where there is more to say of it."""
        record = self.beside_history(record)
        self.writer.write(record)
        self._early[record.measure, record.case] = record

    def finish(self) -> RunEnd:
        """Write the end line. Raises ResultsError where it cannot be stored."""
        standing = self.session.supervision.known(select("cpu"))  # torch trains and evaluates there, whatever is timed
        return self.writer.finish(in_tenths(self.stages.seconds), in_tenths(least(self.stages, standing)))

    def changes(self, existing: Collection[tuple[str, str]]) -> list[str]:
        """What changed since the baseline, a line each. existing: (measure, case) of all cases that there are."""
        known = self.reference
        lines = [f"baseline: {known.note}"] if known.note else []
        counts = collections.Counter(in_words(found) for found in self.compared.values())
        if not known.note or counts.keys() - {"new"}:
            lines.append("compared: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
        lines += self._standing()
        for outcome in ("regression", *UNRESOLVED, INCOMPARABLE, "noise", "improved"):
            lines += [
                f"  {outcome}: {measure} of {case}: {found.reason}"
                for (measure, case), found in self.compared.items()
                if found.outcome == outcome
            ]
        lines += [
            f"  {NOT_SHOWN}: {case} is {1 - found.now / found.before:.0%} slower than accepted, and its baseline shows "
            f"no less than {found.detectable:.0%}: it may be slower, and it may not"
            for (_, case), found in self.compared.items()
            if in_words(found) == NOT_SHOWN and found.now and found.before
        ]
        if known.baseline:
            gone = sorted(of_models(known.baseline.cases, self._models) - set(existing))
            lines += [f"  vanished: {measure} of {case}" for measure, case in gone]
            new = [key for key in self.compared if key not in known.baseline.cases]
            lines += [f"  new: {measure} of {case}" for measure, case in new]
        return lines

    def _standing(self) -> list[str]:
        """By what allowance speed was judged on each device, and how small a slow-down could be seen at all."""
        lines, least = [], collections.defaultdict(list)
        for hardware, standing in self.session.supervision.standings.items():
            passed = "qualified" if standing.qualified else "not qualified"
            lines.append(f"speed on {hardware}: τ = {standing.tau:.3g} ({standing.source}), machine {passed}")
        for (_, case), found in self.compared.items():
            if found.detectable is not None:
                least[found.detectable].append(case)
        if least:
            ends = [f"{size:.0%} ({least[size][0]})" for size in sorted({min(least), max(least)})]
            lines.append(
                f"smallest slow-down that the baseline can show: {' to '.join(ends)}; more accepted runs or a quieter "
                "machine make it smaller"
            )
        return lines

    def _pause(self, case: str, seconds: float) -> None:
        with self.stages("wait", f"{case}: before it is measured again"):
            time.sleep(seconds)

    def _say(self, line: str) -> None:
        with self._uncaptured():
            self.stages.console.print(line, markup=False)


def _by_its_target(record: CaseRecord) -> CaseRecord:
    """Of a suspect that was stored before its reruns: what it is by its target alone."""
    headline = record.measures.get("speedup")
    if headline is None or record.verdict != "inconclusive" or record.comparison.get("outcome") not in UNRESOLVED:
        return record
    return dataclasses.replace(record, verdict=headline.verdict or "measured", reason=headline.reason)


def _settings(option: Callable[[str], Any], selected: Matrix) -> Settings:
    return Settings(
        tier=option("--tier"),
        seed=option("--seed"),
        stage_seconds=_stage_seconds(option),
        budget=BUDGETS.get(option("--tier"), USUAL),
        tau=option("--tau"),
        qualifications=Path(option("--qualifications")),
        qualify=not option("--no-qualify"),
        unqualified_ok=option("--unqualified-ok"),
        memory_limit=selected.memory_limit,
    )


def _stage_seconds(option: Callable[[str], Any]) -> float:
    said = option("--stage-limit")
    return float(said) if said is not None else STAGE_LIMITS.get(option("--tier"), LONG_STAGE)


def _interrupted(option: Callable[[str], Any]) -> StoredRun | None:
    """The stored run that --resume names; None without the option. Raises ResultsError."""
    wanted, folder = option("--resume"), Path(option("--results"))
    if wanted is None:
        return None
    return read_run(resolve_run(folder, wanted)) if wanted else resumable(folder)
