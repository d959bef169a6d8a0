"""What the methods of low rank share: how strong they are, recovery, and for linear layers which ranks they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.low_rank.factors import LowRankLinear
from compressors.low_rank.ranks import by_budget, rank_for
from compressors.recovery import Recovering

ALLOCATIONS = ("uniform", "budget")


@dataclass(frozen=True)
class LowRank(Recovering):
    """A matrix becomes a product of two thin ones, and the model recovers by distillation.

    rank_ratio: rank as a share of the narrower side, 0 to 1. recovery_epochs, learning_rate: of the distillation; 0
    epochs for none. The rate is a third of what recovers from a cut: little is lost before, and at 3e-4 MiniLM lost
    more by recovering than it had lost (see docs/methods.md).
    """

    family: ClassVar[str] = "low-rank"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})

    rank_ratio: float = 0.42
    recovery_epochs: float = 0.5
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.rank_ratio < 1:
            raise ValueError(f"rank_ratio = {self.rank_ratio!r}: must lie between 0 and 1, both excluded")
        super().__post_init__()


@dataclass(frozen=True)
class LowRankLayers(LowRank):
    """Factorises the linear layers of every block and recovers by distillation.

    rank_ratio: rank as a share of a layer's narrower side, 0 to 1. Two factors are smaller than one layer
    below out / (in + out): half for a square layer, 0.8 for one four times as wide as high; a layer
    that would not shrink is left alone. allocation: "uniform", that share for every layer; "budget", as many weights as
    that takes in all, given to the layers so that the sum of what each loses, as a share of its own, is least: some get
    more rank and some less, and some may stay whole. recovery_epochs, learning_rate: of the distillation; 0 epochs for
    none.
    """

    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}, "alone": {"recovery_epochs": 0.0}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank_ratio": (0.42, 0.33, 0.25, 0.15)}

    allocation: Literal["uniform", "budget"] = "budget"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allocation not in ALLOCATIONS:
            raise ValueError(f"allocation = {self.allocation!r}: must be one of {', '.join(ALLOCATIONS)}")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self.uniform)

    def uniform(self, model: nn.Module) -> dict[str, int]:
        """Layer -> rank by `rank_ratio` alone. Raises UnknownStructure where no layer would be smaller."""
        surgery.as_linears(model)
        shapes = {name: surgery.get(model, name).weight.shape for name in surgery.block_linears(model)}
        ranks = {name: rank_for(shape, self.rank_ratio) for name, shape in shapes.items()}
        chosen = {name: rank for name, rank in ranks.items() if rank}
        if not chosen:
            reason = f"rank_ratio {self.rank_ratio} makes no layer of {type(model).__name__} smaller"
            raise surgery.UnknownStructure(reason)
        return chosen

    def covered(self, model: nn.Module) -> list[str]:
        """The layers that may get a rank: those that shrink, or by a budget all. Raises PressbenchError where a weight
        is not finite."""
        shrink = self.uniform(model)
        names = list(shrink) if self.allocation == "uniform" else surgery.block_linears(model)
        self.check_finite("the weight", {name: surgery.get(model, name).weight for name in names})
        return names

    def check_finite(self, what: str, values: Mapping[str, Tensor]) -> None:
        """Raises PressbenchError where a layer's are not. what: they are."""
        for name, found in values.items():
            if not bool(found.isfinite().all()):
                raise PressbenchError(f"{self.name}: {what} of {name} is not finite")

    def ranks(self, model: nn.Module, squares: Callable[[str], Tensor]) -> dict[str, int]:
        """Layer -> rank. squares: layer -> the squared singular values of what its truncation loses, asked only by a
        budget."""
        uniform = self.uniform(model)
        if self.allocation == "uniform":
            return uniform
        shapes = {name: surgery.get(model, name).weight.shape for name in surgery.block_linears(model)}
        return by_budget(shapes, {name: squares(name) for name in shapes}, uniform)

    def recovered(self, model: nn.Module, ranks: Mapping[str, int], context: Context) -> Compressed:
        """The result, after recovery, of a model whose layers have these ranks."""
        self.recover(model, context)
        return Compressed(model, {"ranks": dict(ranks)})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name, rank in structure["ranks"].items():
            surgery.replace(model, name, LowRankLinear(surgery.get(model, name), rank))
        return model


def replace_all(
    model: nn.Module, ranks: Mapping[str, int], factors: Callable[[str, Tensor, int], tuple[Tensor, Tensor]],
    context: Context,
) -> None:  # fmt: skip
    """Put two thin layers in the place of each, one after another. factors: (layer, its weight, rank) -> second and
    first, (out, rank) and (rank, in)."""
    for done, (name, rank) in enumerate(ranks.items()):
        layer = surgery.get(model, name)
        surgery.replace(model, name, LowRankLinear.of(layer, *factors(name, layer.weight.detach(), rank)))
        context.progress("factorising", done + 1, len(ranks))
