"""How much each attention head and feed-forward neuron of a model is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from compressors import units
from compressors.interface import Context


@dataclass(frozen=True)
class Importance:
    """Of one block. heads: for each of its attentions (heads,), neurons: (feed-forward width,), float32, unit of the
    loss."""

    heads: tuple[Tensor, ...]
    neurons: Tensor


Score = Callable[[nn.Module, Context], list[Importance]]
"""Block by block how much its heads and neurons are worth; higher stays longer."""


def of_blocks(model: nn.Module, worth: Mapping[str, Tensor]) -> list[Importance]:
    """Block by block, from the name of the layer behind some units -> how much each of them is worth, (units,)."""
    return [
        Importance(tuple(worth[one.output] for one in b.attentions), worth[b.feed_forward.contract])
        for b in units.blocks(model)
    ]


def by_layer(model: nn.Module, worth: Sequence[Importance]) -> dict[str, Tensor]:
    """What `of_blocks` takes."""
    found: dict[str, Tensor] = {}
    for block, own in zip(units.blocks(model), worth, strict=True):
        found |= {one.output: heads for one, heads in zip(block.attentions, own.heads, strict=True)}
        found[block.feed_forward.contract] = own.neurons
    return found
