"""Layers of 8- or 4-bit weights that compute: bf16 activations times them, by ATen's own CPU products.

Sources: `torch.ops.aten._weight_int8pack_mm` and `_weight_int4pack_mm_for_cpu`, which gpt-fast and torchao build on.
On disk lie plain codes and scales; how a kernel wants them laid out depends on the CPU, so that is done at loading.
The codes are its own, or those that another method chose: what GPTQ rounded is then computed with as it is.
`weight_only.py` is the method that puts these layers into a model.
"""

from __future__ import annotations

import abc
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.quantization.bits import pack, unpack
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import PackedLinear
from compressors.runtimes.torch import LogicalWeight

GROUPS = (32, 64, 128, 256)
"""Columns that share a scale which the 4-bit product takes."""
MIDDLE = 8
"""The 4-bit code that stands for a group's offset."""
ROWS = 16
"""The products work on so many rows at once; a layer with another number of them is left alone."""


class KernelLinear(nn.Module, abc.ABC):
    """In the place of an nn.Linear: (…, in) -> (…, out), bf16. Subclasses differ in bits.

    Until `place` is called it computes from decoded weights: slow, and what the kernel must equal. A runtime calls
    `place`, and `release` where it loaded the model to run it only. column_scale: (in,) float32, what its input is
    divided by, as each column of the weight was multiplied by it before it was rounded; None for none.
    """

    bits: ClassVar[int]
    column_scale: Tensor | None

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, column_scale: bool = False) -> None:
        super().__init__()
        self.out_features, self.in_features, self.bias = rows, columns, bias
        self.register_buffer("column_scale", torch.empty(columns) if column_scale else None)
        self._placed = False

    def place(self) -> None:
        """Lay the weights out for the kernel, and compute with it from now on."""
        if not self._placed:
            self._lay_out()
            self._placed = True

    def _lay_out(self) -> None:
        # Tensors lie in a safetensors file at any address; the kernels crash on one that is not aligned.
        for name, values in list(self.named_buffers(recurse=False)):
            setattr(self, name, values.clone())

    def release(self) -> None:
        """Let go of what the kernel does not need: nothing can be saved after this."""

    @abc.abstractmethod
    def quantize(self, weight: Tensor) -> None:
        """Take the values of `weight`, (out, in), rounded to what can be stored."""

    @abc.abstractmethod
    def dequantize(self) -> Tensor:
        """The weights that the kernel multiplies with, float32: (out, in)."""

    @abc.abstractmethod
    def product(self, rows: Tensor) -> Tensor:
        """The kernel: (n, in) -> (n, out), both bf16."""

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        if self.column_scale is not None:
            values = (values / self.column_scale).to(values.dtype)
        if not self._placed:
            return F.linear(values, self.dequantize().to(values.dtype), self.bias)
        found = self.product(values.reshape(-1, self.in_features).contiguous()).view(
            *values.shape[:-1], self.out_features
        )
        return found if self.bias is None else found + self.bias

    def logical_weights(self) -> list[LogicalWeight]:
        """out x in weights of `bits` bits, and the bias; those count as zero that decode to zero."""
        weights = self.dequantize()
        found = [LogicalWeight(weights.numel(), int(weights.count_nonzero()), f"int{self.bits}")]
        if self.bias is not None:
            dtype = str(self.bias.dtype).removeprefix("torch.")
            found.append(LogicalWeight(self.bias.numel(), int(self.bias.count_nonzero()), dtype))
        return found


class CodedLinear(KernelLinear):
    """One that can also compute with codes that are there already."""

    def take(self, weight: PackedWeight) -> None:
        """Take the codes of `weight`, (out, in), as they are; it must be one that `kernel_for` made this layer for."""
        if self.column_scale is not None:
            self.column_scale = weight.column_scale
        self._take(weight)

    @abc.abstractmethod
    def _take(self, weight: PackedWeight) -> None: ...


class Int8Linear(CodedLinear):
    """weight: (out, in) int8; scale: (out,) bf16, value = weight * scale."""

    bits: ClassVar[int] = 8
    weight: Tensor
    scale: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, column_scale: bool = False) -> None:
        super().__init__(rows, columns, bias, column_scale)
        self.register_buffer("weight", torch.empty(rows, columns, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(rows, dtype=torch.bfloat16))

    def quantize(self, weight: Tensor) -> None:
        """Take the values of `weight`, (out, in), each row rounded to 255 steps around zero."""
        largest = weight.float().abs().amax(1)
        scale = torch.where(largest > 0, largest / 127, 1.0).bfloat16()
        # Rounded against the scale as stored, not as computed.
        self.weight = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.scale = scale

    def _take(self, weight: PackedWeight) -> None:
        """A value moves by at most 2^-8 of itself, as its scale is rounded to bf16."""
        self.weight = (weight.unpacked().short() - 128).to(torch.int8)
        self.scale = weight.scales_and_zeros()[0][:, 0].bfloat16()

    def dequantize(self) -> Tensor:
        """See KernelLinear."""
        return self.weight.float() * self.scale.float()[:, None]

    def product(self, rows: Tensor) -> Tensor:
        """See KernelLinear."""
        return torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)


class Int4Linear(CodedLinear):
    """codes: (out, in / 2) uint8, two a byte, the first in the lower half; grid: (in / group, out, 2) bf16, step and
    offset; value = (code - 8) * step + offset."""

    bits: ClassVar[int] = 4
    codes: Tensor
    grid: Tensor

    def __init__(
        self, rows: int, columns: int, bias: nn.Parameter | None, group_size: int, column_scale: bool = False
    ) -> None:
        super().__init__(rows, columns, bias, column_scale)
        self.group_size = group_size
        self.register_buffer("codes", torch.empty(rows, columns // 2, dtype=torch.uint8))
        self.register_buffer("grid", torch.empty(columns // group_size, rows, 2, dtype=torch.bfloat16))

    def quantize(self, weight: Tensor) -> None:
        """Take the values of `weight`, (out, in), each group of columns rounded to 16 points from its smallest to its
        largest value."""
        grouped = weight.float().unflatten(1, (-1, self.group_size))
        low, high = grouped.amin(2), grouped.amax(2)
        step = torch.where(high > low, (high - low) / 15, 1.0).bfloat16()
        offset = (low + MIDDLE * step.float()).bfloat16()
        codes = ((grouped - offset.float()[..., None]) / step.float()[..., None]).round() + MIDDLE
        self.codes = pack(codes.clamp(0, 15).to(torch.uint8).flatten(1), 4)
        self.grid = torch.stack([step.T, offset.T], dim=-1).contiguous()

    def _take(self, weight: PackedWeight) -> None:
        """A value moves by at most a 16th of a step: bf16 moves step and offset by 2^-8 of themselves at most, a value
        is up to 8 steps away from the offset, and that itself 8 steps long for zero points from 0 to 16."""
        scale, zero = weight.scales_and_zeros(self.group_size)
        self.codes = weight.codes  # packed alike, and so stored once where an embedding shares them
        offset = (MIDDLE - zero) * scale
        self.grid = torch.stack([scale.T, offset.T], dim=-1).bfloat16().contiguous()

    @property
    def weight(self) -> Tensor:
        """Of the type that it computes in, which T5 asks of a layer at every pass; not the decoded weights."""
        return self.grid

    def _lay_out(self) -> None:
        super()._lay_out()
        codes = unpack(self.codes, 4, self.in_features).int()
        self.register_buffer("laid_out", torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1), False)

    def release(self) -> None:
        """See KernelLinear."""
        self.codes = self.codes.new_empty((0, self.in_features // 2))  # a slice would hold them all

    def dequantize(self) -> Tensor:
        """See KernelLinear."""
        step, offset = (part.T[..., None].float() for part in self.grid.unbind(-1))
        codes = unpack(self.codes, 4, self.in_features).float().unflatten(1, (-1, self.group_size))
        return ((codes - MIDDLE) * step + offset).flatten(1)

    def product(self, rows: Tensor) -> Tensor:
        """See KernelLinear."""
        return torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.laid_out, self.group_size, self.grid)


def kernel_for(layer: PackedLinear) -> CodedLinear | str:
    """An empty layer whose kernel computes with the codes of `layer` as they are; why there is none, in a few words."""
    packed = layer.packed
    layout, shape = packed.layout, (layer.out_features, layer.in_features, layer.bias)
    if layout.levels:
        return "codes of a table of values"
    if layout.bits not in (4, 8):
        return f"{layout.bits} bits"
    if layer.out_features % ROWS or layer.in_features % ROWS:
        return f"{layer.out_features} x {layer.in_features}, where both must be multiples of {ROWS}"
    if layout.bits == 4:
        spans = [span for span in GROUPS if not packed.even_group % span]
        if not spans:
            return f"4 bits in groups of {layout.group_size}"
        return Int4Linear(*shape, spans[-1], layout.column_scale)
    if packed.groups > 1:
        return f"8 bits in groups of {layout.group_size}"
    if bool((packed.scales_and_zeros()[1] != 128).any()):
        return "8 bits with zero points"
    return Int8Linear(*shape, layout.column_scale)
