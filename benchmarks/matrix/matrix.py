"""What the options select: models, devices, compressors, and the cases of every measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.hardware import select
from benchmarks.matrix.cases import MEASURES, Case, expand
from benchmarks.matrix.expectations import load_expectations
from benchmarks.matrix.selection import additions, parse_compressors
from benchmarks.matrix.targets import Stated, Targets, load_targets, parse_targets
from benchmarks.matrix.tiers import check_tier
from benchmarks.matrix.within import bounds_of_run
from benchmarks.measure.memory import default_limit, parse_size
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.selection import Selected, select_models
from benchmarks.zoo.own.unreachable import UnreachableModel
from compressors import registry
from compressors.interface import Compressor


class Matrix:
    """What the options select, checked once. option: an option's value by its name, as `--tier`.

    Raises PressbenchError, one line, for anything unknown."""

    def __init__(self, option: Callable[[str], Any]) -> None:
        self.tier = str(option("--tier"))
        check_tier(self.tier)
        every = registry.variants("full")
        chosen = select_models(option, Path.cwd())
        self.models = list(chosen.models)
        added = {model.name: additions(model) for model in self.models}
        known = {**every, **{name: one for own in added.values() for name, one in own.items()}}
        self.targets = self._targets(Path(option("--targets")), chosen, known)
        self.hardware = [select(name) for name in option("--hardware") or ["cpu"]]
        limit = option("--memory-limit")
        self.memory_limit = parse_size("--memory-limit", limit) if limit else default_limit()
        self.compressors = parse_compressors(option("--compressor"), self.tier, bool(option("--sweep")))
        also = None if option("--compressor") else added
        within = bounds_of_run(option("--within") or [], self.models)
        self.cases = {
            measure: expand(
                measure, self.compressors, self.models, self.hardware, self.targets, self.tier, also, within
            )
            for measure in MEASURES
        }
        everywhere = {
            (measure, case.id)
            for measure in MEASURES
            for case in expand(measure, every, list(zoo.known_models().values()), self.hardware, {}, "full")
        }
        self.existing = everywhere | {(measure, c.id) for measure, cases in self.cases.items() for c in cases}
        self.expectations = load_expectations(Path(option("--expected")), self.existing)

    def _targets(self, path: Path, chosen: Selected, every: Mapping[str, Compressor]) -> Targets:
        """Those of the targets files, and those that a zoo file states of its models."""
        known = {model.name: Stated.of(model) for model in (*zoo.known_models().values(), *self.models)}
        found = load_targets(path, known, every, dict.fromkeys(chosen.targets, chosen.source))
        return {**found, **parse_targets(chosen.source, chosen.targets, known, every, ".targets")}

    @property
    def own(self) -> list[OwnModel]:
        """The models that a person declared."""
        return [model for model in self.models if isinstance(model, OwnModel)]

    @property
    def out_of_reach(self) -> dict[str, str]:
        """The declared models that cannot be looked at -> why."""
        return {model.name: model.assets[0].reason for model in self.models if isinstance(model, UnreachableModel)}


def unresolvable(cases: Iterable[Case]) -> Mapping[str, int]:
    """Why accuracy cannot be judged with so few examples -> how many of `cases` that concerns."""
    found: dict[str, int] = Counter()
    for case in cases:
        task, margin = case.model.task, case.quality_bound if case.measure == "accuracy" else None
        if margin and (reason := task.quality.resolves(task.test_examples, margin)):
            found[f"{case.model.name}: {reason}"] += 1
    return found
