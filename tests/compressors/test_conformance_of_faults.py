"""Each check of the contract sees the fault that it is there for, and only that one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from compressors import units
from compressors.conformance import CHECKS, ConformanceError, checks
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.runtimes.base import Forward, runtime_classes
from compressors.runtimes.torch import TorchRuntime
from compressors.tiny_specs import TINY_SPECS


@dataclass(frozen=True)
class _Halve(Compressor):
    """A sound one: halves the weights of the classifier, and says that only numbers change."""

    name: ClassVar[str] = "planted"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "simulated"

    factor: float = 0.5

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        with torch.no_grad():
            model.classifier.weight.mul_(self.factor)
        return Compressed(model)


class _Nothing(_Halve):
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(model)


class _NothingFaster(_Nothing):
    effect: ClassVar[Effect] = "kernel"


class _NothingSmaller(_Nothing):
    effect: ClassVar[Effect] = "storage"


class _ZerosAreNotFaster(_Halve):
    """Unstructured zeros save no time, whatever the method claims."""

    effect: ClassVar[Effect] = "kernel"

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter[torch.rand_like(parameter) < 0.5] = 0
        return Compressed(model)


class _Random(_Halve):
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        with torch.no_grad():  # not from torch's generator, which is seeded
            model.classifier.weight.mul_(1 + int.from_bytes(os.urandom(4), "big") / 2**32)
        return Compressed(model)


class _Inherits(_Halve):
    """Lives on what it finds in the generator: the suite seeds it, so this is sound."""

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        with torch.no_grad():
            model.classifier.weight.add_(torch.randn_like(model.classifier.weight))
        return Compressed(model)


class _Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = inner.weight, inner.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * nn.functional.linear(values, self.weight, self.bias)


class _Forgets(_Halve):
    """The weights fit the skeleton, but the module that used them differently does not come back."""

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        model.classifier = _Doubled(model.classifier)
        with torch.no_grad():
            model.classifier.weight.mul_(0.7)
        return Compressed(model)


class _Remembers(_Forgets):
    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        model.classifier = _Doubled(model.classifier)
        return model


class _ForgetsShapes(_Halve):
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        for block in units.blocks(model):
            units.keep_neurons(model, block.feed_forward, torch.arange(64))
        return Compressed(model)


class _NotANumber(_Halve):
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        with torch.no_grad():
            model.classifier.weight[0, 0] = float("nan")
        return Compressed(model)


class _SupportsRaises(_Halve):
    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if model.config["num_hidden_layers"] else "no layers"  # a ResNet has no such key


class _SupportsTalks(_Halve):
    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return "first line\nsecond line" if model.architecture == "resnet" else None


class _SupportsSaysNo(_Halve):
    def supports(self, model: ModelSpec, hardware: Hardware) -> Any:
        return False  # is that no reason, or not supported?


class _SupportsIsEmpty(_Halve):
    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return " " if model.architecture == "resnet" else None


class _Looks(_Halve):
    """What it finds first is the same whatever it does then."""

    @property
    def finds_by(self) -> Mapping[str, Any]:
        return {}

    def find(self, model: nn.Module, context: Context) -> dict[str, torch.Tensor]:
        return {"largest": model.classifier.weight.detach().abs().max()[None]}

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        largest = self.findings(model, context)["largest"]
        with torch.no_grad():
            model.classifier.weight.clamp_(-largest / 2, largest / 2)
        return Compressed(model)


class _LooksAndTouches(_Looks):
    """Looking changes the model, which it does not where it was done before."""

    def find(self, model: nn.Module, context: Context) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            model.classifier.weight.mul_(3)
        return super().find(model, context)


class _LooksByWhatItHasNot(_Looks):
    @property
    def finds_by(self) -> Mapping[str, Any]:
        return {"depth": 3}


@dataclass(frozen=True)
class _NestedParameters(_Halve):
    pairs: tuple[tuple[int, int], ...] = ((1, 2),)  # JSON brings lists back, within the tuple as well


class _Runtime(TorchRuntime):
    """Leaves a file beside the weights when it loads them, as a cache of compiled kernels would be."""

    name: ClassVar[str] = "planted-runtime"

    def load(self, directory: Path, manifest: Mapping[str, Any], *, device: str, threads: int) -> Forward:
        (directory / "kernels.bin").write_bytes(b"x" * 1000)
        return super().load(directory, manifest, device=device, threads=threads)


class _Unlisted(_Halve):
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(super().compress(model, context).model, runtime="planted-runtime")


@pytest.fixture
def register() -> Iterator[None]:
    """The planted runtime is known."""
    runtime_classes()["planted-runtime"] = _Runtime
    yield
    del runtime_classes()["planted-runtime"]


def failing(compressor: Compressor) -> dict[str, set[str]]:
    """Kind of model -> the checks that fail."""
    found: dict[str, set[str]] = {}
    for check in checks(compressor):
        found.setdefault(check.kind, set())
        try:
            check()
        except Exception as error:
            assert "\n" not in str(error), "a fault must be told in one line"
            found[check.kind].add(check.check.__name__)
    return found


RELOAD, SEED = "reload_gives_the_same_outputs", "same_seed_gives_the_same_artifact"
EFFECT, SIZE = "effect_is_witnessed", "size_claimed_is_size_on_disk"
JSON, REASON = "parameters_survive_json", "unsupported_is_a_reason"
KEPT = "what_is_kept_changes_nothing"
FAULTS: list[tuple[type[Compressor], set[str]]] = [
    (_Halve, set()),
    (_Inherits, set()),
    (_Remembers, set()),
    (_Nothing, {EFFECT}),
    (_NothingFaster, {EFFECT}),
    (_NothingSmaller, {EFFECT}),
    (_ZerosAreNotFaster, {EFFECT}),
    (_Random, {SEED}),
    (_Forgets, {RELOAD}),
    (_ForgetsShapes, {RELOAD, EFFECT}),  # what cannot be loaded cannot be counted either
    (_NotANumber, {RELOAD}),
    (_SupportsRaises, {REASON}),
    (_SupportsTalks, {REASON}),
    (_SupportsSaysNo, {REASON}),
    (_SupportsIsEmpty, {REASON}),
    (_NestedParameters, {JSON}),
    (_Unlisted, {SIZE}),
    (_Looks, set()),
    (_LooksAndTouches, {KEPT}),
    (_LooksByWhatItHasNot, {KEPT}),
]


@pytest.mark.parametrize(("planted", "expected"), FAULTS, ids=[cls.__name__.strip("_") for cls, _ in FAULTS])
def test_a_fault_fails_the_check_that_is_there_for_it(
    register: None, planted: Any, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in set(TINY_SPECS) - {"bert", "vit"}:  # the planted ones work on a classifier
        monkeypatch.delitem(TINY_SPECS, kind)
    assert failing(planted()) == {"bert": expected, "vit": expected}


def test_every_check_has_a_fault_that_it_alone_sees() -> None:
    alone = {next(iter(expected)) for _, expected in FAULTS if len(expected) == 1}
    assert alone == {check.__name__ for check in CHECKS}


def test_parameters_that_are_no_json_are_told_as_such(register: None) -> None:
    for value in ({1, 2}, torch.float16, float("nan")):
        (found,) = [c for c in checks(_Halve(factor=value)) if c.check.__name__ == JSON and c.kind == "bert"]  # type: ignore[arg-type]
        with pytest.raises(ConformanceError, match="planted: its parameters are no JSON values"):
            found()


def test_who_supports_nothing_is_told_that_nothing_was_checked(register: None) -> None:
    class _Picky(_Halve):
        def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
            return "only on my own machine"

    with pytest.raises(ConformanceError, match="planted supports none of a tiny BERT, ViT and Llama"):
        checks(_Picky())
