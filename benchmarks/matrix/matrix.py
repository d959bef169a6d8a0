"""What the options select: models, devices, compressors, and the cases of every measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.cache import Cache, default_root
from benchmarks.cluster.nodes import Cluster
from benchmarks.hardware import select
from benchmarks.matrix.artifacts import by_options, of_model
from benchmarks.matrix.cases import MEASURES, Case, expand, role
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
from compressors.interface import Compressor, PressbenchError
from compressors.registry import nearest


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
        pickle = bool(option("--allow-pickle"))
        cache = Cache(Path(option("--cache")) if option("--cache") else default_root())
        self.artifacts = by_options(option("--artifact") or [], self.models, Path.cwd(), cache, pickle)
        for model in (model for model in self.models if not isinstance(model, UnreachableModel)):
            if stated := chosen.artifacts.get(model.name):
                found = of_model(
                    stated, model, f"{chosen.source}: [{model.name}.artifacts]", chosen.folder, cache, pickle
                )
                self.artifacts[model.name] = found | self.artifacts.get(model.name, {})
        given: dict[str, dict[str, Compressor]] = {
            model: {name: one.given for name, one in found.items()} for model, found in self.artifacts.items()
        }
        asked = {
            (model, name): one.asked
            for model, found in self.artifacts.items()
            for name, one in found.items()
            if one.asked is not None
        }
        own = {name: one for found in (*added.values(), *given.values()) for name, one in found.items()}
        known = {**every, **own}
        self.targets = self._targets(Path(option("--targets")), chosen, known)
        self.cluster = Cluster(option("--cluster")) if option("--cluster") else None
        named = option("--hardware") or []
        self.hardware = self.cluster.select(named) if self.cluster else [select(name) for name in named or ["cpu"]]
        limit = option("--memory-limit")
        self.memory_limit = parse_size("--memory-limit", limit) if limit else default_limit()
        self.compressors = parse_compressors(option("--compressor"), self.tier, bool(option("--sweep")))
        also: dict[str, dict[str, Compressor]] = {} if option("--compressor") else added
        if twice := sorted(name for found in given.values() for name in found if name in self.compressors):
            raise PressbenchError(f"--artifact {twice[0]}: --compressor names a method so; take another name")
        if option("--artifact") and not option("--compressor"):  # these, beside what they are held against
            self.compressors = {name: one for name, one in self.compressors.items() if role(one) != "method"}
            also = {}
        also = {model: {**also.get(model, {}), **given.get(model, {})} for model in {*also, *given}}
        within = bounds_of_run(option("--within") or [], self.models)
        self.against = option("--against")
        if self.against is not None:
            _check_against(
                self.against, {**self.compressors, **{n: c for found in also.values() for n, c in found.items()}}
            )
        self.cases = {
            measure: expand(
                measure,
                self.compressors,
                self.models,
                self.hardware,
                self.targets,
                self.tier,
                also,
                within,
                asked,
                self.against,
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


def _check_against(name: str, there: Mapping[str, Compressor]) -> None:
    if name not in there:
        raise PressbenchError(f"--against {name}: no compressor or artifact of this run{nearest(name, there)}")
    if role(there[name]) == "dense":
        raise PressbenchError(f"--against {name}: every case is held against the dense model as it is; name another")


def unresolvable(cases: Iterable[Case]) -> Mapping[str, int]:
    """Why accuracy cannot be judged with so few examples -> how many of `cases` that concerns."""
    found: dict[str, int] = Counter()
    for case in cases:
        task, margin = case.model.task, case.quality_bound if case.measure == "accuracy" else None
        if margin and (reason := task.quality.resolves(task.test_examples, margin)):
            found[f"{case.model.name}: {reason}"] += 1
    return found
