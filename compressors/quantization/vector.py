"""Vector quantization: neighbouring weights are stored together, as the sum of entries of small codebooks.

Sources: product and residual codes (Gong et al. 2014); additive ones fitted to what a layer answers (AQLM, Egiazarian
et al. 2024); errors passed on along a row (GPTVQ, van Baalen et al. 2024). How codes are found is in `vector_fit.py`,
how they are stored in `vector_weight.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.block_by_block import Given, block_by_block
from compressors.interface import (
    Compressed,
    Compressor,
    Context,
    Effect,
    Hardware,
    ModelSpec,
    PressbenchError,
    Unsupported,
)
from compressors.quantization.vector_fit import fit
from compressors.quantization.vector_weight import (
    VectorLayout,
    VectorWeight,
    on_vectors,
    restore_vectors,
    store_vectors,
)
from compressors.recovery import check_precise, check_recovery, recover


@dataclass(frozen=True)
class QuantizeVector(Compressor):
    """Stores the linear layers of the Transformer blocks as vectors of codebooks, fitted block by block on the
    calibration data, each fed by the changed ones before it.

    A weight takes codebooks * code_bits / width bits, beside a scale for each row and the codebooks of its layer: for
    MiniLM 2.12 with the 2 bits of the defaults. width: neighbouring weights of a row that are stored together, 2 to 16.
    codebooks: entries that are added up. code_bits: a codebook has 2**code_bits entries; 1 to 8. A layer so small that
    its codebooks take more than a byte a weight stays as it is. iterations: how often entries, scales and codes are
    fitted to each other. calibrated: by what the layers answer; else by the weights alone, without data. damping: of
    the mean diagonal of the second moments, added to the diagonal. recovery_epochs, learning_rate: distillation from
    the dense model that trains entries, scales and the layers that are not quantized, for the codes as they are; 0 for
    none.
    """

    name: ClassVar[str] = "quantize-vector"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "3bit": {"codebooks": 2, "code_bits": 6},
        "2bit": {},
        "2bit-recovered": {"recovery_epochs": 0.5},
    }
    # 4, 3, 2.5, 2, 1.5 and 1 bits
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "codebooks": (2, 2, 2, 1, 1, 1),
        "code_bits": (8, 6, 5, 8, 6, 4),
    }

    width: int = 4
    codebooks: int = 1
    code_bits: int = 8
    iterations: int = 3
    calibrated: bool = True
    damping: float = 0.01
    recovery_epochs: float = 0.0
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        for name, low, high in (("width", 2, 16), ("codebooks", 1, 8), ("code_bits", 1, 8), ("iterations", 0, 100)):
            value = getattr(self, name)
            if isinstance(value, bool) or value not in range(low, high + 1):
                raise ValueError(f"{name} = {value!r}: must be a whole number from {low} to {high}")
        if not self.damping > 0:
            raise ValueError(f"damping = {self.damping!r}: must be above 0")
        check_recovery(self.recovery_epochs, self.learning_rate)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, lambda skeleton: self._covered(surgery.as_linears(skeleton)))

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        if self.recovery_epochs:
            check_precise(model, f"{self.name} with recovery")
        names = self._covered(surgery.as_linears(model))
        weights = {name: surgery.get(model, name).weight.detach() for name in names}
        for name, weight in weights.items():
            if not bool(weight.isfinite().all()):
                raise PressbenchError(f"{name}: a weight is not finite: the model was broken before it was quantized")
        if all(on_vectors(w, self.width, 2 ** (self.codebooks * self.code_bits)) for w in weights.values()):
            raise Unsupported(
                f"{self.name}: the weights of all {len(names)} layers are {self.codebooks} * {self.code_bits} bits for "
                f"each {self.width} of a row already: there is nothing to quantize"
            )
        structure = store_vectors(model, self._fitted(model, weights, context))
        self._recover(model, context)
        return Compressed(model, structure)

    def _covered(self, model: nn.Module) -> list[str]:
        """The linear layers of the blocks that are larger than their codebooks."""
        if any(callable(getattr(module, "logical_weights", None)) for module in model.modules()):
            raise Unsupported(f"{self.name}: the weights are packed already, no layer is left to quantize")
        layout = VectorLayout(self.width, self.codebooks, self.code_bits)
        names = surgery.block_linears(model)
        found = [name for name in names if layout.worth_it(*surgery.get(model, name).weight.shape)]
        if not found:
            raise surgery.UnknownStructure(
                f"codebooks of {layout.codebook_bytes():,} bytes take more than a byte a weight in every layer of "
                f"{type(model).__name__}: fewer code_bits"
            )
        return found

    @torch.no_grad()
    def _fitted(self, model: nn.Module, weights: Mapping[str, Tensor], context: Context) -> dict[str, VectorWeight]:
        """The weights of `model` are changed by it to what they will be read as."""
        found: dict[str, VectorWeight] = {}

        def change(names: Sequence[str], given: Given) -> None:
            for name in names:
                weight = weights[name]
                found[name] = fit(
                    weight, given.moments, self.width, self.codebooks, self.code_bits, self.iterations, self.damping
                )
                weight.copy_(found[name].dequantize())
                context.progress(f"{self.name}: layers", len(found), len(weights))

        if self.calibrated:
            block_by_block(model, context, list(weights), change, self.name)
        else:
            for name, weight in weights.items():
                change([name], Given(torch.eye(weight.shape[1])))
        return {name: found[name] for name in weights}

    def _recover(self, model: nn.Module, context: Context) -> None:
        if not self.recovery_epochs:
            return
        stored = [module for module in model.modules() if isinstance(module, VectorWeight)]
        for weight in stored:
            weight.learn()
        recover(model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name)
        for weight in stored:
            weight.settle()

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return restore_vectors(surgery.as_linears(model), structure)
