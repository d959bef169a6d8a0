"""Low rank, block after block, each fed by the factorised ones before it.

Source: SVD-LLM (Wang et al. 2024): the SVD is truncated where the inputs are white, so that a singular value is what
the layer's answers lose without it, and then a factor is updated by least squares, given what the layers before have
become.

low-rank-svd weighs by the activations too, those of the dense model, all layers at once. Here a layer sees what the
factorised blocks before it answer; it is fitted to the answers that it gave in the dense model, so that it makes up for
their errors in place of passing them on; and ranks are shared out under a budget. No moment is inverted to whiten,
see `factorise`; to fit the dense answers it is, damped.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.block_by_block import Given, block_by_block
from compressors.interface import Compressed, Context
from compressors.low_rank.factors import LowRankLinear, factorise, on_inputs, spectrum
from compressors.low_rank.layers import LowRankLayers
from compressors.moments import refitted

NOISE = 1e-6
"""Of the largest squared singular value: below it the sums in float32 say nothing, and a factor is not updated."""


@dataclass(frozen=True)
class LowRankWhitened(LowRankLayers):
    """Factorises the linear layers block by block, on what the factorised blocks before them answer, and recovers by
    distillation.

    dense_answers: fit the answers that a layer gave before any was factorised, and not those of its own weight to what
    it is given now; holds a second copy of the model. damping: of that fit, of the mean diagonal of the moments, which
    pulls it to the layer's own weight. rank_ratio, allocation, recovery_epochs, learning_rate: as `LowRankLayers` has
    them; a budget looks at the moments of the dense model.
    """

    name: ClassVar[str] = "low-rank-whitened"

    dense_answers: bool = True
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.damping > 0:
            raise ValueError(f"damping = {self.damping!r}: must be above 0")

    @torch.no_grad()
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        covered = self.covered(model)
        squares: dict[str, Tensor] = {}

        def look(names: Sequence[str], given: Given) -> None:
            for name in names:
                squares[name] = spectrum(on_inputs(surgery.get(model, name).weight, given.moments))

        if self.allocation == "budget":
            block_by_block(model, context, covered, look, self.name)
        ranks = self.ranks(model, lambda name: squares[name])

        def change(names: Sequence[str], given: Given) -> None:
            for name in names:
                layer = surgery.get(model, name)
                second, first = fitted(layer.weight, ranks[name], given, self.damping)
                surgery.replace(model, name, LowRankLinear.of(layer, second, first))

        beside = copy.deepcopy(model) if self.dense_answers else None
        block_by_block(model, context, list(ranks), change, self.name, beside)
        with torch.enable_grad():
            return self.recovered(model, ranks, context)


def fitted(weight: Tensor, rank: int, given: Given, damping: float) -> tuple[Tensor, Tensor]:
    """(second, first), (out, rank) and (rank, in) float32, whose answers to x, what the layer is given, are nearest to
    those of `weight`, (out, in), to y, what it is given beside, or to x where there is no y.

    The nearest weight of any rank is found first, by damped least squares; then the nearest of this rank to that, and
    last the second factor once more, undamped, on the sums themselves."""
    if given.crossed is None:
        return factorise(weight, rank, given.moments)
    second, first = factorise(refitted(weight, given.moments, given.crossed, damping), rank, given.moments)
    return updated(second, first, weight, given), first


def updated(second: Tensor, first: Tensor, weight: Tensor, given: Given) -> Tensor:
    """`second`, moved so that second @ first @ x is nearest to weight @ y, by least squares, (out, rank) float32; as it
    was in the directions that x hardly has."""
    assert given.crossed is not None
    inner = first.double()
    square = inner @ given.moments.double() @ inner.T
    wanted = weight.double() @ given.crossed.double() @ inner.T
    off = wanted - second.double() @ square
    return (second.double() + off @ torch.linalg.pinv(square, rtol=NOISE, hermitian=True)).float()
