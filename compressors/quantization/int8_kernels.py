"""Layers that multiply 8-bit activations by 8-bit weights on the CPU, by oneDNN's product as torch calls it.

The product is `torch.ops.onednn.qlinear_pointwise`, what PT2E lowers a quantized layer to; of torch's int8 products it
is the one that takes plain tensors and no deprecated ones. On one core with AVX2, 1,024 rows by 384 x 384 take 2.4 ms,
in fp32 4.9; `torch._int_mm` takes 150.

Where a CPU has no VNNI it adds two products of an 8-bit activation and a weight in 16 bits, which ends at 32,767
without a word: 255 · 127 comes out as half of it. Weights of 7 bits cannot get there (2 · 255 · 64 = 32,640). A layer
with larger ones refuses to be laid out on such a CPU.
"""

from __future__ import annotations

import abc
import functools
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressors.interface import PressbenchError
from compressors.quantization.kernels import KernelLinear

NEVER_SATURATES = 64
"""The largest weight, in steps, of which two times 255 fit into 16 bits."""
SMALLEST_STEP = 1e-37
"""Of a layer that is given zeros only; its inverse is still finite."""


def missing() -> str | None:
    """Why the product is not there, in one line; None where it is."""
    if "onednn" not in torch.backends.quantized.supported_engines or not torch.backends.mkldnn.is_available():
        return f"this torch ({torch.__version__}) is built without oneDNN, whose int8 product it needs"
    return None


def multiply(
    codes: Tensor, step: float, zero: int, laid_out: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(codes - zero) · step times the weights: (n, in) uint8 -> (n, out) float32. laid_out: by `lay_out`; scale: (out,)
    float32."""
    zeros = torch.zeros_like(scale, dtype=torch.int64)
    return torch.ops.onednn.qlinear_pointwise(
        codes, step, zero, laid_out, scale, zeros, bias, 1.0, 0, torch.float32, "none", [], ""
    )


def lay_out(weight: Tensor) -> Tensor:
    """Weights as the product wants them: (out, in) int8 -> opaque."""
    return torch.ops.onednn.qlinear_prepack(weight, None)


@functools.cache
def saturates() -> bool:
    """Whether the product loses what 16 bits do not hold on this CPU, by trying."""
    codes, weight = torch.full((1, 64), 255, dtype=torch.uint8), torch.full((16, 64), 127, dtype=torch.int8)
    return bool((multiply(codes, 1.0, 0, lay_out(weight), torch.ones(16)) != 64 * 255 * 127).any())


def coded(shifted: Tensor) -> Tensor:
    """float32, 128 less than the code -> uint8, rounded and held between 0 and 255. In place."""
    # By way of int8: torch turns floats into uint8 one by one, which takes five times as long.
    return shifted.round_().clamp_(-128, 127).to(torch.int8).view(torch.uint8).bitwise_xor_(128)


class Int8x8Linear(KernelLinear, abc.ABC):
    """weight: (out, in) int8; scale: (out,) float32, value = weight * scale. Computes in float32 but for the product,
    whatever it is given. Subclasses differ in how activations become codes."""

    bits: ClassVar[int] = 8
    weight: Tensor
    scale: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None) -> None:
        super().__init__(rows, columns, bias)
        self.register_buffer("weight", torch.empty(rows, columns, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(rows))

    def quantize(self, weight: Tensor, steps: int = 127, scale: Tensor | None = None) -> None:
        """Take the values of `weight`, (out, in), each row rounded to that many steps on either side of zero. scale:
        (out,) float32, the length of a step; None for one that reaches the row's largest."""
        if scale is None:
            largest = weight.float().abs().amax(1)
            scale = torch.where(largest > 0, largest / steps, 1.0)
        self.scale = scale
        self.weight = (weight.float() / self.scale[:, None]).round().clamp(-steps, steps).to(torch.int8)

    def dequantize(self) -> Tensor:
        """See KernelLinear."""
        return self.weight.float() * self.scale[:, None]

    def _lay_out(self) -> None:
        if int(self.weight.abs().max()) > NEVER_SATURATES and saturates():
            raise PressbenchError(
                "its weights of 8 bits would saturate in this CPU's int8 product, which has no VNNI: make the artifact "
                "with reduce_range=true"
            )
        super()._lay_out()
        self.laid_out = lay_out(self.weight)

    def release(self) -> None:
        """See KernelLinear."""
        self.weight = self.weight.new_empty((0, self.in_features))

    @abc.abstractmethod
    def rounded(self, rows: Tensor) -> Tensor:
        """What the product sees of activations, (n, in) float32."""

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        rows = values.reshape(-1, self.in_features).float()
        if self._placed:
            found = self.product(rows)
        else:
            found = nn.functional.linear(self.rounded(rows), self.dequantize(), self.bias)
        return found.view(*values.shape[:-1], self.out_features).to(values.dtype)


class DynamicInt8Linear(Int8x8Linear):
    """Each row of activations on 256 points of its own, from its smallest to its largest value. What else is in a batch
    has no say, and a row that is not finite spoils itself only."""

    def _lay_out(self) -> None:
        super()._lay_out()
        self.sums = self.weight.sum(1) * self.scale

    def _codes(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (n, in) uint8, step and offset (n, 1): row = code * step + offset, to half a step."""
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)  # aminmax by rows takes ten times as long
        step = (high - low) / 255  # 0 for a row of one value, whatever its codes then are
        inverse = step.reciprocal()
        return coded(torch.addcmul(-128 - low * inverse, rows, inverse)), step, low

    def rounded(self, rows: Tensor) -> Tensor:
        """See Int8x8Linear."""
        codes, step, low = self._codes(rows)
        return torch.addcmul(low, codes.float(), step)

    def product(self, rows: Tensor) -> Tensor:
        """See KernelLinear; with the bias."""
        codes, step, low = self._codes(rows)
        # The product takes one step and one offset for all rows. Those of a row stand before its sums:
        # Σ (code · step + low) · w = step · Σ code · w + low · Σ w.
        found = multiply(codes, 1.0, 0, self.laid_out, self.scale).mul_(step).addcmul_(low, self.sums)
        return found if self.bias is None else found.add_(self.bias)


class StaticInt8Linear(Int8x8Linear):
    """All activations on 256 points that are stored. step: () float32; zero: () int32, the code of zero: value =
    (code - zero) * step. What lies beyond the ends is taken for them."""

    step: Tensor
    zero: Tensor

    def __init__(self, rows: int, columns: int, bias: nn.Parameter | None) -> None:
        super().__init__(rows, columns, bias)
        self.register_buffer("step", torch.empty(()))
        self.register_buffer("zero", torch.empty((), dtype=torch.int32))

    def expect(self, low: float, high: float) -> None:
        """Let the codes reach from `low` to `high`, and zero be one of them."""
        low, high = min(low, 0.0), max(high, 0.0)
        self.step = torch.tensor(max((high - low) / 255, SMALLEST_STEP))
        self.zero = torch.tensor(round(-low / float(self.step)), dtype=torch.int32)

    def _lay_out(self) -> None:
        super()._lay_out()
        self._grid = float(self.step), int(self.zero)

    def _codes(self, rows: Tensor) -> Tensor:
        return coded(torch.addcmul(self.zero - 128.0, rows, self.step.reciprocal()))

    def rounded(self, rows: Tensor) -> Tensor:
        """See Int8x8Linear."""
        return (self._codes(rows).float() - self.zero) * self.step

    def product(self, rows: Tensor) -> Tensor:
        """See KernelLinear; with the bias."""
        return multiply(self._codes(rows), *self._grid, self.laid_out, self.scale, self.bias)
