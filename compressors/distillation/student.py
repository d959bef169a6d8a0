"""Distillation into a student of a shape of its own: fewer layers, a narrower stream, fewer heads and neurons.

Sources: TinyBERT (Jiao et al. 2020) and MiniLMv2 (Wang et al. 2021) for what it is taught by, see `signals`; Minitron
(Muralidharan et al. 2024) for what it begins with, see `start`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.asked_once import apart, asked_once
from compressors.distillation import shape as shapes
from compressors.distillation import signals as taught
from compressors.distillation import start as begun
from compressors.distillation.signals import Seen, Signals
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
from compressors.skeleton import skeleton
from compressors.training import autocast, cross_entropy, scored_positions, soft_targets, train


@dataclass(frozen=True)
class DistilStudent(Compressor):
    """layers, width, heads, neurons: the student's, of the feed-forward part of a layer the last; below 1 shares of the
    teacher's, 0 all of them. heads = 0: as wide as the teacher's are, or in proportion to the width.
    start: "teacher", its own weights as far as they fit (its heads are then as wide), or "random".
    answers, hidden, embeddings, attention, relations: the weight of each signal, 0 leaves it out. temperature, alpha:
    of the soft targets, and their share beside the labels. relation_heads: see `Signals`.
    epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "distil-student"
    family: ClassVar[str] = "distillation"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "half": {},
        "half-no-answers": {"answers": 0.0},
        "half-no-labels": {"alpha": 1.0},
        "half-no-hidden": {"hidden": 0.0},
        "half-no-embeddings": {"embeddings": 0.0},
        "half-no-relations": {"relations": 0.0},
        "half-and-attention": {"attention": 1.0},
        "half-answers-alone": {"hidden": 0.0, "embeddings": 0.0, "relations": 0.0},
        "half-random": {"start": "random"},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "layers": (0.75, 0.5, 0.34, 0.17),
        "width": (0.75, 0.5, 0.5, 0.34),
        "neurons": (0.75, 0.5, 0.34, 0.25),
    }

    layers: float = 0.5
    width: float = 0.5
    heads: float = 0.0
    neurons: float = 0.5
    start: str = "teacher"
    answers: float = 1.0
    temperature: float = 2.0
    alpha: float = 0.9
    hidden: float = 1.0
    embeddings: float = 1.0
    attention: float = 0.0
    relations: float = 1.0
    relation_heads: int = 0
    epochs: float = 8.0
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        for field in ("layers", "width", "heads", "neurons"):
            value = getattr(self, field)
            if value < 0 or (value > 1 and value != round(value)):
                raise ValueError(f"{field} = {value!r}: must be a whole number, a share below 1, or 0 for all of them")
        if self.start not in ("teacher", "random"):
            raise ValueError(f"start = {self.start!r}: must be 'teacher' or 'random'")
        for field in ("answers", "hidden", "embeddings", "attention", "relations"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} = {getattr(self, field)!r}: must be 0 (left out) or more")
        if not self.answers and not self.signals.beyond_answers:
            raise ValueError("answers, hidden, embeddings, attention and relations are all 0: nothing would be taught")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha = {self.alpha!r}: must lie between 0 and 1")
        for field in ("temperature", "epochs", "learning_rate"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} = {getattr(self, field)!r}: must be above 0")
        if self.relation_heads < 0:
            raise ValueError(f"relation_heads = {self.relation_heads}: must be at least 1, or 0 for as many as fit")

    @property
    def signals(self) -> Signals:
        """What it is taught by beside the answers."""
        return Signals(self.hidden, self.embeddings, self.attention, self.relations, self.relation_heads)

    @property
    def asks_dense(self) -> bool:
        return not self.signals.beyond_answers  # these it asks for itself, and the answers with them

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(teacher: nn.Module) -> None:
            surgery.as_linears(teacher)
            shape = self._shape(teacher)
            student = shapes.student(teacher, shape.config, empty=False, device="meta")
            if _size(student) >= _size(teacher):
                raise surgery.UnknownStructure("a student of this shape is not smaller than its teacher")
            self.signals.fitting(student, teacher)
            if model.output != "logits" and not self.signals.beyond_answers:
                raise surgery.UnknownStructure("its answers are hidden states: hidden must be above 0")
            if self.start == "teacher":
                begun.check(student, teacher, shape)

        shape = (self.layers, self.width, self.heads, self.neurons, self.start)
        return surgery.structure_reason(model, check, asked=("student", *shape, self.signals))

    def _shape(self, teacher: nn.Module) -> shapes.Shape:
        return shapes.shape(teacher, layers=self.layers, width=self.width, heads=self.heads, neurons=self.neurons)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        if shapes.differing(model, skeleton(context.model.config, device="meta")):
            raise PressbenchError(f"{self.name} must come first: its student has a shape of its own, whatever was cut")
        surgery.as_linears(model)
        shape = self._shape(model)
        student = shapes.student(model, shape.config, empty=False)
        stream = begun.begin(student, model, shape, context) if self.start == "teacher" else None
        teacher = surgery.as_linears(context.dense().eval())
        with _maps_to_be_had(student, teacher) if self.attention else contextlib.nullcontext():
            self._teach(student, teacher, stream, context)
        return Compressed(student, {"config": shape.config})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return shapes.student(model, structure["config"])

    def _teach(self, student: nn.Module, teacher: nn.Module, stream: Tensor | None, context: Context) -> None:
        examples, signals = context.require_training(), self.signals.fitting(student, teacher)
        depths = [[len(surgery.get(one, s)) for s in surgery.layer_lists(one)] for one in (student, teacher)]
        own = [list(range(depth)) for depth in depths[0]]
        other = [taught.counterparts(*pair) for pair in zip(*depths, strict=True)]

        def told(batch: Examples) -> Seen:
            with torch.no_grad(), autocast(context.hardware):
                seen = taught.see(teacher, batch, signals, other)
            if batch.dense_logits is not None or not self.answers:
                seen.pop("answers", None)
            return seen

        first = examples[:2]
        with torch.no_grad():
            through = taught.projections(taught.see(student, first, signals, own), told(first), stream)
        examples, once = asked_once(told, examples, context.progress)

        def loss(model: nn.Module, batch: Examples) -> Tensor:
            plain, wanted = apart(batch)
            found = taught.see(model, plain, signals, own)
            wanted = wanted if once else told(plain)
            total = taught.loss(signals, found, wanted, through, plain)
            if self.answers and "answers" in found:
                target = wanted["answers"] if plain.dense_logits is None else plain.dense_logits
                total = total + self.answers * self._of_answers(found["answers"], target, plain)
            return total

        train(
            student,
            examples,
            loss,
            context.hardware,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            parameters=[*student.parameters(), *through.parameters()],
            seed=context.seed,
            progress=context.progress,
            what="distilling",
        )

    def _of_answers(self, found: Tensor, target: Tensor, batch: Examples) -> Tensor:
        scored = scored_positions(batch)
        soft = soft_targets(found[scored], target[scored], self.temperature, exclusive=batch.exclusive)
        if self.alpha == 1 or batch.labels is None:
            return soft
        return self.alpha * soft + (1 - self.alpha) * cross_entropy(found, batch.labels)


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@contextlib.contextmanager
def _maps_to_be_had(*models: nn.Module) -> Iterator[None]:
    """Within it they attend step by step: the fused kernels have no maps to give."""
    was = [model.config._attn_implementation for model in models]  # type: ignore[union-attr]
    try:
        for model in models:
            model.set_attn_implementation("eager")  # type: ignore[operator]
        yield
    finally:
        for model, before in zip(models, was, strict=True):
            model.set_attn_implementation(before)  # type: ignore[operator]
