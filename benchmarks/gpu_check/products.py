"""Products of a linear layer in few bits, (n, in) -> (n, out), each with what its codes stand for.

A product takes a weight, (out, in) in bf16, once; `call` computes with it, `reference` is what that must be: the same
codes, decoded, multiplied in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu_check.check import NotHere
from compressors.quantization.fp8_kernels import Fp8Linear
from compressors.quantization.kernels import Int4Linear

FEWEST_ROWS = 32
"""torch._int_mm on a GPU takes more than 16 rows: fewer are padded to so many."""
GROUP = 128
TILES = 8
"""Of the 4-bit product's layout; it is laid out for 16 · 8 = 128 inputs at once."""


class Product(Protocol):
    """bytes: of the weight as the product reads it. operands: whose peak it is held against."""

    bytes: int
    operands: str

    def call(self, rows: Tensor) -> Tensor:
        """(n, in) bf16 -> (n, out) bf16."""
        ...

    def reference(self, rows: Tensor) -> Tensor:
        """(n, in) bf16 -> (n, out) float64."""
        ...


class Bf16:
    """What all are held against."""

    operands = "bf16"

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.bytes = weight, weight.nbytes

    def call(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight)

    def reference(self, rows: Tensor) -> Tensor:
        return rows.double() @ self.weight.double().t()


class Int8:
    """torch._int_mm: 8-bit weights, a scale each output; 8-bit activations, a scale each row, found as they come."""

    operands = "int8"

    def __init__(self, weight: Tensor) -> None:
        self.scale = weight.float().abs().amax(1) / 127
        self.codes = (weight.float() / self.scale[:, None]).round().to(torch.int8)
        self.bytes = self.codes.nbytes + self.scale.nbytes

    def coded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """int8 codes and their scale, (n, 1)."""
        scale = rows.float().abs().amax(1, keepdim=True) / 127
        return (rows.float() / scale).round_().to(torch.int8), scale

    def call(self, rows: Tensor) -> Tensor:
        codes, scale = self.coded(rows)
        count = len(rows)
        if count < FEWEST_ROWS:
            codes = F.pad(codes, (0, 0, 0, FEWEST_ROWS - count))
        sums = torch._int_mm(codes, self.codes.t())[:count]
        return (sums.float() * scale * self.scale).bfloat16()

    def reference(self, rows: Tensor) -> Tensor:
        codes, scale = self.coded(rows)
        return (codes.double() @ self.codes.double().t()) * scale.double() * self.scale.double()


class Fp8:
    """This project's own layer."""

    operands = "fp8"

    def __init__(self, weight: Tensor, by_row: bool) -> None:
        self.layer = Fp8Linear(weight.shape[0], weight.shape[1], None, by_row).to(weight.device)
        self.layer.quantize(weight)
        self.layer.place()
        self.bytes = self.layer.codes.nbytes + self.layer.scale.nbytes

    def call(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)
        return found

    def reference(self, rows: Tensor) -> Tensor:
        return self.layer.rounded(rows).double() @ self.layer.dequantize().double().t()


class Int4:
    """4-bit weights in groups of 128 by bf16 activations: this project's codes, by ATen's own packed product."""

    operands = "bf16"

    def __init__(self, weight: Tensor) -> None:
        rows, columns = weight.shape
        self.layer = Int4Linear(rows, columns, None, GROUP).to(weight.device)
        self.layer.quantize(weight)
        self.bytes = self.layer.codes.nbytes + self.layer.grid.nbytes
        if weight.device.type == "cpu":
            self.layer.place()
        else:
            codes = self.layer.codes  # the product for CUDA has the first of two in the upper half
            swapped = (codes << 4) | (codes >> 4)
            self.laid_out = torch.ops.aten._convert_weight_to_int4pack(swapped, TILES)

    def call(self, rows: Tensor) -> Tensor:
        if rows.device.type == "cpu":
            return self.layer.product(rows)
        return torch.ops.aten._weight_int4pack_mm(rows, self.laid_out, GROUP, self.layer.grid)

    def reference(self, rows: Tensor) -> Tensor:
        return rows.double() @ self.layer.dequantize().double().t()


class Sparse:
    """2:4 sparsity: of four weights in a row the two largest are left."""

    operands = "bf16"

    def __init__(self, weight: Tensor) -> None:
        self.weight = two_of_four(weight)
        if weight.device.type == "cpu":
            raise NotHere("needs CUDA: torch has its 2:4 product for GPUs only")
        self.laid_out = torch.sparse.to_sparse_semi_structured(self.weight)
        self.bytes = weight.nbytes // 2 + weight.numel() // 8  # 2 bits tell where each of those left was

    def call(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.laid_out)

    def reference(self, rows: Tensor) -> Tensor:
        return rows.double() @ self.weight.double().t()


def two_of_four(weight: Tensor) -> Tensor:
    """(out, in), of four weights in a row the two smallest set to zero."""
    fours = weight.unflatten(1, (-1, 4))
    smallest = fours.abs().topk(2, dim=2, largest=False).indices
    return fours.scatter(2, smallest, 0.0).flatten(1)


PRODUCTS: dict[str, Callable[[Tensor], Product]] = {
    "int8": Int8,
    "fp8 by row": lambda weight: Fp8(weight, by_row=True),
    "fp8 by tensor": lambda weight: Fp8(weight, by_row=False),
    "int4": Int4,
    "2:4": Sparse,
}
