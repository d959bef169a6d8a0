"""What every rounding of weights shares: which layers, on what grid, and how they are stored.

A method is a rounding: which point of the grid each weight of a layer becomes. Grid, bits and groups are fields of
every one, and so are the bits of the token embedding and of the output layer, which the literature leaves out.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.block_by_block import Given, block_by_block
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
from compressors.moments import refitted
from compressors.quantization.grids.codebook import CodebookGrid
from compressors.quantization.grids.half_quadratic import HalfQuadraticGrid
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.grids.normal import NormalGrid
from compressors.quantization.grids.powers import PowersGrid
from compressors.quantization.laid_grid import Grid, nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import pack_layers, repack_layers
from compressors.quantization.tuning import tune

GRIDS: Mapping[str, Callable[[int, int], Grid]] = {
    "linear": lambda bits, size: LinearGrid(bits, size),
    "fitted": lambda bits, size: LinearGrid(bits, size, fitted=True),
    "symmetric": lambda bits, size: LinearGrid(bits, size, symmetric=True),
    "log2": PowersGrid,
    "nf4": NormalGrid,
    "codebook": CodebookGrid,
    "hqq": HalfQuadraticGrid,
}
"""Name of a grid -> what makes one of (bits, columns that share a scale). By name and not by looking into a folder: a
cached artifact is told from a stale one by the imports of this file."""


@dataclass(frozen=True)
class BlocksOnGrid(Compressor):
    """Stores the linear layers of the Transformer blocks as codes of a grid.

    grid: which values a code stands for: "linear", evenly spaced from the smallest to the largest of a
    group; "fitted", the same with each range narrowed to where the squared error is least; "symmetric", as many on
    either side of zero and no zero points stored; "hqq", evenly spaced with a real offset, fitted; "nf4", quantiles of
    a normal distribution; "log2", powers of two; "codebook", values found by k-means for each row. group_size: columns
    that share a scale; as many as a layer has, where it has fewer. embedding_bits, head_bits: of the token embedding
    and of the output layer, rounded to nearest; 0 leaves them as they are, and as one where they are one.
    """

    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    grid: str = "linear"
    group_size: int = 64
    embedding_bits: int = 0
    head_bits: int = 0

    def __post_init__(self) -> None:
        for name, least in (("bits", 2), ("embedding_bits", 0), ("head_bits", 0)):
            value = getattr(self, name)
            if type(value) is not int or value not in {*range(2, 9), least}:
                raise ValueError(f"{name} = {value!r}: must be a whole number from 2 to 8{'' if least else ', or 0'}")
        if self.grid not in GRIDS:
            raise ValueError(f"grid = {self.grid!r}: must be one of {', '.join(GRIDS)}")
        if isinstance(self.group_size, bool) or not isinstance(self.group_size, int) or self.group_size < 1:
            raise ValueError(f"group_size = {self.group_size!r}: must be a whole number of columns, at least 1")
        for bits in {self.bits, self.embedding_bits, self.head_bits} - {0}:
            GRIDS[self.grid](bits, self.group_size)  # which may have fewer

    @property
    @abc.abstractmethod
    def bits(self) -> int:
        """Of a weight, where nothing else is said."""

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, lambda skeleton: self._covered(surgery.as_linears(skeleton)))

    def grid_for(self, weight: Tensor, bits: int | None = None) -> Grid:
        """This one's grid for a weight, (outputs, inputs)."""
        return GRIDS[self.grid](bits or self.bits, min(self.group_size, weight.shape[1]))

    def checked(self, model: nn.Module) -> list[str]:
        """The linear layers of the blocks. Raises PressbenchError where a weight is not finite, Unsupported where there
        is nothing to quantize."""
        blocks, others = self._covered(surgery.as_linears(model))
        weights = {name: surgery.get(model, name).weight.detach() for name in blocks}
        for name, weight in weights.items():
            if not bool(weight.isfinite().all()):
                raise PressbenchError(f"{name}: a weight is not finite: the model was broken before it was quantized")
        if not others and all(self.grid_for(weight).holds(weight) for weight in weights.values()):
            raise Unsupported(
                f"{self.name}: the weights lie on a {self.bits}-bit grid already ({self.grid}, groups of "
                f"{self.group_size}, all {len(weights)} layers): there is nothing to quantize"
            )
        return blocks

    def stored(self, model: nn.Module, found: Mapping[str, PackedWeight], **told: Any) -> Compressed:
        """The model with these weights of the blocks, and of embedding and output layer what the fields say. told: what
        is to be told beside the structure, JSON."""
        others = self._others(model)

        def weight_of(name: str, weight: Tensor) -> PackedWeight:
            return found[name] if name in found else nearest(self.grid_for(weight, others[name]), weight)

        return Compressed(model, pack_layers(model, [*found, *others], weight_of) | told)

    def _covered(self, model: nn.Module) -> tuple[list[str], dict[str, int]]:
        """The linear layers of the blocks, and of embedding and output layer those that get bits."""
        if any(isinstance(module, PackedWeight) for module in model.modules()):
            raise Unsupported(f"{self.name}: the weights are packed already, no layer is left to quantize")
        blocks = surgery.block_linears(model)
        if not blocks:
            raise surgery.UnknownStructure(f"no linear layer in the blocks of {type(model).__name__}")
        return blocks, self._others(model)

    def _others(self, model: nn.Module) -> dict[str, int]:
        """Embedding and output layer, where they get bits."""
        surgery.check_tied(model, self.embedding_bits, self.head_bits)
        others: dict[str, int] = {}
        for layer, bits, what in (
            (surgery.word_embedding(model), self.embedding_bits, "token embedding"),
            (surgery.head(model), self.head_bits, "output layer"),
        ):
            if bits and not layer:
                raise surgery.UnknownStructure(f"{type(model).__name__} has no {what} to give bits to")
            if bits and layer:
                others[layer] = bits
        return others

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return repack_layers(surgery.as_linears(model), structure)


@dataclass(frozen=True)
class RoundedWeights(BlocksOnGrid):
    """The same with one number of bits.

    bits: 2 to 8.
    """

    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64": {}}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"3bit-g64": {"bits": 3}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"bits": (8, 6, 5, 4, 3, 2)}

    bits: int = 4

    @abc.abstractmethod
    def rounded(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, PackedWeight]:
        """For every layer of the blocks its weight, (outputs, inputs), on the grid. The weights of `model` may be
        changed by it."""

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return self.stored(model, self.rounded(model, self.checked(model), context))


@dataclass(frozen=True)
class CalibratedRounding(RoundedWeights):
    """A rounding that looks at what a layer is given: write `round`, and a name. Block by block on the calibration
    data, each fed by the rounded ones before it.

    damping: of the mean diagonal of the moments, added to it. dense_answers: round what fits the answers that a layer
    had in the dense model, given what it is given now that the layers before it are rounded, and not its own weights
    (GPTAQ, Li et al. 2025); needs the dense model beside it. tuning_epochs, tuning_rate: then the scales of the codes,
    and all that has none, learn on the calibration data to answer as the dense model; 0 epochs for not. The others are
    those of every rounding.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})

    damping: float = 0.01
    dense_answers: bool = False
    tuning_epochs: float = 0.0
    tuning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.damping > 0:
            raise ValueError(f"damping = {self.damping!r}: must be above 0")
        if not self.tuning_epochs >= 0:
            raise ValueError(f"tuning_epochs = {self.tuning_epochs!r}: must be 0 (none) or more")
        if not self.tuning_rate > 0:
            raise ValueError(f"tuning_rate = {self.tuning_rate!r}: must be above 0")

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        made = super().compress(model, context)
        tune(made.model, context, epochs=self.tuning_epochs, learning_rate=self.tuning_rate, what=self.name)
        return made

    @abc.abstractmethod
    def round(self, weights: Sequence[Tensor], moments: Tensor) -> list[PackedWeight]:
        """The `weights`, (outputs, inputs) float32 each, of layers that are given the same, on the grid. moments:
        (inputs, inputs) float32, the sum of x xᵀ over what they are given."""

    @torch.no_grad()
    def rounded(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, PackedWeight]:
        found: dict[str, PackedWeight] = {}
        places = {surgery.get(model, name).weight.data_ptr() for name in layers}
        stack, *more = surgery.layer_lists(model)
        alone = len(places) == len(layers) and not more  # of an encoder the decoder's blocks ask again

        def change(names: Sequence[str], given: Given) -> None:
            if alone:
                self._let_go(model, found, names[0], stack)
            weights = [surgery.get(model, name).weight.detach() for name in names]
            if given.crossed is not None:
                for weight in weights:
                    weight.copy_(refitted(weight, given.moments, given.crossed, self.damping))
            rounded = self.round([weight.float() for weight in weights], given.moments)
            for name, weight, packed in zip(names, weights, rounded, strict=True):
                found[name] = packed
                weight.copy_(packed.dequantize())

        block_by_block(model, context, layers, change, self.name, context.dense() if self.dense_answers else None)
        return {name: found[name] for name in layers}

    @staticmethod
    def _let_go(model: nn.Module, found: Mapping[str, PackedWeight], now: str, stack: str) -> None:
        """Put packed layers in the place of the rounded ones of blocks before this layer's: their weights are wanted
        no more, and all of a large model's at once would fill the memory."""
        block = f"{stack}.{now.removeprefix(f'{stack}.').partition('.')[0]}."
        before = [name for name in found if not name.startswith(block)]
        pack_layers(model, before, lambda name, _: found[name])
