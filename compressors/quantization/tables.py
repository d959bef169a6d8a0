"""Embeddings in 8 bits, beside layers that a method rounds in its own way: a scale a row, decoded as they are looked
up."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import pack_layers


def separate_tables(model: nn.Module) -> list[str]:
    """The names of the embeddings that can be stored by themselves: one that shares its weights with a linear layer
    would be more to store, not less."""
    linears = {m.weight.data_ptr() for m in model.modules() if type(m) is nn.Linear}
    return [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Embedding and module.max_norm is None and module.weight.data_ptr() not in linears
    ]


def pack_tables(model: nn.Module, names: list[str]) -> dict[str, Any]:
    """Store these embeddings in 8 bits, in place. Returns the structure that `packed_layers.repack_layers` takes."""

    def table(_name: str, rows: Tensor) -> PackedWeight:
        return nearest(LinearGrid(8, rows.shape[1], symmetric=True), rows)

    return pack_layers(model, names, table)
