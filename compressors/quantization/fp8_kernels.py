"""Layers that multiply 8-bit floating-point activations by 8-bit floating-point weights: `torch._scaled_mm`.

The format is e4m3 (Micikevicius et al. 2022, "FP8 formats for deep learning"): a sign, 4 bits of exponent, 3 of
mantissa. Its largest value is 448, it has no infinity, and what is rounded to it moves by at most 1/16 of itself, or by
2^-10 below 2^-6. So a tensor, or each row of it, is first scaled to reach 448.

On a GPU the product wants inputs and outputs in multiples of 16, and answers by row in bf16 (float32 only on some, with
some versions). That is what torch's source says: none of this has been run on a GPU.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.quantization.kernels import KernelLinear
from compressors.runtimes.torch import LogicalWeight

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
"""The largest value of e4m3."""
SMALLEST_SCALE = 2.0**-100
"""Of what is zero or as good as that: zero over it is zero, and 2^-100 is far from where float32 loses digits."""
MULTIPLE = 16
"""The product takes inputs and outputs in multiples of so many; a layer with others is padded with zeros."""


def scale_for(values: Tensor, by_row: bool) -> Tensor:
    """What `values`, (n, m), are divided by so that the largest is 448, float32: (n, 1) by row, else (). NaN or
    infinite where a value is."""
    largest = values.abs().amax(1, keepdim=True) if by_row else values.abs().amax()
    return (largest.float() / LARGEST).clamp_min(SMALLEST_SCALE)


def fitted(values: Tensor, scale: Tensor) -> Tensor:
    """`values` over `scale`, float32, what is beyond ±448 taken for that: whether torch makes NaN or 448 of it depends
    on its version."""
    return (values.float() / scale).clamp_(-LARGEST, LARGEST)


class Fp8Linear(KernelLinear):
    """In the place of an nn.Linear: (…, in) -> (…, out), in the type of its input.

    codes: (out, in) float8_e4m3fn. scale: float32, (out,) where `by_row`, else (); value = code * scale. Activations
    are scaled as they come, each row by its own largest value, or all by theirs: then what else is in a batch has a
    say. A row that is not finite answers NaN; without `by_row` all of them do.

    Sums are float32. They come back as bf16 by row and for bf16 inputs, else as float32. A bias of bf16 is added before
    they are rounded to bf16, any other one after.
    """

    bits: ClassVar[int] = 8
    codes: Tensor
    scale: Tensor
    laid_out: Tensor | None
    laid_scale: Tensor
    typed: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None, by_row: bool) -> None:
        super().__init__(rows, columns, bias)
        self.by_row = by_row
        self.register_buffer("codes", torch.empty(rows, columns, dtype=E4M3))
        self.register_buffer("scale", torch.empty(rows if by_row else ()))
        self.register_buffer("laid_out", None, persistent=False)
        self.register_buffer("laid_scale", None, persistent=False)
        self.register_buffer("typed", torch.full((), torch.nan), persistent=False)

    @property
    def padded(self) -> tuple[int, int]:
        """Outputs and inputs of zeros that the product is given beside its own."""
        return -self.out_features % MULTIPLE, -self.in_features % MULTIPLE

    @property
    def weight(self) -> Tensor:
        """(out, in) of the type that the model computes in, which T5 asks of a layer at every pass. Not the weights but
        NaN, so that who takes them for weights sees it: they are `dequantize`."""
        return self.typed.expand(self.out_features, self.in_features)

    def answer_in(self, dtype: torch.dtype) -> None:
        """The model computes in that type from now on."""
        self.typed = self.typed.to(dtype)

    def quantize(self, weight: Tensor) -> None:
        """Take the values of `weight`, (out, in), rounded to the nearest of e4m3, ties to even."""
        scale = scale_for(weight, self.by_row)
        self.codes = fitted(weight, scale).to(E4M3)
        self.scale = scale[:, 0] if self.by_row else scale

    def dequantize(self) -> Tensor:
        """See KernelLinear."""
        return self.codes.float() * (self.scale[:, None] if self.by_row else self.scale)

    def _lay_out(self) -> None:
        super()._lay_out()
        down, across = self.padded
        if down or across:  # as bytes: padding of float8 is not written for every device
            self.laid_out = F.pad(self.codes.view(torch.uint8), (0, across, 0, down)).view(E4M3)
        self.laid_scale = F.pad(self.scale, (0, down), value=1.0)[None] if self.by_row else self.scale

    def release(self) -> None:
        """See KernelLinear."""
        if self.laid_out is not None:
            self.codes = self.codes.new_empty((0, self.in_features))

    def rounded(self, rows: Tensor) -> Tensor:
        """What the product sees of activations, (n, in), as float32."""
        scale = scale_for(rows, self.by_row)
        return fitted(rows, scale).to(E4M3).float() * scale

    def product(self, rows: Tensor) -> Tensor:
        """The kernel, with the bias: (n, in) -> (n, out), bf16 or float32."""
        down, across = self.padded
        scale = scale_for(rows, self.by_row)
        codes = F.pad(fitted(rows, scale), (0, across)).to(E4M3)
        weight = self.codes if self.laid_out is None else self.laid_out
        out = torch.bfloat16 if self.by_row or rows.dtype == torch.bfloat16 else torch.float32
        # A GPU takes a bias only beside an answer of its own type, and none beside float32.
        within = self.bias if self.bias is not None and self.bias.dtype == out == torch.bfloat16 else None
        bias = None if within is None else F.pad(within, (0, down))
        found = torch._scaled_mm(codes, weight.t(), scale, self.laid_scale, bias=bias, out_dtype=out)
        found = found[:, : self.out_features]
        return found if self.bias is None or within is not None else found + self.bias

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        if not values.numel():  # of no rows there is no largest
            return values.new_empty(*values.shape[:-1], self.out_features)
        rows = values.reshape(-1, self.in_features).contiguous()
        if self._placed:
            found = self.product(rows)
        else:
            bias = None if self.bias is None else self.bias.float()
            found = F.linear(self.rounded(rows), self.dequantize(), bias)
        return found.to(values.dtype).reshape(*values.shape[:-1], self.out_features)

    def logical_weights(self) -> list[LogicalWeight]:
        """See KernelLinear."""
        weights, *bias = super().logical_weights()
        return [LogicalWeight(weights.count, weights.nonzero, "float8_e4m3fn"), *bias]
