"""new-method: in each row of a linear layer the weights of least score become zero.

Source: Wanda (Sun et al. 2024, ICLR): a weight's score is its magnitude times the norm of its input on the
calibration data. Nothing is trained. Covers the linear layers of the Transformer blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import watch_inputs
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec


@dataclass(frozen=True)
class NewMethod(Compressor):
    """Sets the weights of least magnitude times input norm to zero.

    sparsity: share of each row that becomes zero.
    """

    name: ClassVar[str] = "new-method"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "storage"  # zeros are stored as a bit each; "kernel" is for what runs faster
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {"sparsity": 0.5}}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"30": {"sparsity": 0.3}}

    sparsity: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError(f"sparsity = {self.sparsity!r}: must lie between 0 and 1, both excluded")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        names = surgery.block_linears(surgery.as_linears(model))
        squares: dict[str, Tensor] = {}

        def see(name: str, rows: Tensor) -> None:  # rows: (positions, inputs), padding left out
            total = rows.square().sum(0)
            squares[name] = squares[name] + total if name in squares else total

        watch_inputs(model, names, context, see)
        for name in names:
            weight = surgery.get(model, name).weight.detach()  # (outputs, inputs)
            score = weight.abs() * squares[name].sqrt()
            least = score.argsort(dim=1, stable=True)[:, : round(self.sparsity * weight.shape[1])]
            weight.scatter_(1, least, 0)
        return Compressed(model)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return surgery.as_linears(model)  # what `compress` did to kinds and shapes of layers; here GPT-2's alone
