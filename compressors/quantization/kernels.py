"""Weight-only quantization that computes: bf16 activations times 8- or 4-bit weights, by ATen's own CPU products.

Reading weights is most of what a decode step does, so that fewer bits a weight make it faster; a prefill reads
each weight once for many tokens and gains little, or loses.

Sources: `torch.ops.aten._weight_int8pack_mm` and `_weight_int4pack_mm_for_cpu`, which gpt-fast and torchao build on.
On disk lie plain codes and scales; how a kernel wants them laid out depends on the CPU, so that is done at loading.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from compressors.quantization.grid import lies_on_offset_grid
from compressors.quantization.packed import pack, unpack
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
    `place`, and `release` where it loaded the model to run it only.
    """

    bits: ClassVar[int]

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features, self.bias = rows, columns, bias
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
        """The weights, float32: (out, in)."""

    @abc.abstractmethod
    def product(self, rows: Tensor) -> Tensor:
        """The kernel: (n, in) -> (n, out), both bf16."""

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
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


class Int8Linear(KernelLinear):
    """weight: (out, in) int8; scale: (out,) bf16, value = weight * scale."""

    bits: ClassVar[int] = 8
    weight: Tensor
    scale: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None) -> None:
        super().__init__(rows, columns, bias)
        self.register_buffer("weight", torch.empty(rows, columns, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(rows, dtype=torch.bfloat16))

    def quantize(self, weight: Tensor) -> None:
        """Take the values of `weight`, (out, in), each row rounded to 255 steps around zero."""
        largest = weight.float().abs().amax(1)
        scale = torch.where(largest > 0, largest / 127, 1.0).bfloat16()
        # Rounded against the scale as stored, not as computed.
        self.weight = (weight.float() / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.scale = scale

    def dequantize(self) -> Tensor:
        """See KernelLinear."""
        return self.weight.float() * self.scale.float()[:, None]

    def product(self, rows: Tensor) -> Tensor:
        """See KernelLinear."""
        return torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)


class Int4Linear(KernelLinear):
    """codes: (out, in / 2) uint8, two a byte, the first in the lower half; grid: (in / group, out, 2) bf16, step and
    offset; value = (code - 8) * step + offset."""

    bits: ClassVar[int] = 4
    codes: Tensor
    grid: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, group_size: int) -> None:
        super().__init__(rows, columns, bias)
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


@dataclass(frozen=True)
class WeightOnly(Compressor):
    """Linear layers of 8 or 4 bits in bf16 models, computed with by the CPU's own kernels.

    bits: 8, one scale a row, or 4, step and offset for each group. group_size: columns that share them, at 4 bits.
    head: cover the output layer too, which in a language model is most of what a decode step reads; an embedding
    that shares its weights keeps a copy in bf16. A layer that the kernel cannot take stays bf16.
    """

    name: ClassVar[str] = "weight-only"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # of use where tokens are decoded: see Model.also
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8bit": {"bits": 8},
        "4bit-g64": {"bits": 4},
        "4bit-g32": {"bits": 4, "group_size": 32},
    }

    bits: int = 8
    group_size: int = 64
    head: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits = {self.bits!r}: must be 4 or 8")
        if self.group_size not in GROUPS:
            raise ValueError(f"group_size = {self.group_size!r}: must be one of {', '.join(map(str, GROUPS))}")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"its kernels run on the CPU, not on {hardware.device}"

        def check(skeleton: nn.Module) -> None:
            surgery.layer_list(surgery.as_linears(skeleton))
            if not self._covered(skeleton):
                raise surgery.UnknownStructure(f"no linear layer has a shape that the {self.bits}-bit product takes")

        return surgery.structure_reason(model, check)

    def _covered(self, model: nn.Module) -> dict[str, nn.Linear]:
        head = getattr(model, "lm_head", None)
        span = self.group_size if self.bits == 4 else 1
        return {
            name: layer
            for name, layer in model.named_modules()
            if type(layer) is nn.Linear
            and (self.head or layer is not head)
            and not layer.out_features % ROWS
            and not layer.in_features % max(span, ROWS)
        }

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        layers = self._covered(surgery.as_linears(model))
        if any(not bool(layer.weight.isfinite().all()) for layer in layers.values()):
            raise PressbenchError("a weight is not finite: the model was broken before it was quantized")
        if self.bits == 4:
            total = sum(layer.weight.numel() for layer in layers.values())
            there = sum(
                layer.weight.numel()
                for layer in layers.values()
                if lies_on_offset_grid(layer.weight.detach(), self.bits, self.group_size)
            )
            if 2 * there > total:
                raise Unsupported(
                    f"{self.name}: {there / 1e6:.0f} of {total / 1e6:.0f} million weights lie on a 4-bit grid in "
                    f"groups of {self.group_size} already, as it would store them: no loss would mean anything"
                )
        for done, (name, layer) in enumerate(layers.items()):
            stored = self._empty(layer)
            stored.quantize(layer.weight.detach())
            surgery.replace(model, name, stored)
            context.progress("quantizing", done + 1, len(layers))
        return Compressed(surgery.cast(model, torch.bfloat16), {"layers": list(layers)})

    def _empty(self, layer: nn.Linear) -> KernelLinear:
        shape = layer.out_features, layer.in_features, layer.bias
        return Int8Linear(*shape) if self.bits == 8 else Int4Linear(*shape, self.group_size)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name in structure["layers"]:
            surgery.replace(model, name, self._empty(surgery.get(model, name)))
        return model
