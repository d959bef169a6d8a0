"""Structured pruning by information: the units go whose activation says least of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Context, Hardware, ModelSpec, Unsupported
from compressors.pruning.importance import Importance, of_blocks
from compressors.pruning.scored_units import ScoredUnits
from compressors.training import autocast, real_positions

BINS = 8
"""Equally full bins of an activation's values over the examples."""


def mutual_information(values: Tensor, labels: Tensor) -> Tensor:
    """Of each column with the labels, in nats, at least 0. values: (examples, units). labels: (examples,) int64.

    The plug-in estimate on equally full bins, less what it would be by chance (Miller 1955). Values that are alike fall
    into the same bin.
    """
    count, classes = len(labels), labels.unique(return_inverse=True)
    edges = torch.quantile(values, torch.linspace(0, 1, BINS + 1)[1:-1].to(values), dim=0)  # (bins - 1, units)
    bins = (values[None] > edges[:, None]).sum(0)  # (examples, units)
    one_hot = nn.functional.one_hot(classes[1]).to(values)
    joint = torch.stack([(bins == b).to(values).T @ one_hot for b in range(BINS)], 1) / count  # (units, bins, classes)
    of_bin, of_class = joint.sum(2, keepdim=True), joint.sum(1, keepdim=True)
    terms = torch.where(joint > 0, joint * (joint / (of_bin * of_class).clamp_min(1e-30)).log(), 0)
    used = (of_bin[..., 0] > 0).sum(1)
    chance = (used - 1) * (len(classes[0]) - 1) / (2 * count)
    return (terms.sum((1, 2)) - chance).clamp_min(0)


@torch.no_grad()
def activations(model: nn.Module, context: Context, batch_size: int = 16) -> dict[str, Tensor]:
    """Name of the layer behind them -> what each head or neuron says of each calibration example: the mean over its
    real positions of a neuron's value or a head's length, (examples, units) float32."""
    found: dict[str, list[Tensor]] = {}
    real: Tensor | None = None
    rows = 0

    def watch(name: str, parts: int, width: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].detach().float().reshape(rows, -1, parts, width)
            values = values.norm(dim=-1) if width > 1 else values[..., 0]  # (batch, positions, units)
            if real is None or real.shape != values.shape[:2]:
                found.setdefault(name, []).append(values.mean(1))
            else:
                weight = real[..., None].to(values)
                found.setdefault(name, []).append((values * weight).sum(1) / weight.sum(1).clamp_min(1))

        return hook

    handles = []
    for block in units.blocks(model):
        parts = [(one.output, one.heads, one.head_size) for one in block.attentions]
        for name, count, width in (*parts, (block.feed_forward.contract, block.feed_forward.neurons, 1)):
            handles.append(surgery.get(model, name).register_forward_pre_hook(watch(name, count, width)))
    calibration = context.require_calibration()
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            rows, real = len(batch), real_positions(batch, decoder=False)
            with autocast(context.hardware):
                model(**batch.inputs)
            context.progress("activations", done + 1, -(-len(calibration) // batch_size))
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


@dataclass(frozen=True)
class PruneInformation(ScoredUnits):
    """Removes the attention heads and feed-forward neurons of every layer whose activation shares least information
    with the label, then recovers by distillation. The fields are those of every score of units.

    It asks what a unit says by itself: of two that say the same it keeps both, and one that only helps others to speak
    counts for nothing.
    """

    name: ClassVar[str] = "prune-information"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {}}

    @property
    def finds_by(self) -> Mapping[str, Any]:
        return self.parameters_beyond(ScoredUnits)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if model.output != "logits":
            return "its answers are hidden states: information about the answer needs labels"

        def check(skeleton: nn.Module) -> None:
            if surgery.predicts_tokens(skeleton):
                raise surgery.UnknownStructure(
                    "it predicts tokens: no label for each example to have information about"
                )

        return surgery.structure_reason(model, check) or super().supports(model, hardware)

    def importance(self, model: nn.Module, context: Context) -> list[Importance]:
        labels = context.require_calibration().labels
        if labels is None or labels.dim() != 1:
            raise Unsupported("the calibration data has no label for each example: nothing to have information about")
        found = activations(model, context)
        return of_blocks(model, {name: mutual_information(values, labels) for name, values in found.items()})
