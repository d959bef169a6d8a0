"""Quantization-aware training: weights are trained as they will be stored, and the steps of their grid with them."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressors import surgery
from compressors.divergence import divergence
from compressors.interface import Compressed, Context, PressbenchError
from compressors.quantization.laid_grid import LaidGrid, grouped, nearest
from compressors.quantization.packed import PackedWeight, storable
from compressors.quantization.rounded_weights import RoundedWeights
from compressors.recovery import check_precise, check_recovery, recover

EVEN = ("linear", "fitted", "symmetric")
"""The grids whose points lie a step from each other."""

SPEED = 10.0
"""How much faster than the weights' rate a step may grow or shrink. Adam moves every parameter by about the rate a
step of training: 1e-4 of a weight of 0.05, and of the logarithm of a step ten times that."""

FARTHEST = 8.0

HELD_OUT = 128
"""Training examples, or an eighth where that is less, on which trained and untrained are compared."""


class _LearntStep(torch.autograd.Function):
    """(clamp(round(w / s), low, high)) · s, straight through, with the gradient of the step of Esser et al. 2020."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, low: Tensor, high: Tensor, count: Tensor) -> Tensor:
        scaled = weight / step
        codes = scaled.round().clamp(low, high)
        ctx.save_for_backward(scaled, codes, low, high, count)
        return codes * step

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        scaled, codes, low, high, count = ctx.saved_tensors
        inside = (scaled > low) & (scaled < high)
        of_weight = gradient * inside
        of_step = (gradient * codes - of_weight * scaled).sum(-1, keepdim=True)
        return of_weight, of_step / (count * high.clamp_min(1)).sqrt(), None, None, None


class LearntSteps(nn.Module):
    """A weight on its grid while it is trained. growth: (rows, groups), the logarithm of each step over the one it
    began with, over SPEED: whatever is learnt, a step stays positive, and within FARTHEST times where it began."""

    first: Tensor
    zero: Tensor
    count: Tensor

    def __init__(self, laid: LaidGrid, columns: int) -> None:
        super().__init__()
        self.bits, self.group_size = laid.bits, laid.group_size
        groups = torch.arange(laid.scale.shape[1])
        zero = torch.full_like(laid.scale, 2 ** (laid.bits - 1)) if laid.zero is None else laid.zero
        self.growth = nn.Parameter(torch.zeros_like(laid.scale, dtype=torch.float32))
        self.register_buffer("first", laid.scale.float())
        self.register_buffer("zero", zero.float())
        self.register_buffer("count", (columns - groups * laid.group_size).clamp(max=laid.group_size).float())
        self.with_zeros = laid.zero is not None

    def step(self) -> Tensor:
        """(rows, groups)."""
        return self.first * (self.growth * SPEED).clamp(-math.log(FARTHEST), math.log(FARTHEST)).exp()

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (rows, columns). The same, every weight at the nearest point."""
        low, high = -self.zero, 2**self.bits - 1 - self.zero
        groups = grouped(weight, self.group_size)
        parts = (values.to(weight.dtype)[..., None] for values in (self.step(), low, high, self.count))
        moved: Tensor = _LearntStep.apply(groups, *parts)
        return moved.flatten(1)[:, : weight.shape[1]]

    def packed(self, weight: Tensor) -> PackedWeight:
        """weight: (rows, columns), as it is stored."""
        zero = self.zero.to(torch.uint8) if self.with_zeros else None
        laid = LaidGrid(self.bits, self.group_size, storable(self.step().detach()), zero)
        return laid.packed(laid.nearest(weight, torch.arange(weight.shape[1])))


@dataclass(frozen=True)
class TrainQuantized(RoundedWeights):
    """Trains the model to answer as the dense one does while the linear layers of its blocks compute with the weights
    that will be stored, and learns the step of each group (LSQ, Esser et al. 2020; straight-through estimator, Bengio
    et al. 2013). Zero points stay where the grid had them; what is not quantized is trained too, but for the token
    embedding.

    epochs: passes over the training data, more of them where it is small, as of recovery. learning_rate: the peak. The
    others are those of every rounding; the grid, one of even steps, is where the steps begin.

    An eighth of the training data, 128 examples at most, is held out. The model as it was before training, rounded to
    nearest, is kept where it is nearer the dense one on these: `kept` and `divergence` tell, in the structure.
    """

    name: ClassVar[str] = "train-quantized"
    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4bit-g64": {},
        "3bit-g64": {"bits": 3},
        "2bit-g64": {"bits": 2},
    }

    epochs: float = 1.0
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid not in EVEN:
            raise ValueError(
                f"grid = {self.grid!r}: steps are learnt on a grid of even ones; must be {', '.join(EVEN)}"
            )
        if not self.epochs > 0:
            raise ValueError(f"epochs = {self.epochs!r}: must be above 0")
        check_recovery(self.epochs, self.learning_rate)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        check_precise(model, self.name)
        layers = self.checked(model)
        order = torch.randperm(len(context.require_training()), generator=torch.Generator().manual_seed(context.seed))
        held = min(HELD_OUT, len(order) // 8)
        if not held:
            raise PressbenchError(f"{self.name}: {len(order)} training examples are too few, it holds out one in eight")
        examples = context.require_training()
        training = dataclasses.replace(context, training=examples[order[held:]], calibration=examples[order[:held]])

        untrained = copy.deepcopy(model)
        tried = {
            "untrained": (untrained, {name: self._nearest(surgery.get(untrained, name).weight) for name in layers}),
            "trained": (model, self.rounded(model, layers, training)),
        }
        dense, apart = context.dense().eval(), {}
        for label, (one, weights) in tried.items():
            with torch.no_grad():
                for name, weight in weights.items():
                    surgery.get(one, name).weight.copy_(weight.dequantize())
            apart[label] = float(f"{divergence(one, dense, training):.6g}")
        kept = min(apart, key=lambda label: apart[label])
        return self.stored(*tried[kept], kept=kept, divergence=apart)

    def _nearest(self, weight: Tensor) -> PackedWeight:
        return nearest(self.grid_for(weight), weight.detach())

    def rounded(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, PackedWeight]:
        """These, once they were trained with all of `model`."""
        steps: dict[int, LearntSteps] = {}  # layers that share a weight share its steps
        found = {name: surgery.get(model, name) for name in layers}
        for layer in found.values():
            weight = layer.weight.detach()
            laid = self.grid_for(weight).lay(weight)
            learnt = steps.setdefault(weight.data_ptr(), LearntSteps(laid, weight.shape[1]))
            parametrize.register_parametrization(layer, "weight", learnt)
        recover(model, context, epochs=self.epochs, learning_rate=self.learning_rate, what=self.name)
        packed: dict[str, PackedWeight] = {}
        for name, layer in found.items():
            learnt = layer.parametrizations.weight[0]
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            packed[name] = learnt.packed(layer.weight.detach())
        return packed
