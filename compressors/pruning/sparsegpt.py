"""SparseGPT: what a removed weight did, the ones beside it learn to do (Frantar and Alistarh 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors.calibration import in_turn
from compressors.interface import Context, PressbenchError
from compressors.moments import inverse_factor, second_moments
from compressors.pruning import patterns
from compressors.pruning.weights import PruneWeights, Weights

COLUMNS = 128
"""Of so many inputs the least important weights are looked for at once."""


@dataclass(frozen=True)
class PruneSparsegpt(PruneWeights):
    """Sets the weights to zero whose removal changes a layer's answers least, once the weights to their right have made
    up for it, then trains all for a moment. Block by block on the calibration data.

    damping: of the Hessian's mean diagonal, added to the diagonal. The others are those of every score of single
    weights; patterns are single weights and N of M, and what is compared are the weights of 128 inputs.
    """

    name: ClassVar[str] = "prune-sparsegpt"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"70": {"sparsity": 0.7, "recovery_epochs": 1.0}}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **PruneWeights.full_variants,
        "2-of-4-alone": {"pattern": "2:4", "recovery_epochs": 0.0},
    }

    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embeddings:
            raise ValueError("embeddings = True: a table that is looked up in has no inputs to weigh by")
        if self.gradual:
            raise ValueError("schedule = 'gradual': what is left is changed at once too; must be 'at-once'")
        if self.scope == "global" or patterns.block_shape(self.pattern):
            raise ValueError("chooses column by column: scope must be 'layer' or 'row', pattern 'weights' or N:M")
        if (found := patterns.n_of_m(self.pattern)) and COLUMNS % found[1]:
            raise ValueError(f"pattern = {self.pattern!r}: {found[1]} must divide the {COLUMNS} inputs of a turn")
        if not self.damping > 0:
            raise ValueError(f"damping = {self.damping!r}: must be above 0")

    def masks(self, model: nn.Module, weights: Weights, context: Context, done: float = 1.0) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for block, look in in_turn(model, context):
            own = {name: weight for name, weight in weights.items() if name.startswith(f"{block}.")}
            moments = second_moments(look, list(own))
            for name, weight in own.items():
                if not bool(moments[name].isfinite().all()):
                    raise PressbenchError(f"{self.name}: what {name} is given by the calibration data is not finite")
                pruned, found[name] = self.prune(weight, moments[name])
                weight.copy_(pruned)
        return found

    def prune(self, weight: Tensor, moments: Tensor) -> tuple[Tensor, Tensor]:
        """weight: (outputs, inputs). moments: (inputs, inputs), the sum of x xᵀ. Returns the weight with what was
        removed at zero and the rest made to fit, and the mask, True where one stays."""
        w, factor = weight.double(), inverse_factor(moments, self.damping)
        keep = torch.ones_like(weight, dtype=torch.bool)
        found = patterns.n_of_m(self.pattern)
        for start in range(0, w.shape[1], COLUMNS):
            part = slice(start, min(start + COLUMNS, w.shape[1]))
            own, triangle = w[:, part], factor[part, part]
            errors = torch.zeros_like(own)
            if not found:
                scores = (own / triangle.diagonal()).square()
                keep[:, part] = self.choose({"": scores}, 1.0)[""]
            for i in range(own.shape[1]):
                if found and i % found[1] == 0:
                    near = slice(i, i + found[1])
                    scores = (own[:, near] / triangle.diagonal()[near]).square()
                    keep[:, start + i : start + near.stop] = self.choose({"": scores}, 1.0)[""]
                gone = torch.where(keep[:, start + i], 0.0, own[:, i])
                errors[:, i] = gone / triangle[i, i]
                own[:, i:] -= torch.outer(errors[:, i], triangle[i, i:])
                own[:, i] = torch.where(keep[:, start + i], own[:, i], 0.0)
            w[:, part.stop :] -= errors @ factor[part, part.stop :]
        return w.to(weight.dtype), keep
