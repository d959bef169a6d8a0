"""Pruning of heads and neurons after training under a penalty that draws whole units towards zero.

Sources: group lasso (Yuan and Lin 2006); on the structures of a network Wen et al. 2016 (NeurIPS); the proximal step
in closed form Parikh and Boyd 2014.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import units
from compressors.interface import Context
from compressors.pruning.importance import Importance
from compressors.pruning.scored_units import ScoredUnits
from compressors.pruning.unit_weights import UnitWeights, of_heads, of_neurons
from compressors.recovery import check_precise, recover
from compressors.units import Attention


@torch.no_grad()
def shrink(weights: UnitWeights, amount: float) -> None:
    """The proximal step of the penalty amount · Σ ‖unit‖, in place: what minimizes it plus half the squared distance
    from where training has moved the weights to. Each unit gets shorter by `amount`, or zero."""
    norms = weights.norms()
    weights.scale((norms - amount).clamp_(min=0) / norms.clamp(min=torch.finfo(norms.dtype).tiny))


def heads(model: nn.Module, attention: Attention) -> UnitWeights:
    """What is drawn to zero of a head: its rows of the value and the columns that read it, the columns alone where
    other heads have the same value. Without either it says nothing; query and key say where it looks only."""
    return of_heads(model, attention, (attention.value,) if attention.per_group == 1 else ())


@dataclass(frozen=True)
class PruneGroupLasso(ScoredUnits):
    """Trains under a penalty on each head and neuron first, so that units which the model can do without become small
    as a whole, then removes the smallest of every layer and recovers by distillation.

    pull: how hard, as the share of its layer's mean length that a unit loses in all if nothing holds it.
    penalty_epochs: of that training, by distillation from the dense model. The others are those of every score of
    units; where no head or no neuron is to go, none is drawn to zero.
    """

    name: ClassVar[str] = "prune-group-lasso"
    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {}}

    pull: float = 0.5
    penalty_epochs: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.pull <= 2:
            raise ValueError(f"pull = {self.pull!r}: must be above 0, at most 2")
        if not self.penalty_epochs > 0:
            raise ValueError(f"penalty_epochs = {self.penalty_epochs!r}: must be above 0")

    def importance(self, model: nn.Module, context: Context) -> list[Importance]:
        check_precise(model, self.name)
        blocks = units.blocks(model)
        of_each_head = [tuple(heads(model, one) for one in block.attentions) for block in blocks]
        of_each_neuron = [of_neurons(model, block.feed_forward) for block in blocks]
        drawn: list[UnitWeights] = []
        if self.heads_removed or self.groups_removed:
            drawn += [weights for own in of_each_head for weights in own]
        if self.neurons_removed:
            drawn += of_each_neuron
        lengths = [float(weights.norms().mean()) for weights in drawn]

        def before_step(step: int, steps: int) -> None:
            for weights, length in zip(drawn, lengths, strict=True):
                shrink(weights, self.pull * length / steps)

        recover(
            model, context, epochs=self.penalty_epochs, learning_rate=self.learning_rate, what=f"{self.name}: penalty",
            before_step=before_step,
        )  # fmt: skip
        return [
            Importance(tuple(weights.norms() for weights in own), neurons.norms())
            for own, neurons in zip(of_each_head, of_each_neuron, strict=True)
        ]
