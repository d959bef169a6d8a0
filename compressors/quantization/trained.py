"""Quantization-aware training: weights are trained as they will be stored, and the steps of their grid with them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressors import surgery
from compressors.held_out import held_out, nearest_to_dense
from compressors.interface import Compressed, Context
from compressors.quantization.laid_grid import LaidGrid, grouped, nearest
from compressors.quantization.learnt_step import GrowingStep, on_learnt_step
from compressors.quantization.packed import PackedWeight, storable
from compressors.quantization.rounded_weights import RoundedWeights
from compressors.recovery import check_precise, check_recovery, recover

EVEN = ("linear", "fitted", "symmetric")
"""The grids whose points lie a step from each other."""


class LearntSteps(GrowingStep):
    """A weight on its grid while it is trained, a step for each group: (rows, groups)."""

    zero: Tensor
    count: Tensor

    def __init__(self, laid: LaidGrid, columns: int) -> None:
        super().__init__(laid.scale.float())
        self.bits, self.group_size = laid.bits, laid.group_size
        groups = torch.arange(laid.scale.shape[1])
        zero = torch.full_like(laid.scale, 2 ** (laid.bits - 1)) if laid.zero is None else laid.zero
        self.register_buffer("zero", zero.float())
        self.register_buffer("count", (columns - groups * laid.group_size).clamp(max=laid.group_size).float())
        self.with_zeros = laid.zero is not None

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (rows, columns). The same, every weight at the nearest point."""
        low, high = -self.zero, 2**self.bits - 1 - self.zero
        groups = grouped(weight, self.group_size)
        parts = (values.to(weight.dtype)[..., None] for values in (self.step(), low, high, self.count))
        return on_learnt_step(groups, *parts).flatten(1)[:, : weight.shape[1]]

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
        training = held_out(context, self.name)
        untrained = copy.deepcopy(model)
        tried = {
            "untrained": (untrained, {name: self._nearest(surgery.get(untrained, name).weight) for name in layers}),
            "trained": (model, self.rounded(model, layers, training)),
        }
        for one, weights in tried.values():
            with torch.no_grad():
                for name, weight in weights.items():
                    surgery.get(one, name).weight.copy_(weight.dequantize())
        kept, apart = nearest_to_dense({label: one for label, (one, _) in tried.items()}, training)
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
