"""An adapter that stays beside a whole linear layer, as who loads one with PEFT and does not merge it has it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery


class Adapted(nn.Module):
    """A linear layer and its adapter: (…, in) -> (…, out), x Wᵀ + b + (x Aᵀ) Bᵀ.

    base: the layer. down: A, (rank, in). up: s B, (out, rank), the scale of the adapter in it."""

    def __init__(self, base: nn.Linear, rank: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features, dtype=dtype))
        self.up = nn.Parameter(torch.empty(base.out_features, rank, dtype=dtype))

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        found: Tensor = self.base(values) + F.linear(F.linear(values, self.down), self.up)
        return found


def put_beside(model: nn.Module, ranks: Mapping[str, int]) -> None:
    """Put an adapter beside each of these layers, its values yet to come. ranks: path of a layer -> rank."""
    for name, rank in ranks.items():
        surgery.replace(model, name, Adapted(surgery.get(model, name), rank))
