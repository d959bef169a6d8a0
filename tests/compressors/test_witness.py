"""An effect is what is executed, stored or answered otherwise: what only looks changed is none, what only runs is "
"one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressors import artifact, conformance, registry
from compressors.artifact import Artifact
from compressors.interface import Compressed, Compressor, Context, Effect
from compressors.witness import witness

DENSE = conformance.subject("bert")
INPUTS = {name: values[:8].numpy() for name, values in DENSE.examples.inputs.items()}


def renamed(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = type("FastLinear", (nn.Linear,), {})


def one_weight(model: nn.Module) -> None:
    with torch.no_grad():
        model.classifier.weight[0, 0] += 1e-9


def identities(model: Any) -> None:
    for layer in model.bert.encoder.layer:
        layer.output.dense = nn.Sequential(nn.Identity(), layer.output.dense)


class There(nn.Module):
    """To bf16 and back, what was exact there before."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values.bfloat16()
        return self.inner(values)


def there_and_back(model: Any) -> None:
    for layer in model.bert.encoder.layer:
        layer.output.dense = There(layer.output.dense)


def unused(model: Any) -> None:
    model.register_buffer("small", torch.zeros(1000, dtype=torch.int8))


class OneProduct(nn.Module):
    """A product on integers of one number, beside all others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        one = torch.ones(1, 1, dtype=torch.int8)
        return self.inner(values) + 0 * torch._int_mm(one.expand(32, 32), one.expand(32, 32))[0, 0]


def one_product(model: Any) -> None:
    model.classifier = OneProduct(model.classifier)


CHANGES = {f.__name__: f for f in (renamed, one_weight, identities, there_and_back, unused, one_product)}


class Merged(nn.Module):
    """Every two tokens that follow each other are merged for a product, and each gets its pair's."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.inner(hidden.unflatten(1, (-1, 2)).mean(2)).repeat_interleave(2, dim=1)
        return found


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], Artifact]:
    """The tiny BERT with a change of the module, saved and rebuilt by a method of its own."""

    class Changes(Compressor):
        name = "changes"
        family = "pruning"
        effect: Effect = "kernel"  # type: ignore[misc]
        change: Any = staticmethod(lambda model: None)

        def compress(self, model: Any, context: Context) -> Compressed:
            return Compressed(model)

        def restructure(self, model: Any, structure: Any) -> Any:
            type(self).change(model)
            return model

    monkeypatch.setattr(registry, "build", lambda name, parameters: Changes())

    def made(change: Callable[[Any], None]) -> Artifact:
        Changes.change = staticmethod(change)
        model = DENSE.dense.model()
        change(model)
        entry = {"compressor": "changes", "parameters": {}, "structure": {}, "seconds": 0}
        return artifact.save(model, tmp_path / change.__name__, DENSE.spec, recipe=[entry])

    return made


@pytest.mark.parametrize("name", CHANGES)
def test_what_only_looks_changed_is_no_effect(name: str, changed: Callable[..., Artifact]) -> None:
    made = changed(CHANGES[name])
    for effect in ("kernel", "storage", "simulated"):
        _, fault = witness(DENSE.dense, made, effect, INPUTS)  # type: ignore[arg-type]
        assert fault is not None, (name, effect)


def test_tokens_merged_on_their_way_are_an_effect_though_no_weight_differs(changed: Callable[..., Artifact]) -> None:
    def merges(model: Any) -> None:
        for layer in model.bert.encoder.layer:
            layer.intermediate.dense = Merged(layer.intermediate.dense)

    made = changed(merges)
    same = {name: value for name, value in made.model().state_dict().items() if "intermediate" not in name}
    before = DENSE.dense.model().state_dict()
    assert all(torch.equal(value, before[name]) for name, value in same.items())
    seen, fault = witness(DENSE.dense, made, "kernel", INPUTS)
    assert fault is None and any(line.startswith("operations ") for line in seen), seen


def test_what_was_seen_is_said() -> None:
    found = {
        label: witness(DENSE.dense, conformance._made(registry.variants()[label].steps, "bert"), "kernel", INPUTS)
        for label in ("distil-layers", "int8-onnxruntime", "int8-openvino", "quantize-weights-8bit")
    }
    assert "operations 35.7 M → 17.9 M" in found["distil-layers"][0], found["distil-layers"]
    for label, said in (("int8-onnxruntime", "94% of"), ("int8-openvino", "100% of")):
        assert any(line.startswith(f"{said} the operations on fewer bits: ") for line in found[label][0]), found[label]
    seen, fault = found["quantize-weights-8bit"]  # it stores less, and decodes before it multiplies
    assert fault == (
        "it executes what the dense model does: 35.7 M operations of 35.7 M, 0% of them on fewer bits (at most "
        "0.97×, or at least 10%)"
    )
    assert seen == [line for line in seen if line.startswith("bytes on disk 0.")]


def test_a_runtime_that_does_not_tell_is_judged_by_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    made = conformance._made(registry.variants()["distil-layers"].steps, "bert")
    monkeypatch.setattr(Artifact, "executed", lambda self, inputs: None)
    seen, fault = witness(DENSE.dense, made, "kernel", INPUTS)
    assert fault is None and "by what is stored: what it executes is not told" in seen
    _, fault = witness(DENSE.dense, DENSE.dense, "kernel", INPUTS)
    assert fault is not None and "weights of" in fault
