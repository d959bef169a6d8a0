"""Weight-only quantization on the linear grid, round to nearest: the plainest method there is.

Covers linear layers and embeddings. Leaves convolutions (a ViT's patch projection) and very small
linear layers (the last classifier) as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.interface import (
    Compressed,
    Compressor,
    Context,
    Effect,
    Hardware,
    ModelSpec,
    PressbenchError,
    Unsupported,
)
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import pack_layers, packable, repack_layers

GRANULARITIES = ("tensor", "channel", "group")
SMALLEST_LINEAR = 4096
"""Weights under which a linear layer is left alone: MiniLM's classifier is 1,920 of 22.7 million."""


@dataclass(frozen=True)
class QuantizeWeights(Compressor):
    """Stores weights with a few bits each, on a linear grid, rounded to nearest.

    bits: 2 to 8. symmetric: zero in the middle of the grid, nothing but a scale stored; else a zero point
    too. granularity: what shares a scale: the whole "tensor", a "channel" (a row: one output, or one
    token), or a "group" of `group_size` neighbours in a row. embedding_bits: of the embeddings, head_bits: of the
    layers behind the blocks; null for `bits`, 0 to leave them as they are.
    """

    name: ClassVar[str] = "quantize-weights"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8bit": {"bits": 8, "granularity": "channel"},
        "4bit-g64": {"bits": 4, "group_size": 64},
    }
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4bit-g64-blocks": {"symmetric": False, "embedding_bits": 0, "head_bits": 0},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "6bit": {"bits": 6, "granularity": "channel"},
        "3bit-g64-blocks": {"bits": 3, "symmetric": False, "embedding_bits": 0, "head_bits": 0},
        # With so few points the idle one of the symmetric grid is missed: 88 % symmetric, 93 % not, at 2 bits.
        "3bit-g64": {"bits": 3, "group_size": 64, "symmetric": False},
        "2bit-g32": {"bits": 2, "group_size": 32, "symmetric": False},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"bits": (8, 6, 5, 4, 3, 2)}

    bits: int = 4
    symmetric: bool = True
    granularity: str = "group"
    group_size: int = 64
    embedding_bits: int | None = None
    head_bits: int | None = None

    def __post_init__(self) -> None:
        if type(self.bits) is not int or self.bits not in range(2, 9):
            raise ValueError(f"bits = {self.bits!r}: must be a whole number from 2 to 8")
        for name in ("embedding_bits", "head_bits"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value not in {0, *range(2, 9)}):
                raise ValueError(f"{name} = {value!r}: must be a whole number from 2 to 8, 0, or null for `bits`")
        if self.granularity not in GRANULARITIES:
            raise ValueError(f"granularity = {self.granularity!r}: must be one of {', '.join(GRANULARITIES)}")
        if isinstance(self.group_size, bool) or not isinstance(self.group_size, int) or self.group_size < 1:
            raise ValueError(f"group_size = {self.group_size!r}: must be a whole number of columns, at least 1")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, lambda skeleton: self._bits(surgery.as_linears(skeleton)))

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        if any(isinstance(module, PackedWeight) for module in model.modules()):
            raise Unsupported(f"{self.name}: the weights are packed already, no layer is left to quantize")
        bits = self._bits(surgery.as_linears(model))
        if not bits:
            raise PressbenchError(f"{self.name}: no layer left to quantize in {type(model).__name__}")
        if all(self._grid(w, bits[name]).holds(w) for name in bits for w in [surgery.get(model, name).weight.detach()]):
            shared = {"group": f"group of {self.group_size}", "channel": "row", "tensor": "tensor"}[self.granularity]
            raise Unsupported(
                f"{self.name}: the weights lie on a {self.bits}-bit grid already (each {shared} of all "
                f"{len(bits)} layers): there is nothing to quantize"
            )
        return Compressed(model, pack_layers(model, list(bits), lambda name, w: nearest(self._grid(w, bits[name]), w)))

    def _bits(self, model: nn.Module) -> dict[str, int]:
        """The layers to quantize, each with its bits."""
        blocks = set(surgery.block_linears(model))
        surgery.check_tied(model, self.embedding_bits, self.head_bits)
        found: dict[str, int] = {}
        for name, layer in packable(model):
            special = self.embedding_bits if isinstance(layer, nn.Embedding) else self.head_bits
            bits = self.bits if name in blocks or special is None else special
            if bits and (isinstance(layer, nn.Embedding) or layer.weight.numel() >= SMALLEST_LINEAR):
                found[name] = bits
        return found

    def _grid(self, weight: Tensor, bits: int) -> LinearGrid:
        columns = weight.shape[1]
        size = min(self.group_size, columns) if self.granularity == "group" else columns
        return LinearGrid(bits, size, symmetric=self.symmetric, per_tensor=self.granularity == "tensor")

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return repack_layers(surgery.as_linears(model), structure)
