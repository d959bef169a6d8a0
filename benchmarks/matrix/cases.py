"""Which cases there are: compressor × model × hardware (× workload, for speed). Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.matrix.targets import Target, Targets
from benchmarks.zoo.model import Model
from benchmarks.zoo.workload import Workload
from compressors.interface import Compressor, Hardware, PressbenchError

MEASURES = ("accuracy", "footprint", "speed")
ROLES = ("dense", "control", "method")


def role(compressor: Compressor) -> str:
    """dense, control or method: decides the order in tables and what is judged."""
    return compressor.family if compressor.family in ("dense", "control") else "method"


@dataclass(frozen=True)
class Other:
    """What cases are held against beside the dense model, see `--against`: as the case that it has by itself."""

    name: str
    compressor: Compressor
    asked: Model | None = None


@dataclass(frozen=True)
class Case:
    """One case of one measure. compressor_id names the method with its parameters."""

    measure: str
    compressor_id: str
    compressor: Compressor
    model: Model
    hardware: Hardware
    workload: Workload | None
    target: Target
    asked: Model | None = None
    """What is asked in the model's place, where the artifact reads its inputs in its own way."""
    against: Other | None = None

    @property
    def held_against(self) -> Case | None:
        """The case of the same model, device and workload that this one is held against; None where there is none."""
        if self.against is None:
            return None
        name, compressor, asked = self.against.name, self.against.compressor, self.against.asked
        return replace(self, compressor_id=name, compressor=compressor, asked=asked, target=Target(), against=None)

    @property
    def id(self) -> str:
        """Readable and stable, for `-k` and for records. The workload is named only where it is not
        the model's usual one."""
        parts = [self.compressor_id, self.model.name, self.hardware.name]
        if self.workload and self.workload != self.model.workloads[0]:
            parts.append(self.workload.name)
        return "-".join(parts)

    @property
    def asked_as(self) -> Model:
        """The model by whose preprocessing the artifact is asked."""
        return self.asked or self.model

    def own_workload(self, workload: Workload) -> Workload:
        """The same work as the artifact is given it: the same texts, in as many tokens as it reads and writes them."""
        if self.asked is None or not workload.sequence:
            return workload
        most = _tokens(self.asked)
        tokens = max(1, round(workload.sequence * self.asked.tokens_made))
        new = workload.new_tokens and max(1, round(workload.new_tokens * self.asked.tokens_made))
        return replace(workload, sequence=tokens if most is None else min(tokens, most), new_tokens=new)

    @property
    def quality_bound(self) -> float | None:
        """What may be lost, in the unit of the task's `bound`; None where nothing is stated."""
        stated: float | None = getattr(self.target, self.model.task.quality.bound)
        return stated

    @property
    def bounds_beside(self) -> dict[str, float]:
        """What is stated beside that, by name."""
        stated = {name: getattr(self.target, name) for name in self.model.task.quality.more_bounds}
        return {name: bound for name, bound in stated.items() if bound is not None}

    @property
    def speed_target(self) -> float | None:
        """The speed-up to reach on this class of hardware with this workload, if one is stated for it."""
        usual = self.workload is None or self.workload == self.model.workloads[0]
        return self.target.speed_on(
            self.hardware.hardware_class, None if usual or self.workload is None else self.workload.name
        )


def _tokens(model: Model) -> int | None:
    found = getattr(model.task, "settings", {}).get("tokens")
    return None if found is None else int(found)


def _suited(compressor: Compressor, model: Model, hardware: Hardware) -> Compressor:
    if type(compressor).suited is Compressor.suited:  # nearly all: a model need not say what it is
        return compressor
    return compressor.suited(model.spec(), hardware)


def expand(
    measure: str,
    compressors: Mapping[str, Compressor],
    models: Sequence[Model],
    hardware: Sequence[Hardware],
    targets: Targets,
    tier: str,
    also: Mapping[str, Mapping[str, Compressor]] | None = None,
    within: Mapping[str, float] | None = None,
    asked: Mapping[tuple[str, str], Model] | None = None,
    against: str | None = None,
) -> list[Case]:
    """Every case of one measure: by model, dense first, then controls, then methods. also: model -> what is
    added on it. within: model -> what any method may lose there, see `benchmarks.matrix.within`. asked:
    (model, id) -> what is asked in its place. against: the id of what all others but the dense model are held against,
    where the model has it. Rejects an id that occurs twice."""

    def ordered(model: Model) -> list[tuple[str, Compressor]]:
        own = (also or {}).get(model.name, {})
        return sorted((dict(own) | dict(compressors)).items(), key=lambda item: ROLES.index(role(item[1])))

    def target(model: Model, name: str, compressor: Compressor) -> Target:
        stated = targets.get(model.name, {}).get(name, Target())
        if role(compressor) != "method" or model.name not in (within or {}):
            return stated
        return stated.tightened(model.task.quality.bound, (within or {})[model.name])

    def other(model: Model, device: Hardware, name: str, compressor: Compressor) -> Other | None:
        if against is None or name == against or role(compressor) == "dense":
            return None
        if (found := dict(ordered(model)).get(against)) is None:
            return None
        return Other(against, _suited(found, model, device), (asked or {}).get((model.name, against)))

    cases = [
        Case(
            measure,
            name,
            suited,
            model,
            device,
            workload,
            target(model, name, suited),
            (asked or {}).get((model.name, name)),
            other(model, device, name, suited),
        )
        for model in models
        for device in hardware
        for name, compressor in ordered(model)
        for suited in (_suited(compressor, model, device),)
        for workload in (model.workloads_of(tier) if measure == "speed" else (None,))
    ]
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise PressbenchError(f"two cases are called {case.id!r}")
        seen.add(case.id)
    return cases
