"""Gradients of the loss on the calibration data, for the scores that ask what the loss would lose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Context, Hardware, ModelSpec, Unsupported
from compressors.pruning.weights import PruneWeights, ScoredWeights, Weights, covered, turned
from compressors.training import arithmetic, supervised


@dataclass(frozen=True)
class LossScored(ScoredWeights):
    """A score that asks the loss on the calibration data, by `gradients`."""

    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})

    @property
    def finds_by(self) -> Mapping[str, Any] | None:
        # A gradual schedule asks anew, of the model as it is by then.
        return None if self.gradual else {"embeddings": self.embeddings, **self.parameters_beyond(PruneWeights)}

    def find(self, model: nn.Module, context: Context) -> dict[str, Tensor]:
        return self.scores(model, covered(model, self.embeddings), context)

    def masks(self, model: nn.Module, weights: Weights, context: Context, done: float = 1.0) -> dict[str, Tensor]:
        return self.choose(
            self.scores(model, weights, context) if self.gradual else self.findings(model, context), done
        )

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if model.output != "logits":
            return "its answers are hidden states: the score needs labels and a loss"
        return super().supports(model, hardware)


def gradients(
    model: nn.Module, weights: Weights, context: Context, *, batch_size: int
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Batch after batch: how many examples it has, and for each of `weights` the gradient of its mean loss, of the
    weight's shape. Raises Unsupported where the calibration data has no labels."""
    calibration = context.require_calibration()
    if calibration.labels is None:
        raise Unsupported("the calibration data has no labels: the score needs a loss")
    layers = {name: surgery.get(model, name) for name in weights}
    was = {parameter: parameter.requires_grad for parameter in model.parameters()}
    chosen = {id(layer.weight) for layer in layers.values()}
    for parameter in was:
        parameter.requires_grad_(id(parameter) in chosen)
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            with arithmetic(context.hardware):
                loss = supervised(model, batch)
            loss.backward()
            found = {name: turned(layer, layer.weight.grad) for name, layer in layers.items()}
            yield len(batch), found
            model.zero_grad()
            context.progress("gradients", done + 1, -(-len(calibration) // batch_size))
    finally:
        model.zero_grad()
        for parameter, requires in was.items():
            parameter.requires_grad_(requires)
