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


def _fewer(block: Block, heads: Sequence[Sequence[int]]) -> list[bool]:
    """Of each attention of a block whether heads go."""
    return [len(kept) < one.heads for one, kept in zip(block.attentions, heads, strict=True)]


def _cut(model: nn.Module, block: Block, heads: Sequence[Sequence[int]], neurons: Tensor) -> None:
    """Biases that the stack shares are left."""
    for attention, kept, fewer in zip(block.attentions, heads, _fewer(block, heads), strict=True):
        if fewer:
            units.take_heads(model, attention, kept)
    if len(neurons) < block.feed_forward.neurons:
        units.keep_neurons(model, block.feed_forward, neurons)


def cut_all(model: nn.Module, kept: Iterable[Kept]) -> dict[str, Any]:
    """Keep only these heads and neurons of every block, in place, which equals multiplying the others' outputs by zero,
    and tell how many there are, for `rebuild`. Blocks that share a table of biases must keep the same heads of their
    first attention."""
    structure: dict[str, Any] = {"heads": [], "neurons": []}
    kept = list(kept)
    _cut_blocks(model, kept)
    for block, heads, neurons in kept:
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
    found: list[Kept] = []
    for block, heads, neurons in stored:
        # A number is that of the only attention's heads, of which none share a key; else groups and heads of each.
        shapes = [(heads, 1)] if isinstance(heads, int) else heads
        kept = [
            [g * one.per_group + h for g in range(groups) for h in range(per)]
            for one, (groups, per) in zip(block.attentions, shapes, strict=True)
        ]
        found.append((block, kept, torch.arange(neurons)))
    _cut_blocks(model, found)
    return model


def _cut_blocks(model: nn.Module, kept: Sequence[Kept]) -> None:
    """Cut blocks, and with them the tables of biases that their stacks share."""
    tables = units.shared_biases(model, [block for block, _, _ in kept])
    going = next((block for block, heads, _ in kept if any(_fewer(block, heads))), None)
    if going is not None:
        units.check_heads_can_go(model, going.attention)
    done: set[str] = set()
    for (block, heads, neurons), table in zip(kept, tables, strict=True):
        if table is not None and table not in done and _fewer(block, heads)[0]:
            units.keep_biases(model, table, heads[0])
            done.add(table)
        _cut(model, block, heads, neurons)
