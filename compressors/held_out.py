"""Training that is not believed: what it made is compared with what was there before, on examples it did not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn

from compressors.divergence import divergence
from compressors.interface import Context, PressbenchError

HELD_OUT = 128
"""Training examples, or an eighth where that is less, on which trained and untrained are compared."""


def held_out(context: Context, what: str) -> Context:
    """The same with fewer training examples, and those that were left out, drawn by its seed, as calibration data.
    what: names the method. Raises PressbenchError where there are fewer than eight."""
    examples = context.require_training()
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(context.seed))
    held = min(HELD_OUT, len(order) // 8)
    if not held:
        raise PressbenchError(f"{what}: {len(order)} training examples are too few, it holds out one in eight")
    return dataclasses.replace(context, training=examples[order[held:]], calibration=examples[order[:held]])


def nearest_to_dense(tried: Mapping[str, nn.Module], context: Context) -> tuple[str, dict[str, float]]:
    """Which of these models is nearest to the dense one on the calibration data, the first of equals, and how far from
    it each is: see `divergence`."""
    dense = context.dense().eval()
    apart = {label: float(f"{divergence(model, dense, context):.6g}") for label, model in tried.items()}
    return min(apart, key=lambda label: apart[label]), apart
