"""Heads and neurons by how much of them arrives: activation times the weights that read it.

Source: Wanda (Sun et al. 2024, ICLR), there of single weights.
"""

from __future__ import annotations

import torch
from torch import nn

from compressors import surgery, units
from compressors.calibration import all_at_once
from compressors.interface import Context
from compressors.moments import squares
from compressors.pruning.importance import Importance, of_blocks


@torch.no_grad()
def importance(model: nn.Module, context: Context) -> list[Importance]:
    """The norm of |weight| times the root mean square of what it multiplies, over all weights that read a unit: of a
    neuron the product of the two norms. On the calibration data, padding left out."""
    counts: dict[str, int] = {}
    for block in units.blocks(model):
        counts |= {one.output: one.heads for one in block.attentions}
        counts[block.feed_forward.contract] = block.feed_forward.neurons
    worth = {}
    for name, sums in squares(all_at_once(model, context), list(counts)).items():
        columns = surgery.get(model, name).weight.float().square().sum(0)  # (inputs,)
        worth[name] = (sums * columns).view(counts[name], -1).sum(1).sqrt()
    return of_blocks(model, worth)
