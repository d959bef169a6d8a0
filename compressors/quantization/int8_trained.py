"""int8 in torch, trained as it will be computed: the steps of weights and of activations are learnt.

Sources: LSQ, Esser et al. 2020; straight-through estimator, Bengio et al. 2013; integer arithmetic with fake
quantization while training, Jacob et al. 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compressors.held_out import held_out, nearest_to_dense
from compressors.interface import Compressed, Context
from compressors.quantization.covered import covered_linears
from compressors.quantization.int8_kernels import Int8x8Linear, StaticInt8Linear
from compressors.quantization.int8_torch import Int8StaticTorch
from compressors.quantization.learnt_step import GrowingStep, on_learnt_step
from compressors.recovery import check_precise, check_recovery, recover


class CodedValues(GrowingStep):
    """What a layer multiplies, as the int8 product will see it: codes from `low` to `high` times a step that is learnt.
    first: (n, 1) steps to begin with, of a weight one for each of its rows, of activations one. width: of a position,
    or of a row."""

    ends: Tensor

    def __init__(self, first: Tensor, low: int, high: int, width: int) -> None:
        super().__init__(first)
        self.register_buffer("ends", torch.tensor([float(low), float(high), float(width)]))

    def forward(self, values: Tensor) -> Tensor:
        """(…, width)."""
        rows = values.reshape(len(self.first), -1)
        return on_learnt_step(rows, self.step(), *self.ends).view(values.shape).to(values.dtype)


@dataclass(frozen=True)
class Int8TrainedTorch(Int8StaticTorch):
    """As int8-static-torch, and then trained to answer as the dense model does while weights and activations are
    rounded as they will be: weights, and the step of each output's weights and of each layer's activations, are learnt,
    and what is not quantized is trained too, but for the token embedding. Zero stays the code that it was. Tables are
    rounded behind the training, which does not see it.

    epochs: passes over the training data, more of them where it is small, as of recovery. learning_rate: the peak.
    percentile, samples: of the ranges to begin with, see Int8StaticTorch. reduce_range, head, embeddings: see
    _Int8Torch.

    An eighth of the training data, 128 examples at most, is held out. The model before training is kept where it is
    nearer the dense one on these: `kept` and `divergence` tell, in the structure.
    """

    name: ClassVar[str] = "int8-trained-torch"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    epochs: float = 1.0
    learning_rate: float = 3e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.epochs > 0:
            raise ValueError(f"epochs = {self.epochs!r}: must be above 0")
        check_recovery(self.epochs, self.learning_rate)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        check_precise(model, self.name)
        training = held_out(context, self.name)
        layers = covered_linears(model, self.name, head=self.head)
        ranges, steps = self.ranges(model, list(layers), context), self.largest_code(context.hardware)
        untrained = copy.deepcopy(model)
        before = {
            name: self.rounded(layer, steps, ranges[name])
            for name, layer in covered_linears(untrained, self.name, head=self.head).items()
        }
        tried = {"untrained": (untrained, before), "trained": (model, self._learnt(model, layers, before, training))}
        made = {label: self.stored(one, found) for label, (one, found) in tried.items()}
        kept, apart = nearest_to_dense({label: one.model for label, one in made.items()}, training)
        return Compressed(made[kept].model, {**made[kept].structure, "kept": kept, "divergence": apart})

    def _learnt(
        self, model: nn.Module, layers: Mapping[str, nn.Linear], before: Mapping[str, Int8x8Linear], context: Context
    ) -> dict[str, Int8x8Linear]:
        """What takes the places of the `layers` once they were trained with all of `model`. before: untrained."""
        steps = self.largest_code(context.hardware)
        learnt: dict[str, tuple[CodedValues, CodedValues]] = {}
        hooks = []
        for name, layer in layers.items():
            start = before[name]
            assert isinstance(start, StaticInt8Linear)
            zero = int(start.zero)
            weight = CodedValues(start.scale[:, None].clone(), -steps, steps, layer.in_features)
            given = CodedValues(start.step.view(1, 1).clone(), -zero, 255 - zero, layer.in_features)
            parametrize.register_parametrization(layer, "weight", weight)
            layer.add_module("given", given)  # so that its step is trained
            hooks.append(layer.register_forward_pre_hook(lambda module, values: (module.given(values[0]),)))
            learnt[name] = weight, given
        recover(model, context, epochs=self.epochs, learning_rate=self.learning_rate, what=self.name)
        for hook in hooks:
            hook.remove()
        found: dict[str, Int8x8Linear] = {}
        for name, layer in layers.items():
            weight, given = learnt[name]
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            del layer.given
            start, made = before[name], self._empty(layer)
            assert isinstance(start, StaticInt8Linear) and isinstance(made, StaticInt8Linear)
            made.quantize(layer.weight.detach(), steps, weight.step().detach()[:, 0])
            made.step, made.zero = given.step().detach().view(()), start.zero.clone()
            found[name] = made
        return found
