"""Groups of layers share one set of weights, which is stored once; then recovery by distillation.

Sources: ALBERT (Lan et al. 2020) and the Universal Transformer (Dehghani et al. 2019), where all layers are one;
Takase and Kiyono 2021 for the patterns, of which "blocks" is their sequence and "cycle" their cycle. As many operations
as before are executed. Exports write a shared weight once too: of a BERT whose two layers are one, ONNX was 0.62 and
OpenVINO 0.56 of the size without sharing. In ONNX it stays behind a Transpose, where int8-onnxruntime finds no constant
to quantize: the layers then run in fp32, in a larger file than without sharing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.recovery import Recovering, check_precise, imitation
from compressors.training import autocast


def groups(layers: int, uses: int, pattern: str) -> list[list[int]]:
    """The positions that share, a list for each set of weights that stays: of 6 layers with 2 uses [0, 1], [2, 3],
    [4, 5] in blocks and [0, 3], [1, 4], [2, 5] in a cycle. Where they do not come out even, the last have fewer."""
    distinct = -(-layers // uses)
    owners = [i // uses if pattern == "blocks" else i % distinct for i in range(layers)]
    return [[i for i in range(layers) if owners[i] == owner] for owner in range(distinct)]


def share(layers: Sequence[nn.Module], mean: bool = False) -> None:
    """Give all `layers` the parameters of the first of them, or with `mean` their mean. Those without a counterpart of
    the same name, shape and type stay a layer's own. The modules stay several: each has its slot in a key-value cache
    and its kind of attention."""
    users: dict[tuple[str, torch.Size, torch.dtype], list[nn.Module]] = {}
    for layer in layers:
        for name, weight in layer.named_parameters(remove_duplicate=False):
            users.setdefault((name, weight.shape, weight.dtype), []).append(layer)
    for (name, _, _), alike in users.items():
        weights = [surgery.get(layer, name) for layer in alike]
        if mean:
            with torch.no_grad():
                weights[0].copy_(torch.stack(weights).mean(0))
        for layer in alike[1:]:
            surgery.replace(layer, name, weights[0])


def best_first(layers: Sequence[nn.Module], loss: Callable[[], float]) -> list[nn.Module]:
    """The same with that one first whose weights in all places leave the least loss."""
    before: list[dict[str, Any]] = [dict(layer.named_parameters(remove_duplicate=False)) for layer in layers]
    orders = [[layer, *(other for other in layers if other is not layer)] for layer in layers]
    losses = []
    for order in orders:
        share(order)
        losses.append(loss())
        for layer, own in zip(layers, before, strict=True):
            for name, weight in own.items():
                surgery.replace(layer, name, weight)
    return orders[losses.index(min(losses))]


@dataclass(frozen=True)
class ShareLayers(Recovering):
    """Lets groups of layers share one set of weights, which is stored once, then recovers by distillation.

    uses: in how many places each set of weights is used; 2 halves the bytes of the layers, as many as there are layers
    leaves one. pattern: which share, "blocks" (neighbours, AABBCC) or "cycle" (ABCABC). start: the weights that a group
    begins with, of its "first" layer, their "mean", or of the "best", whose use in all its places moves the dense
    model's states and answers least on the calibration data. recovery_epochs: passes over the training data.
    learning_rate: its peak.
    """

    name: ClassVar[str] = "share-layers"
    family: ClassVar[str] = "sharing"
    effect: ClassVar[Effect] = "storage"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "": {}, "cycle": {"pattern": "cycle"}, "3": {"uses": 3},
    }  # fmt: skip
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"uses": (2, 3, 6)}

    uses: int = 2
    pattern: Literal["blocks", "cycle"] = "blocks"
    start: Literal["first", "mean", "best"] = "best"

    def __post_init__(self) -> None:
        if self.uses < 2:
            raise ValueError(f"uses = {self.uses!r}: must be 2 (pairs of layers share) or more")
        super().__post_init__()

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            before = _weights(skeleton)
            for layers in self._groups(skeleton):
                share(layers)
            if _weights(skeleton) == before:
                raise surgery.UnknownStructure(_nothing(skeleton))

        return surgery.structure_reason(model, check)

    def _groups(self, model: nn.Module) -> list[list[nn.Module]]:
        stacks = [surgery.get(model, name) for name in surgery.layer_lists(model)]
        return [[stack[i] for i in group] for stack in stacks for group in groups(len(stack), self.uses, self.pattern)]

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        check_precise(model, self.name)
        for module in model.modules():
            if hasattr(module, "logical_weights"):
                told = f"its weights are stored as {type(module).__name__}: share layers before that"
                raise Unsupported(f"{self.name}: {told}")
        before, groups_of = _weights(model), self._groups(model)
        loss = _loss(model, context) if self.start == "best" else None
        for done, layers in enumerate(groups_of):
            share(best_first(layers, loss) if loss else layers, mean=self.start == "mean")
            context.progress("sharing", done + 1, len(groups_of))
        if _weights(model) == before:
            raise Unsupported(_nothing(model))
        self.recover(model, context)
        return Compressed(model)  # what is shared, the file itself says


def _loss(model: nn.Module, context: Context) -> Callable[[], float]:
    """How far `model`, as it is then, is from the dense one on the calibration data, as recovery sees it."""
    batches, loss = list(context.require_calibration().batches(16)), imitation(context.dense().eval())

    @torch.no_grad()
    def now() -> float:
        with autocast(context.hardware):
            return sum(float(loss(model, batch)) * len(batch) for batch in batches)

    return now


def _weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _nothing(model: nn.Module) -> str:
    depths = [len(surgery.get(model, name)) for name in surgery.layer_lists(model)]
    have = " and ".join(f"{depth} layer{'s' * (depth > 1)}" for depth in depths)
    return f"{type(model).__name__} has {have} of weights, no two apart and alike in shape: nothing would be shared"
