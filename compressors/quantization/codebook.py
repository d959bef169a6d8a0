"""A codebook: the values that a code may stand for are learnt, by k-means (Han et al. 2016; SqueezeLLM, Kim 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import all_at_once
from compressors.interface import Context, Hardware, ModelSpec
from compressors.moments import squares
from compressors.pruning.loss import gradients
from compressors.quantization.grids.codebook import CodebookGrid
from compressors.quantization.laid_grid import Grid, nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_to_nearest import RoundedToNearest

IMPORTANCE = ("inputs", "gradient", "none")
TABLES = ("row", "tensor")


@dataclass(frozen=True)
class QuantizeCodebook(RoundedToNearest):
    """Stores each weight as one of 2**bits values of its row's table, times the largest magnitude of its group of
    columns.

    table: one a "row", which takes 2**bits * 16 bits of it, or one a "tensor". importance: what an error of a weight
    counts: by the mean square of the "inputs" that it is multiplied with; by the mean square of the "gradient" of the
    loss (SqueezeLLM), which needs labels and a pass back for each example; or "none", all alike (Han 2016). Embedding
    and output layer, where they get bits, are all alike.
    """

    name: ClassVar[str] = "quantize-codebook"
    grid: ClassVar[str] = "codebook"  # type: ignore[misc]  # no parameter here
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})

    table: str = "row"
    importance: str = "inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("table", TABLES), ("importance", IMPORTANCE)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} = {getattr(self, name)!r}: must be one of {', '.join(known)}")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if self.importance == "gradient" and model.output != "logits":
            return "its answers are hidden states: importance=gradient needs labels and a loss"
        return super().supports(model, hardware)

    def grid_for(self, weight: Tensor, bits: int | None = None) -> Grid:
        size = min(self.group_size, weight.shape[1])
        return CodebookGrid(bits or self.bits, size, per_tensor=self.table == "tensor")

    def rounded(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, PackedWeight]:
        costs = self._costs(model, layers, context)
        found: dict[str, PackedWeight] = {}
        for done, name in enumerate(layers):
            weight = surgery.get(model, name).weight.detach()
            found[name] = nearest(self.grid_for(weight), weight, costs.get(name))
            context.progress("layers", done + 1, len(layers))
        return found

    def _costs(self, model: nn.Module, layers: Sequence[str], context: Context) -> dict[str, Tensor]:
        """For each layer what the square of an error counts, (inputs,) or as its weight; none for all alike."""
        if self.importance == "none":
            return {}
        if self.importance == "inputs":
            return squares(all_at_once(model, context), layers)
        weights = {name: surgery.get(model, name).weight.detach() for name in layers}
        fisher: dict[str, Tensor] = {}
        for _, found in gradients(model, weights, context, batch_size=1):
            for name, gradient in found.items():
                fisher[name] = fisher.get(name, 0) + gradient.square()
        return fisher
