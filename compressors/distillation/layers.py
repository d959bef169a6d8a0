"""Distillation into a student cut from the dense model's own layers.

Sources: DistilBERT (Sanh et al. 2019) for cutting the student out of the teacher; Hinton et al. 2015 for
the soft targets; TinyBERT (Jiao et al. 2020) for matching hidden states, here without a projection,
since a cut student has its teacher's width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.asked_once import Told, apart, asked_once, beside
from compressors.interface import (
    Compressed,
    Compressor,
    Context,
    Effect,
    Examples,
    Hardware,
    ModelSpec,
    PressbenchError,
)
from compressors.recovery import STATES, relative_error, states_of
from compressors.training import Loss, autocast, distillation, real_positions, train

ROUNDING = 1e-3
"""Of the variance of states, by which the same ones may differ: kept in bf16 those of MiniLM do by 3e-6 of it, those of
a tiny Llama before its last norm from those behind by half of it."""


@dataclass(frozen=True)
class DistilLayers(Compressor):
    """layers: how many the student keeps, spread from the first to the last of the teacher's.
    temperature, alpha: of the soft targets. hidden: weight of the mean squared error between the
    student's last hidden state and the teacher's; 0 leaves it out."""

    name: ClassVar[str] = "distil-layers"
    family: ClassVar[str] = "distillation"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"3": {"layers": 3}, "1": {"layers": 1}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"layers": (3, 2, 1)}

    layers: int = 2
    temperature: float = 2.0
    alpha: float = 0.9
    hidden: float = 1.0
    epochs: float = 2
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers is {self.layers}, must be at least 1")

    @property
    def asks_dense(self) -> bool:
        return True

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            surgery.check_removable(skeleton)
            have = max(_depths(skeleton))
            if have <= self.layers:
                told = f"{have} layer{'s' * (have > 1)}"
                raise surgery.UnknownStructure(f"the model has {told}, a student of {self.layers} would not be smaller")

        return surgery.structure_reason(model, check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        training = context.require_training()
        chosen = [spread(have, min(have, self.layers)) for have in _depths(model)]
        loss: Loss = _passed
        if training.labels is not None:
            teacher = context.dense().eval() if training.dense_logits is None else None
            loss = distillation(self.temperature, self.alpha, teacher)
        elif not self.hidden:
            raise PressbenchError(f"{self.name}: this model's answers are its hidden states: hidden must be above 0")
        if self.hidden:
            told = _last_hidden(context.dense(), context.hardware)
            kept = _kept(context.dense_said() or {}, told, training)
            training = beside(training, kept) if kept else asked_once(told, training, context.progress)[0]
            loss = _with_hidden(loss, self.hidden, told)
        surgery.keep_layers(model, *chosen)
        train(
            model,
            training,
            loss,
            context.hardware,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            seed=context.seed,
            progress=context.progress,
            what="distilling",
        )
        return Compressed(model, dict(zip(("layers", "decoder_layers"), chosen, strict=False)))

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.keep_layers(model, structure["layers"], structure.get("decoder_layers"))
        return model


def spread(teacher: int, student: int) -> list[int]:
    """The teacher's layers that a student starts from: evenly spaced, first and last included.

    On BBC News a student of layers 0 and 5 starts at 89 % without any training, one of the first
    layers at 69 %."""
    if student == 1:
        return [0]
    return [round(i * (teacher - 1) / (student - 1)) for i in range(student)]


def _depths(model: nn.Module) -> list[int]:
    """How many layers there are; of an encoder-decoder in each of the two."""
    return [len(surgery.get(model, stack)) for stack in surgery.layer_lists(model)]


@contextlib.contextmanager
def _last_layers(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, a pass through the model puts here what its last layer says, of an encoder-decoder both. Not what
    `output_hidden_states` gives: that has the norm behind the layers applied."""
    found: list[Tensor] = []
    handles = [
        surgery.get(model, stack)[-1].register_forward_hook(
            lambda _m, _i, out: found.append(out[0] if isinstance(out, tuple) else out)
        )
        for stack in surgery.layer_lists(model)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _last_hidden(teacher: nn.Module, hardware: Hardware) -> Told:
    """By the number of each stack of layers what its last one says: (examples, tokens, width)."""

    @torch.no_grad()  # not inference_mode: BEiT keeps a table of its first pass, and training needs it too
    def told(batch: Examples) -> dict[str, Tensor]:
        with autocast(hardware), _last_layers(teacher) as found:
            teacher(**batch.inputs)
        return {str(stack): states for stack, states in enumerate(found)}

    return told


def _kept(said: Mapping[str, Tensor], told: Told, examples: Examples) -> dict[str, Tensor]:
    """What the last layers say by what is kept of the dense model; nothing where that is not it: the norm behind the
    layers is in it."""
    last = [states[-1] for field in STATES if (states := states_of(said, field))]
    for stack, live in told(examples[:2]).items() if last else ():
        kept = last[int(stack)][:2].float()
        if kept.shape != live.shape or not float(relative_error(live.float(), kept, None)) <= ROUNDING:
            return {}
    return {str(stack): states for stack, states in enumerate(last)}


def _passed(model: nn.Module, batch: Examples) -> Tensor:
    """No loss but that of the hidden states, which a pass through the model is needed for."""
    model(**batch.inputs)
    return torch.zeros(())


def _with_hidden(loss: Loss, weight: float, told: Told) -> Loss:
    def combined(model: nn.Module, batch: Examples) -> Tensor:
        plain, said = apart(batch)
        said = said or dict(told(plain))
        with _last_layers(model) as captured:
            value = loss(model, plain)
        for number, found in enumerate(captured):
            wanted = said[str(number)]
            if found.shape != wanted.shape:
                widths = f"{found.shape[-1]} wide, the dense model's {wanted.shape[-1]}"
                raise PressbenchError(f"distil-layers: its hidden states are {widths}: hidden must be 0")
            error = (found.float() - wanted.float()) ** 2
            real = real_positions(plain, decoder=number > 0)
            if real is not None and real.shape == error.shape[:-1]:
                error = error[real]  # what padding holds means nothing
            value = value + weight * error.mean()
        return value

    return combined
