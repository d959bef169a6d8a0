"""SmoothQuant: what is large in a few inputs of a layer is moved into its weights, so that 8 bits do for both (Xiao et
al. 2023). It changes no answer; what makes it worth its while is the int8 kernel behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.calibration import watch_inputs
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.quantization.int8_onnxruntime import Int8OnnxRuntime
from compressors.quantization.int8_openvino import Int8Openvino
from compressors.stream import Norm
from compressors.stream_tracing import find

EXECUTORS: Mapping[str, tuple[Compressor, ...]] = {
    "onnxruntime": Int8OnnxRuntime().steps,
    "openvino": Int8Openvino().steps,
    "none": (),
}
"""What may come behind it."""
ROUNDING = 1e-3
"""How far the answers may move, in units of their deviation."""


class ScaledLinear(nn.Module):
    """A linear layer that multiplies its inputs first: (…, in) -> (…, out). factor: (in,) float32, which layers that
    are given the same share."""

    factor: Tensor

    def __init__(self, layer: nn.Linear, factor: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("factor", factor)

    @property
    def weight(self) -> Tensor:
        """That of the layer, for models that ask it for its type."""
        return self.layer.weight

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        return self.layer(values * self.factor)


@dataclass(frozen=True)
class QuantizeSmooth(Compressor):
    """Divides the inputs of query, key, value and of the first feed-forward layers by s, multiplies the columns of
    their weights by s, and has them computed with 8 bits for both.

    strength: the a in s = max|x|^a / max|w|^(1-a) of each input, 0 to 1: 1 makes all inputs equally large, 0 all
    columns of weights. executor: whose int8 follows: "onnxruntime"; "openvino", which smooths once more by itself; or
    "none", to put something else behind it: `quantize-smooth:executor=none+…`.

    Where nothing but these layers reads what a norm answers, as in pre-norm models, its weight is divided by s. Else
    the layers get a product in front of them.
    """

    name: ClassVar[str] = "quantize-smooth"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"openvino": {"executor": "openvino"}}

    strength: float = 0.5
    executor: str = "onnxruntime"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength = {self.strength!r}: must lie between 0 and 1")
        if self.executor not in EXECUTORS:
            raise ValueError(f"executor = {self.executor!r}: must be one of {', '.join(EXECUTORS)}")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (replace(self, executor="none"), *EXECUTORS[self.executor])

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, lambda skeleton: _smoothed(surgery.as_linears(skeleton)))

    @torch.no_grad()
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        if not len(context.require_calibration()):
            raise PressbenchError(f"{self.name}: no calibration examples: how large inputs are cannot be told")
        few, output = context.require_calibration()[:2].inputs, context.model.output
        names = _smoothed(surgery.as_linears(model))
        groups = _largest(model, names, context)
        before = getattr(model(**few), output)
        norms = _norms(model, few, output)
        scaled: list[list[str]] = []
        for group, largest in groups:
            layers = [surgery.get(model, name) for name in group]
            scale = self.scale([layer.weight for layer in layers], largest)
            for layer in layers:
                layer.weight.mul_(scale)
            if norm := norms.get(frozenset(group)):
                _divide(surgery.get(model, norm.name), norm.offset, scale)
            else:
                scaled.append(group)
                _scale(model, group, 1 / scale)
        after = getattr(model(**few), output)
        moved = float((after - before).square().mean().sqrt() / before.std().clamp_min(1e-12))
        if not moved <= ROUNDING:
            raise PressbenchError(
                f"{self.name}: the answers move by {moved:.2g} of their deviation before any rounding"
            )
        return Compressed(model, {"scaled": scaled})

    def scale(self, weights: Sequence[Tensor], largest: Tensor) -> Tensor:
        """What the columns are multiplied by, (inputs,), of layers that are given the same. weights: (outputs, inputs)
        each. largest: (inputs,) the largest size of each input. One, where an input or its column is always zero."""
        heaviest = torch.stack([weight.abs().amax(0) for weight in weights]).amax(0)
        scale = largest**self.strength / heaviest ** (1 - self.strength)
        return torch.where((largest > 0) & (heaviest > 0), scale, 1.0)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for group in structure["scaled"]:
            _scale(model, group, torch.empty(surgery.get(model, group[0]).in_features))
        return model


def _smoothed(model: nn.Module) -> list[str]:
    """The layers of the blocks that read what a norm answers: all but those behind an attention or an activation."""
    blocks = units.blocks(model)
    inner = {block.feed_forward.contract for block in blocks} | {a.output for b in blocks for a in b.attentions}
    return [name for block in blocks for name in block.linears if name not in inner]


def _largest(model: nn.Module, names: Sequence[str], context: Context) -> list[tuple[list[str], Tensor]]:
    """The layers, those together that are given the same, and the largest size of each of their inputs: (inputs,)."""
    leaders: dict[str, str] = {}
    largest: dict[str, Tensor] = {}
    last: tuple[Tensor, str, Tensor] | None = None

    def see(name: str, rows: Tensor) -> None:
        nonlocal last
        if not len(rows):
            return
        if last is None or last[0] is not rows:
            last = (rows, name, rows.abs().amax(0))
        leader, found = leaders.setdefault(name, last[1]), last[2]
        largest[leader] = torch.maximum(largest[leader], found) if leader in largest else found

    watch_inputs(model, names, context, see)
    for name in names:
        if name not in leaders:
            raise PressbenchError(f"the calibration data never reaches {name}: nothing can be said of its inputs")
        if not bool(largest[leaders[name]].isfinite().all()):
            raise PressbenchError(f"{QuantizeSmooth.name}: what {name} is given by the calibration data is not finite")
    return [([n for n in names if leaders[n] == leader], values) for leader, values in largest.items()]


def _norms(model: nn.Module, inputs: Mapping[str, Tensor], output: str) -> dict[frozenset[str], Norm]:
    """The norms whose answers no one wants but the linear layers that are the key."""
    try:
        stream = find(model, inputs, output)
    except surgery.UnknownStructure:
        return {}
    return {
        frozenset(norm.readers): norm
        for norm in stream.norms
        if norm.use == "read" and surgery.get(model, norm.name).weight is not None
    }


def _divide(norm: Any, offset: float, scale: Tensor) -> None:
    """Divide what a norm answers by `scale`, in place. offset: what it adds to its weight."""
    weight, bias = norm.weight, getattr(norm, "bias", None)
    weight.copy_((weight + offset) / scale - offset)
    if bias is not None:
        bias.div_(scale)


def _scale(model: nn.Module, names: Sequence[str], factor: Tensor) -> None:
    """Put a product with `factor` in front of these layers, in place."""
    for name in names:
        surgery.replace(model, name, ScaledLinear(surgery.get(model, name), factor))
