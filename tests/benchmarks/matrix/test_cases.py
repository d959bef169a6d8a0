"""Which cases there are: ids people can type and that stay, no case twice, targets where they were meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from torch import nn

from benchmarks.matrix.cases import Case, expand, role
from benchmarks.matrix.targets import Target
from benchmarks.zoo import known_models
from benchmarks.zoo.model import Model
from benchmarks.zoo.workload import Workload
from compressors import registry
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, PressbenchError

CPU = Hardware("cpu", "cpu-vnni", frozenset({"avx2", "vnni"}))
GPU = Hardware("cuda0", "cuda-sm90", device="cuda:0")


@dataclass(frozen=True)
class _Method(Compressor):
    name: ClassVar[str] = "method"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        raise NotImplementedError


@dataclass(frozen=True)
class _Control(_Method):
    family: ClassVar[str] = "control"


@dataclass(frozen=True)
class _Dense(_Method):
    family: ClassVar[str] = "dense"


@dataclass(frozen=True)
class _Text(Model):
    name: ClassVar[str] = "text"
    workloads: ClassVar[tuple[Workload, ...]] = (Workload(8, 128),)
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (Workload(1, 128), Workload(32, 512))

    def config(self) -> dict[str, Any]:
        raise NotImplementedError

    def encode(self, *_: Any) -> Any:
        raise NotImplementedError

    def train(self, *_: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class _Image(_Text):
    name: ClassVar[str] = "image"
    workloads: ClassVar[tuple[Workload, ...]] = (Workload(32),)
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (Workload(1),)


COMPRESSORS: Mapping[str, Compressor] = {
    "prune-50": _Method(),
    "bf16": _Control(),
    "int8": _Method(),
    "dense": _Dense(),
    "onnx": _Control(),
}
TARGETS = {"text": {"int8": Target(accuracy_drop=0.01, speed={"cpu-vnni": 2.0})}}


def cases(
    measure: str = "accuracy",
    models: Sequence[Model] = (_Text(),),
    hardware: Sequence[Hardware] = (CPU,),
    tier: str = "quick",
    compressors: Mapping[str, Compressor] = COMPRESSORS,
) -> list[Case]:
    return expand(measure, compressors, models, hardware, TARGETS, tier)


def test_dense_comes_first_then_controls_then_methods_each_as_given() -> None:
    assert [c.compressor_id for c in cases()] == ["dense", "bf16", "onnx", "prune-50", "int8"]
    assert [role(c.compressor) for c in cases()] == ["dense", "control", "control", "method", "method"]


def test_models_do_not_mix() -> None:
    found = [c.model.name for c in cases(models=[_Text(), _Image()])]
    assert found == ["text"] * 5 + ["image"] * 5


@pytest.mark.parametrize("measure", ["accuracy", "footprint", "speed"])
def test_ids_are_method_model_hardware(measure: str) -> None:
    found = [c.id for c in cases(measure, [_Text(), _Image()], [CPU, GPU])]
    assert len(found) == len(set(found)) == 5 * 2 * 2
    assert "prune-50-text-cpu" in found
    assert "prune-50-image-cuda0" in found


def test_only_speed_has_workloads_and_only_unusual_ones_are_named() -> None:
    only = {"int8": COMPRESSORS["int8"]}
    assert [c.id for c in cases("speed", tier="nightly", compressors=only)] == [
        "int8-text-cpu",
        "int8-text-cpu-1x128",
        "int8-text-cpu-32x512",
    ]
    assert [c.id for c in cases("speed", [_Image()], tier="full", compressors=only)] == [
        "int8-image-cpu",
        "int8-image-cpu-1",
    ]
    assert [c.id for c in cases("speed", tier="quick", compressors=only)] == ["int8-text-cpu"]
    for measure in ("accuracy", "footprint"):
        assert [(c.id, c.workload) for c in cases(measure, tier="nightly", compressors=only)] == [
            ("int8-text-cpu", None)
        ]


def test_a_case_that_would_be_there_twice_is_refused_by_name() -> None:
    for twice in ({"models": [_Text(), _Text()]}, {"hardware": [CPU, CPU]}):
        with pytest.raises(PressbenchError, match="two cases are called 'dense-text-cpu'"):
            cases(**twice)  # type: ignore[arg-type]


def test_a_target_belongs_to_its_model_and_method() -> None:
    found = {c.id: c.target for c in cases(models=[_Text(), _Image()])}
    assert found["int8-text-cpu"] == TARGETS["text"]["int8"]
    assert [target for name, target in found.items() if name != "int8-text-cpu"] == [Target()] * 9


def test_a_speed_target_is_for_its_class_of_hardware_and_the_usual_workload() -> None:
    found = {c.id: c.speed_target for c in cases("speed", hardware=[CPU, GPU], tier="nightly")}
    assert {name: target for name, target in found.items() if target is not None} == {"int8-text-cpu": 2.0}
    assert len(found) == 5 * 2 * 3


def test_the_shipped_matrix_has_every_model_and_method_under_its_own_id() -> None:
    models, variants = list(known_models().values()), registry.variants("full")
    for measure in ("accuracy", "footprint", "speed"):
        found = expand(measure, variants, models, [CPU], {}, "full")
        assert len({c.id for c in found}) == len(found)
        assert {(c.model.name, c.compressor_id) for c in found} == {(m.name, v) for m in models for v in variants}


# -- held against another --------------------------------------------------------------------------


def against(name: str, measure: str = "accuracy", asked: Mapping[tuple[str, str], Model] | None = None) -> list[Case]:
    models = [_Text(), _Image()]
    also = {"text": {"may": _Method(), "june": _Method()}}
    return expand(measure, COMPRESSORS, models, [CPU], TARGETS, "nightly", also, asked=asked, against=name)


def test_all_but_dense_are_held_against_it_where_the_model_has_it() -> None:
    held = {case.id: case.held_against for case in against("may")}
    assert {name for name, other in held.items() if other} == {
        "bf16-text-cpu", "onnx-text-cpu", "prune-50-text-cpu", "int8-text-cpu", "june-text-cpu",
    }  # fmt: skip
    assert {other.id for other in held.values() if other} == {"may-text-cpu"}


def test_the_other_is_asked_as_its_own_case_is_at_the_same_workload() -> None:
    asked = {("text", "may"): _Image()}
    by_id = {case.id: case for case in against("may", "speed", asked)}
    held = by_id["june-text-cpu-1x128"].held_against
    assert held is not None
    own = by_id["may-text-cpu-1x128"]
    assert (held.id, held.asked_as, held.compressor) == (own.id, own.asked_as, own.compressor)
    assert held.workload == own.workload and held.held_against is None


def test_without_the_option_none_is_held_against_another() -> None:
    assert not any(case.held_against for case in cases())
