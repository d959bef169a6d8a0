"""An ensemble in one model: several compressed models teach a student by their mean answer.

Source: Hinton et al. 2015, whose teacher is an ensemble: the arithmetic mean of its members' softened probabilities.
Beside these the student's last hidden state is drawn to the members' mean one (FitNets, Romero et al. 2015), which lie
in one space, as all come from one dense model; for a model that answers with hidden states these are all there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.fusion.members import Fusion, make, restructure, torch_method
from compressors.interface import Compressed, Compressor, Context, Examples, PressbenchError
from compressors.recovery import check_precise, passes, relative_error
from compressors.training import Loss, cross_entropy, log_probabilities, real_positions, scored_positions, train


def mean_answer(logits: Sequence[Tensor], temperature: float, *, exclusive: bool = True) -> Tensor:
    """The logarithm of the mean of softmax(logits / temperature) over the members: (…, classes) each, float32; of
    labels that do not exclude each other that of the sigmoids, as `log_probabilities` has them."""
    softened = torch.stack([log_probabilities(one / temperature, exclusive=exclusive) for one in logits])
    return softened.logsumexp(0) - math.log(len(logits))


def last_states(answer: Any) -> dict[str, Tensor]:
    """The last hidden states by the field of the answer: of an encoder-decoder the decoder's, else the only ones. Of a
    model that answers with them, its answer."""
    if "logits" not in answer:
        return {"hidden_states": answer.last_hidden_state}
    fields = ("decoder_hidden_states", "hidden_states")
    return next(({field: answer[field][-1]} for field in fields if answer.get(field)), {})


def fusion(members: Sequence[nn.Module], temperature: float, alpha: float, hidden: float) -> Loss:
    """α · the student's divergence from the members' mean answer + (1 - α) · cross-entropy + `hidden` times the
    squared distance of its last state to their mean one, over that one's variance. Padding and what is not scored are
    left out; a member whose states are of another shape has no say in them."""

    def loss(model: nn.Module, batch: Examples) -> Tensor:
        with torch.no_grad():
            told = [member(**batch.inputs, output_hidden_states=True) for member in members]
        answer = model(**batch.inputs, output_hidden_states=True)
        value = torch.zeros(())
        if "logits" in answer:
            scored = scored_positions(batch)
            apart = batch.exclusive
            target = mean_answer([one.logits[scored] for one in told], temperature, exclusive=apart)
            student = log_probabilities(answer.logits[scored] / temperature, exclusive=apart)
            value = F.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2
            if batch.labels is not None:
                value = alpha * value + (1 - alpha) * cross_entropy(answer.logits, batch.labels)
        for field, found in last_states(answer).items() if hidden else ():
            others = [last_states(one)[field].float() for one in told]
            alike = [state for state in others if state.shape == found.shape]
            if not alike and "logits" not in answer:
                wide = f"{found.shape[-1]} wide, the members' {others[0].shape[-1]}"
                raise PressbenchError(f"fuse-ensemble: the student's answers are {wide}: it cannot learn from them")
            if alike:
                real = real_positions(batch, decoder=field.startswith("decoder"))
                value = value + hidden * relative_error(found.float(), torch.stack(alike).mean(0), real)
        return value

    return loss


@dataclass(frozen=True)
class FuseEnsemble(Fusion):
    """Distils several compressed models into one student by their mean answer.

    members: their recipes. student: the recipe of the model that learns, cut and not trained, or not for long.
    temperature: softens the answers, of which the mean is taken then. alpha: weight of that mean against the labels,
    where there are any. hidden: weight of the error of the last hidden state against the members' mean. epochs: passes
    over the training data, more of them where it is small. learning_rate: its peak.
    """

    name: ClassVar[str] = "fuse-ensemble"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    members: tuple[str, ...] = ("prune-structured", "low-rank-svd")
    student: str = "prune-layers:removed=0.5,recovery_epochs=0"
    temperature: float = 2.0
    alpha: float = 0.9
    hidden: float = 1.0
    epochs: float = 2.0
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature = {self.temperature!r}: must be above 0")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha = {self.alpha!r}: must be a share from 0 (labels alone) to 1 (the members alone)")
        if not self.hidden >= 0:
            raise ValueError(f"hidden = {self.hidden!r}: must be 0 (none) or more")
        for field in ("epochs", "learning_rate"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} = {getattr(self, field)!r}: must be above 0")
        object.__setattr__(self, "effect", self._student.steps[-1].effect)

    @property
    def recipes(self) -> Sequence[str]:
        return (*self.members, self.student)

    @property
    def _student(self) -> Compressor:
        return torch_method(self.student)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        training = context.require_training()
        if context.model.output != "logits" and not self.hidden:
            raise PressbenchError(f"{self.name}: this model's answers are its hidden states: hidden must be above 0")
        made = make(self._student, model, context, 0)
        check_precise(made.model, self.name)
        members = [make(torch_method(text), model, context, i).model for i, text in enumerate(self.members)]
        train(
            made.model,
            training,
            fusion(members, self.temperature, self.alpha, self.hidden),
            context.hardware,
            epochs=passes(self.epochs, made.model, training),
            learning_rate=self.learning_rate,
            seed=context.seed,
            progress=context.progress,
            what="learning from the ensemble",
        )
        return made

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return restructure(self._student, model, structure)
