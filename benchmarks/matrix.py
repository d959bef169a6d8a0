"""What the options select: models, devices, compressors, and the cases of every measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.cases import MEASURES, Case, expand
from benchmarks.expectations import load_expectations
from benchmarks.hardware import select
from benchmarks.measure.memory import default_limit, parse_size
from benchmarks.selection import parse_compressors
from benchmarks.targets import load_targets
from benchmarks.tiers import check_tier
from compressors import registry


class Matrix:
    """What the options select, checked once. option: an option's value by its name, as `--tier`.

    Raises PressbenchError, one line, for anything unknown."""

    def __init__(self, option: Callable[[str], Any]) -> None:
        self.tier = str(option("--tier"))
        check_tier(self.tier)
        every = registry.variants("full")
        self.targets = load_targets(Path(option("--targets")), zoo.stated(), every)
        self.models = [zoo.find_model(name) for name in option("--model") or zoo.known_models()]
        self.hardware = [select(name) for name in option("--hardware") or ["cpu"]]
        limit = option("--memory-limit")
        self.memory_limit = parse_size("--memory-limit", limit) if limit else default_limit()
        self.compressors = parse_compressors(option("--compressor"), self.tier)
        also = None if option("--compressor") else every
        self.cases = {
            measure: expand(measure, self.compressors, self.models, self.hardware, self.targets, self.tier, also)
            for measure in MEASURES
        }
        everywhere = {
            (measure, case.id)
            for measure in MEASURES
            for case in expand(measure, every, list(zoo.known_models().values()), self.hardware, {}, "full")
        }
        self.existing = everywhere | {(measure, c.id) for measure, cases in self.cases.items() for c in cases}
        self.expectations = load_expectations(Path(option("--expected")), self.existing)


def unresolvable(cases: Iterable[Case]) -> Mapping[str, int]:
    """Why accuracy cannot be judged with so few examples -> how many of `cases` that concerns."""
    found: dict[str, int] = Counter()
    for case in cases:
        task, margin = case.model.task, case.quality_bound if case.measure == "accuracy" else None
        if margin and (reason := task.quality.resolves(task.test_examples, margin)):
            found[f"{case.model.name}: {reason}"] += 1
    return found
