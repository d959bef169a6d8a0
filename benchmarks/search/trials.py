"""One trial: a recipe made, its size, then its quality, then its speed, each only where the one before was good enough.

Whoever takes the best of many trials takes the luckiest too. So trials are told from each other by one half of the
test examples, and what was chosen is judged anew by the other half, which had no say in the choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.matrix.cases import Case, expand
from benchmarks.quality.scoring import Answers, Scored
from benchmarks.run.resume import check_same
from benchmarks.run.run import Run
from benchmarks.search.space import compressor_of
from benchmarks.verdicts import Verdict
from benchmarks.zoo.model import Model
from compressors.interface import Hardware
from results.store.quality import quality_in
from results.store.record import CaseRecord, RunHeader
from results.store.store import read_run
from results.store.tally import latest

CHOOSING, CONFIRMING = 0, 1
"""The halves of the test examples: those at even places, and the others."""
NOT_RUN = ("unsupported", "error")


@dataclass(frozen=True)
class Wanted:
    """What a result must keep. within: the most that may be lost, in the unit of the task's bound; None: no bound.
    size: of the dense model's bytes, at most. speed: against dense torch fp32, at least. timed: whether speed is
    asked for at all."""

    within: float | None
    size: float | None = None
    speed: float | None = None
    timed: bool = True


@dataclass(frozen=True)
class Trial:
    """What came of a recipe. lost, lost_high: on the choosing half, a fraction, and the upper end of its 90 % interval;
    speed, speed_low: the ratio and the lower end of its interval; None what was not measured. beyond: what was wanted
    and not kept -> by how much, relative to what was wanted, above 0. unqualified: whether the machine was not fit to
    judge speed by while it was timed. failed: why there is no result at all."""

    recipe: str
    size: float | None = None
    lost: float | None = None
    lost_high: float | None = None
    speed: float | None = None
    speed_low: float | None = None
    beyond: Mapping[str, float] = field(default_factory=dict)
    unqualified: bool = False
    failed: str = ""

    @property
    def kept(self) -> bool:
        """Whether all that was wanted was kept."""
        return not self.failed and not self.beyond

    def to_json(self) -> dict[str, Any]:
        """As Optuna's storage holds it."""
        return {**dataclasses.asdict(self), "beyond": dict(self.beyond)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Trial:
        """The same again."""
        return cls(**stored)


class Bench:
    """Measures recipes on one model and device, by the cases of the suite, whose records go to the run's file."""

    def __init__(self, run: Run, model: Model, hardware: Hardware, wanted: Wanted) -> None:
        self.run, self.model, self.hardware, self.wanted = run, model, hardware, wanted
        self._kept: set[tuple[str, str]] = set()

    def dense(self) -> None:
        """The row that all others are held against."""
        for measure in ("footprint", "accuracy"):
            self._record(self._case(measure, "dense"))

    def take_over(self, file: Path) -> None:
        """Keep what an earlier run of this search measured in the file of this one, which is then whole.

        Raises ResultsError where it was on another machine, with other libraries, or asked for something else."""
        stored = read_run(file)
        check_same(*map(_untargeted, (stored.header, self.run.writer.header)))
        for record in latest(stored.cases):
            self._kept.add((record.measure, record.case))
            self.run.writer.write(dataclasses.replace(record, run=self.run.session.run))

    def measure(self, recipe: str) -> Trial:
        """Make and measure one recipe."""
        found = Trial(recipe)
        record = self._record(self._case("footprint", recipe))
        if record.verdict in NOT_RUN:
            return dataclasses.replace(found, failed=record.reason)
        beyond: dict[str, float] = {}
        size = float(record.measures["size_ratio"].value or 0)
        found = dataclasses.replace(found, size=size)
        if self.wanted.size is not None and size > self.wanted.size:
            beyond["size"] = size / self.wanted.size - 1
            return dataclasses.replace(found, beyond=beyond)  # its answers would decide nothing
        record = self._record(case := self._case("accuracy", recipe))
        if record.verdict in NOT_RUN:
            return dataclasses.replace(found, failed=record.reason)
        loss = self.judged(case, CHOOSING).measures
        told = loss[quality_in(loss).loss]
        assert told.value is not None
        high = told.value if told.high is None else told.high
        found = dataclasses.replace(found, lost=told.value, lost_high=high)
        if self.wanted.within is not None and high > self.wanted.within:
            beyond["quality"] = (high - self.wanted.within) / self.wanted.within
            return dataclasses.replace(found, beyond=beyond)
        if not self.wanted.timed:
            return found
        record = self._record(self._case("speed", recipe))
        speedup = record.measures.get("speedup")
        if record.verdict in NOT_RUN or speedup is None or speedup.value is None:
            return dataclasses.replace(found, failed=record.reason)
        low = speedup.value if speedup.low is None else speedup.low
        if self.wanted.speed is not None and low < self.wanted.speed:
            beyond["speed"] = 1 - low / self.wanted.speed
        unqualified = record.verdict == str(Verdict.UNQUALIFIED)
        return dataclasses.replace(found, speed=speedup.value, speed_low=low, beyond=beyond, unqualified=unqualified)

    def confirm(self, recipe: str) -> Scored:
        """The recipe judged by the half of the examples that had no say in its choice."""
        return self.judged(self._case("accuracy", recipe), CONFIRMING)

    def judged(self, case: Case, half: int) -> Scored:
        """The case's quality by one half of the test examples, or by all where they are not scored one by one."""
        session, quality = self.run.session, self.model.task.quality
        dense = session.prepared.dense(self.model)
        artifact = session.prepared.artifact(case.compressor, self.model, self.hardware)
        before = session.evaluated.answers(dense.artifact, self.model, self.hardware, f"{self.model.name}: dense")
        after = session.evaluated.answers(artifact, self.model, self.hardware, case.id)
        test = dense.test()
        if not quality.one_by_one:
            return quality.judge(before, after, test, self.wanted.within)
        chosen = np.arange(half, len(test), 2)
        sides = [_of(answers, chosen, len(test)) for answers in (before, after)]
        return quality.judge(sides[0], sides[1], test[chosen], self.wanted.within)

    def _case(self, measure: str, recipe: str) -> Case:
        name, compressor = compressor_of(recipe)
        usual, *_ = expand(measure, {name: compressor}, [self.model], [self.hardware], {}, "quick")
        return usual

    def _record(self, case: Case) -> CaseRecord:
        session = self.run.session
        record = getattr(session, case.measure)(case)
        key = (case.measure, case.id)
        if key not in self._kept:  # what Optuna proposes twice is one row
            self._kept.add(key)
            self.run.keep(record)
        assert isinstance(record, CaseRecord)
        return record


def _untargeted(header: RunHeader) -> RunHeader:
    """Without the targets file, by which no trial is judged."""
    kept = {name: value for name, value in header.options.items() if name != "targets_sha256"}
    return dataclasses.replace(header, options=kept)


def _of(answers: Answers, chosen: np.ndarray, examples: int) -> Answers:
    """Of these examples; what is not kept by example stays whole."""
    return {name: values[chosen] if len(values) == examples else values for name, values in answers.items()}
