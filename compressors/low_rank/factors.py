"""Two thin matrices in the place of one: how they are found, and the layer that has them.

Source: Eckart and Young 1936. Each method is a norm: what an error of the weight counts. In none of them is the
weighing inverted, as in the papers: one factor is a projection by orthonormal vectors, and the other the weight seen in
it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST = 1e-9
"""What a row counts at least, of the row that counts most: rows that count nothing get the rank that is left."""


def on_inputs(weight: Tensor, moment: Tensor | None) -> Tensor:
    """The matrix whose Frobenius norm is that of the answers: W S with S Sᵀ the moment, (out, in) float64.
    weight: (out, in). moment: (in, in), or None for the identity."""
    matrix = weight.double()
    return matrix if moment is None else matrix @ _root(moment.double())


def _root(moment: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(moment)
    return vectors * values.clamp(min=0).sqrt()


def by_rows(weight: Tensor, importance: Tensor) -> Tensor:
    """The matrix of which an error counts as its row is important: D W with D² the importance, (out, in) float64.
    weight: (out, in). importance: (out,), at least 0; where it is 0 throughout, all rows count the same."""
    counts = importance.double()
    most = counts.max()
    counts = counts.clamp_min(LEAST * float(most)) if most > 0 else torch.ones_like(counts)
    return counts.sqrt()[:, None] * weight.double()


def spectrum(target: Tensor) -> Tensor:
    """The squared singular values, largest first: what is left of them behind a rank is what that rank loses."""
    return torch.linalg.svdvals(target).square()


def factorise(weight: Tensor, rank: int, moment: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(second, first) with second @ first closest to `weight`: (out, rank), (rank, in), float32.

    weight: (out, in). moment: (in, in), the inputs' second moment E[x xᵀ] or a multiple of it, or None for
    the identity. No other pair has a smaller mean of |W x - second @ first @ x|² over inputs with that
    moment; without one, a smaller Frobenius norm of the difference.

    With S Sᵀ the moment, that is the truncated SVD of W S, and its left factor U gives W ≈ U Uᵀ W. So S is
    never inverted, and inputs that never vary (a dead neuron) do no harm, unlike in a Cholesky whitening.
    """
    left = torch.linalg.svd(on_inputs(weight, moment), full_matrices=False).U[:, :rank]
    return left.float(), (left.T @ weight.double()).float()


def factorise_by_rows(weight: Tensor, rank: int, importance: Tensor) -> tuple[Tensor, Tensor]:
    """(second, first) with second @ first closest to `weight`: (out, rank), (rank, in), float32, the rows of `first`
    orthonormal.

    weight: (out, in). importance: (out,), what the squared error of each row counts. No other pair has a smaller
    Σ importance · |row of (W - second @ first)|².

    With D² the importance, that is D⁻¹ times the truncated SVD of D W, and its right factor V gives W ≈ W V Vᵀ. So D is
    never inverted, and a row that counts nothing is what it is in these directions.
    """
    # R of D W = Q R has the same right factor, and is small where there are many rows, as of an embedding.
    triangle = torch.linalg.qr(by_rows(weight, importance), mode="r").R
    right = torch.linalg.svd(triangle, full_matrices=False).Vh[:rank]
    return (weight.double() @ right.T).float(), right.float()


class LowRankLinear(nn.Module):
    """Two linear layers, in -> rank -> out, in the place of one: (…, in) -> (…, out). Made with the shapes,
    device and type of `layer`, with values that mean nothing yet."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.first = nn.Linear(layer.in_features, rank, bias=False, **where)
        self.second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **where)

    @property
    def weight(self) -> Tensor:
        """Of the type and on the device that its weights are of, which T5 asks of a layer at every pass; not their
        product, which would cost as much as the pass."""
        return self.second.weight

    @classmethod
    def of(cls, layer: nn.Linear, second: Tensor, first: Tensor) -> LowRankLinear:
        """The stand-in for `layer` with these factors, (out, rank) and (rank, in). The bias goes to the second."""
        thin = cls(layer, len(first))
        with torch.no_grad():
            thin.first.weight.copy_(first)
            thin.second.weight.copy_(second)
            if layer.bias is not None:
                thin.second.bias.copy_(layer.bias)
        return thin

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        return self.second(self.first(values))
