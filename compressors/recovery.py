"""Recovery: the short distillation that follows a cut, the same for every method that needs one.

The student has the dense model's own weights, less what was cut, so a fraction of an epoch to two
epochs at a high learning rate suffice. The token embedding is held: it is half of a small encoder, its
gradient and optimizer state cost a fifth of a step, and a short training touches few of its rows.
"""

from __future__ import annotations

from torch import nn

from compressors import surgery
from compressors.interface import Context, PressbenchError
from compressors.training import distillation, train


def check_recovery(epochs: float, learning_rate: float) -> None:
    """Raises ValueError for values that `recover` cannot take."""
    if not epochs >= 0:
        raise ValueError(f"recovery_epochs = {epochs!r}: must be 0 (none) or more")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate = {learning_rate!r}: must be above 0")


def recover(model: nn.Module, context: Context, *, epochs: float, learning_rate: float, what: str) -> None:
    """Train `model` in place on the dense model's answers for the training data (Hinton et al. 2015).

    epochs: passes over the training data, fractions allowed; 0 leaves the model alone."""
    if not epochs:
        return
    training = context.require_training()
    if training.dense_logits is None:
        raise PressbenchError(f"{what}: the training data has no dense_logits to distil from; set recovery_epochs = 0")
    name = surgery.word_embedding(model)
    table = surgery.get(model, name).weight if name else None
    # Not only left out of the optimizer: without this its gradient would still be computed.
    if table is not None:
        table.requires_grad_(False)
    try:
        train(
            model,
            training,
            distillation(),
            context.hardware,
            epochs=epochs,
            learning_rate=learning_rate,
            seed=context.seed,
            progress=context.progress,
            what=f"{what}: recovery",
        )
    finally:
        if table is not None:
            table.requires_grad_(True)
