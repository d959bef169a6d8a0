"""Blocks with fewer heads and neurons: cut, told in JSON values, and rebuilt from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressors import units
from compressors.units import Block

Kept = tuple[Block, Sequence[Sequence[int]], Tensor]
"""A block, the heads that stay of each of its attentions, and the neurons that stay, (kept,) int64."""


def cut(model: nn.Module, block: Block, heads: Sequence[Sequence[int]], neurons: Tensor) -> None:
    """Keep only these heads, of each of its attentions, and neurons of a block; equals multiplying the others' outputs
    by zero. Biases that the stack shares are left."""
    for attention, kept in zip(block.attentions, heads, strict=True):
        if len(kept) < attention.heads:
            units.keep_heads(model, attention, kept)
    if len(neurons) < block.feed_forward.neurons:
        units.keep_neurons(model, block.feed_forward, neurons)


def cut_all(model: nn.Module, kept: Iterable[Kept]) -> dict[str, Any]:
    """Keep only these heads and neurons of every block, in place, and tell how many there are, for `rebuild`. Blocks
    that share a table of biases must keep the same heads of their first attention."""
    structure: dict[str, Any] = {"heads": [], "neurons": []}
    for block, heads, neurons in list(kept):
        _cut_biases(model, block, heads[0])
        cut(model, block, heads, neurons)
        shapes = []
        for one, own in zip(block.attentions, heads, strict=True):
            groups = len({h // one.per_group for h in own})
            shapes.append([groups, len(own) // groups])
        alone = len(shapes) == 1 and shapes[0][1] == 1 == block.attention.per_group
        structure["heads"].append(shapes[0][0] if alone else shapes)
        structure["neurons"].append(len(neurons))
    return structure


def rebuild(model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
    """The model with as many heads and neurons in each block as `cut_all` told, in place."""
    stored = zip(units.blocks(model), structure["heads"], structure["neurons"], strict=True)
    for block, heads, neurons in list(stored):
        # A number is that of the only attention's heads, of which none share a key; else groups and heads of each.
        shapes = [(heads, 1)] if isinstance(heads, int) else heads
        kept = [
            [g * one.per_group + h for g in range(groups) for h in range(per)]
            for one, (groups, per) in zip(block.attentions, shapes, strict=True)
        ]
        _cut_biases(model, block, kept[0])
        cut(model, block, kept, torch.arange(neurons))
    return model


def _cut_biases(model: nn.Module, block: Block, heads: Sequence[int]) -> None:
    """Cut the table of biases that the block's stack shares, unless an earlier block has had it cut."""
    table = units.shared_bias(model, block)
    if table is not None and len(heads) < block.attention.heads:
        units.keep_biases(model, table, heads)
