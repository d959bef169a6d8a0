"""Weights stored as vectors of a codebook: what `PackedWeight` is for codes of one weight each.

A sub-vector is `width` neighbouring weights of a row. Its value is the sum of one entry of each codebook, times the
row's scale (product codes, Gong et al. 2014; with several codebooks additive ones, Babenko and Lempitsky 2014).
Reading it gathers entries: 1.2 ms for a 1536 x 384 matrix of 2 bits on one AVX2 core, 2.9 ms for two codebooks of 6
bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.quantization.bits import pack, unpack
from compressors.quantization.packed import Layout, PackedWeight, storable
from compressors.quantization.packed_layers import PackedLinear
from compressors.runtimes.torch import LogicalWeight


@dataclass(frozen=True)
class VectorLayout:
    """How a matrix is stored, all that is needed to read it back: JSON in an artifact's recipe.

    width: weights of a sub-vector; the last of a row may reach beyond it. codebooks: entries that are added up.
    code_bits: a codebook has 2**code_bits entries.
    """

    width: int
    codebooks: int
    code_bits: int
    scale_dtype: str = "float16"

    def codebook_bytes(self) -> int:
        """What the codebooks of one matrix take, in float16."""
        return 2 * self.codebooks * 2**self.code_bits * self.width

    def worth_it(self, rows: int, columns: int) -> bool:
        """Whether the codebooks take no more than a byte a weight, with which plain 8 bits lose next to nothing. So
        there are at least twice as many sub-vectors as entries."""
        return self.codebook_bytes() <= rows * columns


_FIRST = 2**14
"""Sub-vectors looked at first by `on_vectors`."""


def decode(codes: Tensor, codebook: Tensor) -> Tensor:
    """codes: (…, codebooks) int32 or int64. codebook: (codebooks, entries, width). Their sums, (…, width)."""
    picked = [table.index_select(0, own.flatten()) for table, own in zip(codebook, codes.unbind(-1), strict=True)]
    return sum(picked[1:], picked[0]).view(*codes.shape[:-1], codebook.shape[-1])


class VectorWeight(PackedWeight):
    """A (rows, columns) matrix: sub-vector = scale of its row * the sum over codebooks of codebook[code].

    Buffers: codes (rows, ceil(sub-vectors * codebooks * code_bits / 8)) uint8, packed, those of one sub-vector side by
    side; codebook (codebooks, 2**code_bits, width) float16; scale (rows, 1) float16 or float32.
    """

    codebook: Tensor

    def __init__(self, vectors: VectorLayout, rows: int, columns: int) -> None:
        nn.Module.__init__(self)  # it has other buffers than a matrix of single codes
        self.vectors, self.rows, self.columns = vectors, rows, columns
        # For kernels that compute with codes: these stand for values of a table, which they leave alone.
        self.layout = Layout(vectors.code_bits, vectors.width, levels=True, scale_dtype=vectors.scale_dtype)
        self._held: tuple[Tensor, float] | None = (
            None  # while it is trained: its codes, and what scales have of entries
        )
        self._per_row = -(-columns // vectors.width) * vectors.codebooks
        entries = (vectors.codebooks, 2**vectors.code_bits, vectors.width)
        self.register_buffer("codes", torch.empty(rows, -(-self._per_row * vectors.code_bits // 8), dtype=torch.uint8))
        self.register_buffer("codebook", torch.empty(entries, dtype=torch.float16))
        self.register_buffer("scale", torch.empty(rows, 1, dtype=getattr(torch, vectors.scale_dtype)))

    @classmethod
    def from_vectors(cls, codes: Tensor, codebook: Tensor, scale: Tensor, columns: int) -> VectorWeight:
        """codes: (rows, sub-vectors, codebooks), below 2**code_bits. codebook: (codebooks, 2**code_bits, width). scale:
        (rows, 1), above 0."""
        scale = storable(scale)
        books, entries, width = codebook.shape
        layout = VectorLayout(width, books, entries.bit_length() - 1, str(scale.dtype).removeprefix("torch."))
        weight = cls(layout, len(codes), columns)
        weight.codes, weight.scale = pack(codes.flatten(1).to(torch.uint8), layout.code_bits), scale
        weight.codebook = codebook.half()
        return weight

    def dequantize(self, rows: Tensor | None = None, *, on_grid: bool = False) -> Tensor:
        """The values, float32: (rows, columns), or of the `rows` asked for, (n,) int64 -> (n, columns). on_grid: has no
        meaning here, where no column is scaled."""
        codes, scale = self._codes() if self._held is None else self._held[0], self.scale
        if rows is not None:
            codes, scale = codes[rows], scale[rows]
        return decode(codes, self.codebook.float()).flatten(1)[:, : self.columns] * scale.float()

    def _codes(self) -> Tensor:
        """(rows, sub-vectors, codebooks) int32."""
        return (
            unpack(self.codes, self.vectors.code_bits, self._per_row).int().unflatten(1, (-1, self.vectors.codebooks))
        )

    def learn(self) -> None:
        """Entries and scales become parameters, float32, until `settle`. Meanwhile the entries are of the size of
        weights and the scales near 1: one learning rate fits these and the layers beside them."""
        size = float(self.scale.float().mean())
        self._held = self._codes(), size
        entries, scale = self.codebook.float() * size, self.scale.float() / size
        del self.codebook, self.scale
        self.codebook, self.scale = nn.Parameter(entries), nn.Parameter(scale)

    def settle(self) -> None:
        """Back to what is stored, in its types."""
        assert self._held is not None
        size = self._held[1]
        entries, scale = (self.codebook.detach() / size).half(), self.scale.detach() * size
        del self.codebook, self.scale
        self._held = None
        self.register_buffer("codebook", entries)
        self.register_buffer("scale", scale.to(getattr(torch, self.vectors.scale_dtype)))

    def logical_weights(self) -> list[LogicalWeight]:
        """rows x columns weights of as many bits as they really take, codes, codebooks and scales together; those count
        as zero that decode to zero."""
        stored = sum(t.numel() * t.element_size() for t in (self.codes, self.codebook, self.scale))
        count = self.rows * self.columns
        return [LogicalWeight(count, int(self.dequantize().count_nonzero()), f"vector{8 * stored / count:.2f}")]


def store_vectors(model: nn.Module, weights: Mapping[str, VectorWeight]) -> dict[str, Any]:
    """Replace the linear layers of these names in place. Returns the structure that `restore_vectors` takes."""
    for name, weight in weights.items():
        surgery.replace(model, name, PackedLinear(weight, surgery.get(model, name).bias))
    return {"layers": {name: asdict(weight.vectors) for name, weight in weights.items()}}


def restore_vectors(model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
    """Put empty layers where `store_vectors` put full ones."""
    shapes = {name: surgery.get(model, name).weight.shape for name in structure["layers"]}
    store_vectors(
        model, {n: VectorWeight(VectorLayout(**layout), *shapes[n]) for n, layout in structure["layers"].items()}
    )
    return model


def on_vectors(weight: Tensor, width: int, values: int) -> bool:
    """Whether the sub-vectors of `weight`, (rows, columns), are no more than `values` ones times a number for each row,
    to fp32 rounding.

    Told from their directions, which a row's scale does not change: trained weights have none twice. More values than
    half the sub-vectors cannot be told from trained ones."""
    vectors = F.pad(weight.double(), (0, -weight.shape[1] % width)).unflatten(1, (-1, width))
    length = vectors.norm(dim=2)
    directions = (vectors / length.clamp(min=1e-300).unsqueeze(2) * 1000).round()
    groups = length.shape[1]
    few = min(1.1 * values + 16, length.numel() / 2)  # a tenth more: rounding may part what is one
    some = slice(max(1, _FIRST // groups))  # what is on none shows it there
    if len(directions[some].flatten(0, 1).unique(dim=0)) > few:
        return False
    if len(directions.flatten(0, 1).unique(dim=0)) > few:
        return False
    # In one row a direction has one length.
    for own, lengths in zip(directions[some], length[some], strict=True):
        found, ids = own.unique(dim=0, return_inverse=True)
        longest = torch.zeros(len(found), dtype=torch.double).scatter_reduce_(0, ids, lengths, "amax")
        if bool(((longest[ids] - lengths) > 1e-4 * lengths.max()).any()):
            return False
    return True
