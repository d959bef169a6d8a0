"""Structured pruning: whole attention heads and feed-forward neurons go, and the products get smaller.

Sources: Michel et al. 2019 (NeurIPS) for the importance of heads; Molchanov et al. 2017 (ICLR) and 2019
(CVPR) for first-order Taylor importance of neurons. Both are the same estimate: how much the loss would
change if the activation were zero, |sum of gradient times activation|.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.recovery import check_recovery, recover
from compressors.surgery import Block
from compressors.training import autocast, supervised


@dataclass(frozen=True)
class Importance:
    """Of one block. heads: (heads,), neurons: (feed-forward width,), float32, unit of the loss."""

    heads: Tensor
    neurons: Tensor


def importance(model: nn.Module, context: Context, batch_size: int = 16) -> list[Importance]:
    """The Taylor importance of every head and neuron, block by block, on the calibration data.

    For each example, gradient times activation is summed over positions (and over a head's width)
    before the absolute value is taken, then averaged over the examples. The loss is the cross-entropy to
    the labels: against the dense model's own answers every gradient would be zero.
    """
    calibration = context.require_calibration()
    if calibration.labels is None:
        raise Unsupported("the calibration data has no labels: first-order importance needs a loss")
    blocks = surgery.blocks(model)
    scores: dict[str, Tensor] = {}
    rows = 0

    def watch(name: str, parts: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        scores[name] = torch.zeros(parts)

        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            activation = args[0]  # (batch, positions, width)

            def collect(gradient: Tensor) -> None:
                change = gradient.float() * activation.detach().float()
                change = change.reshape(rows, -1, change.shape[-1]).sum(1)  # (batch, width); OPT flattens positions
                scores[name] += change.unflatten(1, (parts, -1)).sum(2).abs().sum(0).cpu()

            activation.register_hook(collect)

        return hook

    handles = []
    for block in blocks:
        output, contract = surgery.get(model, block.output), surgery.get(model, block.contract)
        handles.append(output.register_forward_pre_hook(watch(block.output, surgery.head_count(model, block))))
        handles.append(contract.register_forward_pre_hook(watch(block.contract, contract.in_features)))
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            rows = len(batch)
            with autocast(context.hardware):
                loss = supervised(model, batch) * len(batch)
            loss.backward()
            context.progress("importance", done + 1, -(-len(calibration) // batch_size))
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    return [Importance(scores[b.output] / len(calibration), scores[b.contract] / len(calibration)) for b in blocks]


def best(scores: Tensor, removed: float) -> Tensor:
    """Positions of the highest scores, in order, at least one: (n,) -> (kept,) int64."""
    kept = max(1, len(scores) - round(removed * len(scores)))
    return scores.sort(descending=True, stable=True).indices[:kept].sort().values


def cut(model: nn.Module, block: Block, heads: Tensor, neurons: Tensor) -> None:
    """Keep only these heads and neurons of a block; equals multiplying the others' outputs by zero."""
    if len(heads) < surgery.head_count(model, block):
        surgery.prune_heads(model, block, heads.tolist())
    surgery.prune_neurons(model, block, neurons)


@dataclass(frozen=True)
class PruneStructured(Compressor):
    """Removes the least important attention heads and feed-forward neurons of every layer, then recovers
    by distillation.

    heads_removed, neurons_removed: share of each layer's that goes, 0 to below 1; one always stays.
    recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "prune-structured"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "heads": {"neurons_removed": 0.0},
        "neurons": {"heads_removed": 0.0},
        "75": {"heads_removed": 0.75, "neurons_removed": 0.75, "recovery_epochs": 3.0},
    }

    heads_removed: float = 0.5
    neurons_removed: float = 0.5
    recovery_epochs: float = 1.0
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        for field in ("heads_removed", "neurons_removed"):
            share = getattr(self, field)
            if not 0 <= share < 1:
                raise ValueError(f"{field} = {share!r}: must be a share from 0 to below 1 (0.5 removes half)")
        if not self.heads_removed and not self.neurons_removed:
            raise ValueError("heads_removed and neurons_removed are both 0: nothing would be pruned")
        check_recovery(self.recovery_epochs, self.learning_rate)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if model.output != "logits":
            return "its answers are hidden states: first-order importance needs labels and a loss"
        return surgery.structure_reason(model, self._check_prunable)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        structure: dict[str, list[int]] = {"heads": [], "neurons": []}
        for block, scores in zip(surgery.blocks(model), importance(model, context), strict=True):
            heads, neurons = best(scores.heads, self.heads_removed), best(scores.neurons, self.neurons_removed)
            cut(model, block, heads, neurons)
            structure["heads"].append(len(heads))
            structure["neurons"].append(len(neurons))
        recover(model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name)
        return Compressed(model, structure)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        counts = zip(structure["heads"], structure["neurons"], strict=True)
        for block, (heads, neurons) in zip(surgery.blocks(model), counts, strict=True):
            cut(model, block, torch.arange(heads), torch.arange(neurons))
        return model

    def _check_prunable(self, model: nn.Module) -> None:
        for block in surgery.blocks(model):
            heads = 1 if self.heads_removed else surgery.head_count(model, block)
            cut(model, block, torch.arange(heads), torch.arange(1))
