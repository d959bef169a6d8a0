"""Heads and neurons by the size of their weights (Li et al. 2017, ICLR, of filters)."""

from __future__ import annotations

from torch import nn

from compressors import units
from compressors.interface import Context
from compressors.pruning.importance import Importance
from compressors.pruning.unit_weights import of_heads, of_neurons


def importance(model: nn.Module, context: Context) -> list[Importance]:
    """The L2 norm of the rows that compute a unit and of the columns that read it. The key and value of a group are of
    each of its heads."""
    return [
        Importance(
            tuple(of_heads(model, one, (one.query, one.key, one.value, *one.also)).norms() for one in b.attentions),
            of_neurons(model, b.feed_forward).norms(),
        )
        for b in units.blocks(model)
    ]
