"""Recovery: the short distillation that follows a cut, the same for every method that needs one.

The student is the dense model less what was cut, with the same layers, so that every hidden state has a
target (FitNets, Romero et al. 2015; TinyBERT, Jiao et al. 2020) beside the answers (Hinton et al. 2015).
With pure soft targets the training data, which the dense model knows by heart, teaches little: half an
epoch after low-rank-svd (rank 128, MiniLM, dense 96.8 %) gave 95.8 %, with the hidden states too 96.3 %.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.adapters.lora import adapted
from compressors.asked_once import apart, asked_once, beside
from compressors.interface import Compressor, Context, Examples, Hardware, Progress, Unsupported
from compressors.training import Loss, autocast, real_positions, scored_positions, soft_targets, train

ASKED = 0.5
"""Epochs from which on the dense model is asked about all of the training data, once for all methods: for fewer steps
they ask it more cheaply themselves."""


def check_recovery(epochs: float, learning_rate: float) -> None:
    """Raises ValueError for values that `recover` cannot take."""
    if not epochs >= 0:
        raise ValueError(f"recovery_epochs = {epochs!r}: must be 0 (none) or more")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate = {learning_rate!r}: must be above 0")


@dataclass(frozen=True)
class Recovering(Compressor):
    """A method that recovers after its cut: the fields by which, and `recover`.

    recovery_epochs: passes over the training data, more of them where it is small; 0 for none. learning_rate: its peak.
    adapter_rank: train adapters of this rank beside the linear layers of the blocks, which become part of them, and
    nothing else (LoRA); 0 trains all weights. Adapters take a higher rate, such as 1e-3.
    """

    recovery_epochs: float = 1.0
    learning_rate: float = 3e-4
    adapter_rank: int = 0

    def __post_init__(self) -> None:
        check_recovery(self.recovery_epochs, self.learning_rate)
        if type(self.adapter_rank) is not int or self.adapter_rank < 0:
            raise ValueError(f"adapter_rank = {self.adapter_rank!r}: must be a whole number, 0 for no adapters")
        if self.adapter_rank and not self.recovery_epochs:
            raise ValueError(f"adapter_rank = {self.adapter_rank}: nothing trains adapters with recovery_epochs = 0")
        if self.adapter_rank:
            object.__setattr__(self, "requires", {**self.requires, "peft": "peft"})

    @property
    def asks_dense(self) -> bool:
        return self.recovery_epochs >= ASKED

    def recover(self, model: nn.Module, context: Context, **more: Any) -> None:
        """Recover as the fields say. more: what else the function `recover` takes."""
        recover(
            model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name,
            adapter_rank=self.adapter_rank, **more,
        )  # fmt: skip


def check_precise(model: nn.Module, what: str) -> None:
    """Raises Unsupported for a model in which a small step of a weight would be rounded away."""
    odd = {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32, torch.float64}
    if odd:
        raise Unsupported(f"{what}: its weights are {odd.pop()}, which a small pull does not move: use it before that")


PASS = 163_840
"""Positions (tokens, patches) that one epoch of recovery sees at least, where that takes no more than 8 passes."""


STATES = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")
AGAIN = 1.5
"""Passes from which on the dense model is asked once: with fewer it is asked hardly more often anyway."""


def passes(epochs: float, model: nn.Module, examples: Examples) -> float:
    """Passes over `examples` that `epochs` of recovery are.

    An epoch is one pass; over a small set it is more of them, up to 8, until `PASS` positions were seen. A pass over
    little data is cheap and teaches little: of vit-digits, 1,198 images of 17 positions, half the heads and neurons
    were gone and 5.0 points lost after one pass, 1.0 after 8."""
    with torch.no_grad():
        answer = model(**examples[:1].inputs, output_hidden_states=True)
    states = [answer[field][-1] for field in STATES if answer.get(field)]
    seen = len(examples) * max(state.flatten(0, -2).shape[0] for state in states)
    return epochs * min(8.0, max(1.0, PASS / seen))


def imitation(teacher: nn.Module, temperature: float = 2.0, basis: Tensor | None = None) -> Loss:
    """Soft targets plus the error of the hidden states, against `teacher` on the same batch, or against what it said
    of it when it was asked once (see `compressors.asked_once`).

    The error of a hidden state is its squared distance to the teacher's over that one's variance, averaged
    over the layers; padding is left out. Where the depths differ, only the last states are compared, and where the
    numbers of tokens do, only the first token's. Where the student is narrower, a state between two layers is compared
    with the teacher's in `basis`, (teacher's width, student's), and left out without one; the last, which the norm
    behind the layers has scaled, is left out unless it has the teacher's width again.
    Labels are not used."""

    def loss(model: nn.Module, batch: Examples) -> Tensor:
        batch, target = apart(batch)
        answer = model(**batch.inputs, output_hidden_states=True)
        depths = depths_of(answer)
        target = target or ask(teacher, batch, depths)
        errors = []
        for field, depth in depths.items():
            wanted = [target[f"{field} {number}"] for number in range(depth) if f"{field} {number}" in target]
            found = answer[field][-len(wanted) :]
            real = real_positions(batch, decoder=field.startswith("decoder"))
            pairs = _of_one_width(found, wanted, basis)
            errors += [relative_error(f.float(), w.float(), real) for f, w in starmap(_alike, pairs)]
        loss = torch.stack(errors).mean() if errors else torch.zeros(())
        if "logits" not in answer:  # an embedding model: its states are its answers
            return loss
        scored = scored_positions(batch)
        told = soft_targets(answer.logits[scored], target["logits"][scored], temperature, exclusive=batch.exclusive)
        return told + loss

    return loss


Depths = dict[str, int]
"""Field of an answer with hidden states -> how many layers say something there, the embedding left out."""


def depths_of(answer: Any) -> Depths:
    """Of a model, by what it answers with all hidden states."""
    return {field: len(answer[field]) - 1 for field in STATES if answer.get(field)}


def ask(teacher: nn.Module, batch: Examples, depths: Depths) -> dict[str, Tensor]:
    """What a student of such depths is compared with, see `of_depths`."""
    return of_depths(everything(teacher, batch), depths)


@torch.no_grad()  # not inference_mode: BEiT keeps a table of its first pass, and training needs it too
def everything(teacher: nn.Module, batch: Examples) -> dict[str, Tensor]:
    """What a teacher says: "logits", and `FIELD NUMBER` for the states behind each layer, from 0."""
    answer = teacher(**batch.inputs, output_hidden_states=True)
    found = {"logits": answer.logits} if "logits" in answer else {}
    for field in depths_of(answer):
        found |= {f"{field} {number}": state for number, state in enumerate(answer[field][1:])}
    return found


def of_depths(said: Mapping[str, Tensor], depths: Depths) -> dict[str, Tensor]:
    """Of `everything` what a student of such depths is compared with: where the depths differ the states behind the
    last layer alone, which is number 0."""
    found = {name: values for name, values in said.items() if name == "logits"}
    for field in STATES:
        states = states_of(said, field)
        states = states if len(states) == depths.get(field) else states[-1:]
        found |= {f"{field} {number}": state for number, state in enumerate(states)}
    return found


def states_of(said: Mapping[str, Tensor], field: str) -> list[Tensor]:
    """Of `everything` the states of one field, layer by layer, in whatever order they are kept."""
    count = sum(name.rpartition(" ")[0] == field for name in said)
    return [said[f"{field} {number}"] for number in range(count)]


def said_of_all(teacher: nn.Module, examples: Examples, hardware: Hardware, progress: Progress) -> dict[str, Tensor]:
    """What it says of all examples, for `Context.dense_said`: its logits alone where all of it is more than a gibibyte,
    and nothing where they are."""

    def told(batch: Examples) -> dict[str, Tensor]:
        with autocast(hardware):
            return everything(teacher, batch)

    def logits(batch: Examples) -> dict[str, Tensor]:
        return {name: values for name, values in told(batch).items() if name == "logits"}

    for asked in (told, logits):
        if asked(examples[:1]):
            found, once = asked_once(asked, examples, progress, exact=("logits",), share=0.5)
            if once:
                return apart(found)[1]
    return {}


def _of_one_width(
    found: Sequence[Tensor], wanted: Sequence[Tensor], basis: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The states that can be compared, of the student and of the teacher."""
    for number, (own, other) in enumerate(zip(found, wanted, strict=True)):
        if own.shape[-1] == other.shape[-1]:
            yield own, other
        elif basis is not None and number < len(found) - 1 and len(basis) == other.shape[-1]:
            yield own, other.float() @ basis.to(other.device, torch.float32)


def _alike(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Of a layer that has fewer tokens than the teacher's the first alone, which stands for itself in both."""
    return (found, wanted) if found.shape == wanted.shape else (found[:, :1], wanted[:, :1])


def relative_error(found: Tensor, wanted: Tensor, real: Tensor | None) -> Tensor:
    """found, wanted: (batch, positions, width). real: (batch, positions) bool."""
    if real is not None and real.shape == found.shape[:-1]:
        found, wanted = found[real], wanted[real]
    return (found - wanted).square().mean() / wanted.var()


def recover(
    model: nn.Module,
    context: Context,
    *,
    epochs: float,
    learning_rate: float,
    what: str,
    before_step: Callable[[int, int], None] | None = None,
    basis: Tensor | None = None,
    adapter_rank: int = 0,
    keep_zeros: bool = False,
    parameters: Iterable[nn.Parameter] | None = None,
) -> None:
    """Train `model` in place to answer as the dense model does.

    epochs: passes over the training data, more of them where it is small (see `passes`), fractions allowed; 0 leaves
    the model alone. what: names the method where progress is shown. before_step: as `train` takes it.
    basis: as `imitation` takes it. adapter_rank: of the adapters that are trained in the place of the weights and
    become part of them, which leave zeros as they are where `keep_zeros`; 0 trains the weights. parameters: the only
    ones to train, in their place.

    The token embedding is held: half of a small encoder, its gradient and optimizer state cost a good part
    of a step, and so short a training touches few of its rows."""
    if not epochs:
        return
    name = surgery.word_embedding(model)
    table = surgery.get(model, name).weight if name else None
    if table is not None:
        table.requires_grad_(False)
    try:
        examples = context.require_training()
        count, teacher = passes(epochs, model, examples), context.dense().eval()
        with torch.no_grad():
            depths = depths_of(model(**examples[:1].inputs, output_hidden_states=True))
        if (said := context.dense_said()) is not None:
            examples = beside(examples, of_depths(said, depths))
        elif count >= AGAIN:

            def told(batch: Examples) -> dict[str, Tensor]:
                with autocast(context.hardware):
                    return ask(teacher, batch, depths)

            examples, _ = asked_once(told, examples, context.progress, exact=("logits",), share=0.25)
        with contextlib.ExitStack() as stack:
            if adapter_rank:
                parameters = stack.enter_context(adapted(model, adapter_rank, keep_zeros=keep_zeros))
            train(
                model,
                examples,
                imitation(teacher, basis=basis),
                context.hardware,
                epochs=count,
                learning_rate=learning_rate,
                parameters=parameters,
                seed=context.seed,
                progress=context.progress,
                what=f"{what}: recovery",
                before_step=before_step,
            )
    finally:
        if table is not None:
            table.requires_grad_(True)
