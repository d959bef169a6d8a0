"""Layers whose weight is packed, in the place of nn.Linear and nn.Embedding, and how they are put into a model.

The matrix is decoded anew on every call, so this saves disk and memory, not time. Unpacking by shifts
is 0.3 ms for a 1536 x 384 matrix of 4 bits on one AVX512 core, where its product with 4,096 rows takes 78.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.quantization.packed import Layout, PackedWeight


class _Packed(nn.Module):
    """A layer whose weight is packed. `weight` is the decoded matrix, for models that look past their layers:
    DeBERTa normalises the rows of a table, T5 asks for a type."""

    _dtype = torch.float32

    def __init__(self, packed: PackedWeight) -> None:
        super().__init__()
        self._modules["weight"] = packed  # past the property, which has the name that is on disk

    @property
    def packed(self) -> PackedWeight:
        """Its weight as stored."""
        return cast(PackedWeight, self._modules["weight"])

    @property
    def weight(self) -> Tensor:
        """Its weight, (rows, columns), in the type of the model."""
        return self.packed.dequantize().to(self._dtype)

    def answer_in(self, dtype: torch.dtype) -> None:
        """Decode to another type than float32 from now on: that of the model, what is stored stays as it is."""
        self._dtype = dtype


class PackedLinear(_Packed):
    """In the place of an nn.Linear: (…, in) -> (…, out), in the type of its input."""

    def __init__(self, weight: PackedWeight, bias: nn.Parameter | None) -> None:
        super().__init__(weight)
        self.bias = bias
        self.out_features, self.in_features = weight.rows, weight.columns

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in_features)."""
        return F.linear(values, self.weight.to(values.dtype), self.bias)


class PackedEmbedding(_Packed):
    """In the place of an nn.Embedding: (…) int64 -> (…, width), in the type of the model. Decodes the rows it needs
    only."""

    def __init__(self, weight: PackedWeight) -> None:
        super().__init__(weight)
        self.num_embeddings, self.embedding_dim = weight.rows, weight.columns

    def forward(self, ids: Tensor) -> Tensor:
        """ids: any shape, int64, below num_embeddings."""
        if ids.numel() >= self.packed.rows:  # a small table, a row of it wanted many times
            return F.embedding(ids, self.weight)
        return self.packed.dequantize(ids.flatten()).to(self._dtype).view(*ids.shape, -1)


def packable(model: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Embedding]]:
    """The layers that a packed one can stand for. Subclasses are left out: they may do something else."""
    for name, module in model.named_modules():
        if type(module) is nn.Linear or (type(module) is nn.Embedding and module.max_norm is None):
            yield name, module


def pack_layers(model: nn.Module, names: list[str], quantize: Callable[[str, Tensor], PackedWeight]) -> dict[str, Any]:
    """Replace the layers called `names` in place by packed ones; those that are, stay. quantize: (name, its weight) ->
    packed.

    Layers that share a weight (a tied output embedding) share the packed one. Returns the structure
    that `repack_layers` takes."""
    structure: dict[str, Any] = {"layers": {}, "shared": {}}
    # Asked before any layer is let go, as the address of a freed tensor is given out again.
    places = {name: _place(surgery.get(model, name)) for name in names}
    owners: dict[int, str] = {}
    for name in names:
        layer = surgery.get(model, name)
        if isinstance(layer, PackedLinear):
            structure["layers"][name] = asdict(layer.packed.layout)
            continue
        owner = owners.setdefault(places[name], name)
        if owner == name:
            weight = quantize(name, layer.weight.detach())
            structure["layers"][name] = asdict(weight.layout)
        else:
            weight = surgery.get(model, owner).packed
            structure["shared"][name] = owner
        surgery.replace(model, name, _packed(layer, weight))
    return structure


def repack_layers(model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
    """Put empty packed layers where `pack_layers` put full ones."""
    for name, layout in structure["layers"].items():
        layer = surgery.get(model, name)
        surgery.replace(model, name, _packed(layer, PackedWeight(Layout(**layout), *layer.weight.shape)))
    for name, owner in structure["shared"].items():
        surgery.replace(model, name, _packed(surgery.get(model, name), surgery.get(model, owner).packed))
    return model


def _place(layer: nn.Module) -> int:
    """Where its weight lies; of a packed one nobody's."""
    return -id(layer) if isinstance(layer, PackedLinear) else layer.weight.data_ptr()  # type: ignore[union-attr,operator]


def _packed(layer: nn.Linear | nn.Embedding, weight: PackedWeight) -> nn.Module:
    return PackedLinear(weight, layer.bias) if isinstance(layer, nn.Linear) else PackedEmbedding(weight)
