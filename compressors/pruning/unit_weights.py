"""The weights that compute a head or a neuron, and those that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.units import Attention, FeedForward, Rows


@dataclass(frozen=True)
class UnitWeights:
    """Of all units of one attention or feed-forward part, as views of the model's own; biases are none of them.

    rows: what computes them, a layer's weight (outputs, inputs) and which of its rows are whose, (units, height) int64.
    columns: what reads them, (outputs, units · width).
    """

    rows: tuple[tuple[Tensor, Tensor], ...]
    columns: Tensor
    units: int

    def norms(self) -> Tensor:
        """The L2 norm of all that is a unit's: (units,) float32."""
        squares = self.columns.float().square().sum(0).view(self.units, -1).sum(1)
        for weight, numbers in self.rows:
            squares = squares + weight.float().square().sum(1)[numbers].sum(1)
        return squares.sqrt()

    def scale(self, factors: Tensor) -> None:
        """Multiply all that is a unit's by its factor, in place. factors: (units,). For rows that no two share."""
        self.columns.mul_(factors.repeat_interleave(self.columns.shape[1] // self.units))
        for weight, numbers in self.rows:
            weight[numbers.flatten()] *= factors.repeat_interleave(numbers.shape[1])[:, None]


def of_heads(model: nn.Module, attention: Attention, parts: Sequence[Rows]) -> UnitWeights:
    """Of its heads, with their rows in `parts`, any of its query, key, value and `also`. What heads share is of each
    of them."""
    rows = []
    for part in parts:
        shared = attention.per_group if part in (attention.key, attention.value) else 1
        numbers = torch.stack([part.of([head // shared], attention.head_size) for head in range(attention.heads)])
        rows.append((surgery.get(model, part.layer).weight.detach(), numbers))
    return UnitWeights(tuple(rows), surgery.get(model, attention.output).weight.detach(), attention.heads)


def of_neurons(model: nn.Module, part: FeedForward) -> UnitWeights:
    """Of its neurons, with the row of the gate where there is one."""
    numbers = torch.arange(part.neurons)[:, None]
    rows = tuple((surgery.get(model, layer).weight.detach(), start + numbers) for layer, start in part.expand)
    return UnitWeights(rows, surgery.get(model, part.contract).weight.detach(), part.neurons)
