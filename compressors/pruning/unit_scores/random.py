"""Heads and neurons by chance: the control that every score must beat at the same size."""

from __future__ import annotations

import torch
from torch import nn

from compressors import units
from compressors.interface import Context
from compressors.pruning.importance import Importance


def importance(model: nn.Module, context: Context) -> list[Importance]:
    """Drawn from the run's seed, evenly from 0 to 1."""
    generator = torch.Generator().manual_seed(context.seed)
    return [
        Importance(
            tuple(torch.rand(one.heads, generator=generator) for one in block.attentions),
            torch.rand(block.feed_forward.neurons, generator=generator),
        )
        for block in units.blocks(model)
    ]
