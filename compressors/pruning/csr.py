"""Pruned weights that are computed with: torch's product of a compressed sparse row (CSR) matrix, on the CPU.

A processor multiplies a few scattered weights slower than many in a row, so most must be zero before that gains. On
one thread of an AVX2 machine, layers of 384 to 1536 inputs and outputs, 90 % zeros: 0.4 to 0.8 of the dense time for
one row, which a decode step is, 0.3 to 0.5 for 8 rows, 0.5 to 1.0 for 128.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.pruning.magnitude import PruneMagnitude

LEAST = 0.9
"""The share of zeros from which on a layer is executed sparse."""


class CsrLinear(nn.Linear):
    """An nn.Linear, (…, in) -> (…, out), that computes with its weights that are not zero. It holds and stores `weight`
    as that does; a runtime calls `place`, and `release` where it loaded the model to run it only."""

    _csr: Tensor | None = None

    def place(self) -> None:
        """Lay the weights out by rows, and compute with these from now on."""
        if self._csr is not None:
            return
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)  # that the layout is in beta
            found = self.weight.detach().to_sparse_csr()
            # Indices of 32 bits: half of what is read beside the values.
            rows, columns = found.crow_indices().int(), found.col_indices().int()
            self._csr = torch.sparse_csr_tensor(rows, columns, found.values(), found.shape, check_invariants=False)

    def release(self) -> None:
        """Let go of the zeros: nothing can be saved after this."""
        self.weight = nn.Parameter(self.weight.new_empty((0, self.in_features)), requires_grad=False)

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        if self._csr is None:
            return super().forward(values)
        rows = values.reshape(-1, self.in_features)
        # torch multiplies from the left, and one column alone by a product of its own, which takes half the time.
        found = self._csr.mv(rows[0])[None] if len(rows) == 1 else self._csr.mm(rows.T).T
        found = found.reshape(*values.shape[:-1], self.out_features)
        return found if self.bias is None else found + self.bias


@dataclass(frozen=True)
class SparseCsr(Compressor):
    """Executes layers of which most weights are zero without these, after it has pruned them by magnitude.

    sparsity: share of the blocks' weights that become zero, as `prune-magnitude` does it, little by little in the
    course of recovery; null takes the zeros of the method before it in a chain, as in
    `prune-sparsegpt:sparsity=0.9+sparse-csr:sparsity=null`. least: the share of zeros from which on a layer is executed
    so. recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "sparse-csr"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    closes: ClassVar[bool] = True  # others would pass its layers by, or train values where it has none
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"90": {}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"sparsity": (0.9, 0.95, 0.98)}

    sparsity: float | None = LEAST
    least: float = LEAST
    recovery_epochs: float = 1.0
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise ValueError(f"least = {self.least!r}: must lie between 0 and 1, both excluded")
        if self.sparsity is not None:
            if not self.least <= self.sparsity < 1:
                raise ValueError(
                    f"sparsity = {self.sparsity!r}: must be at least {self.least:g} (`least`), and below 1"
                )
            _ = self.steps  # what the pruning refuses is told now

    @property
    def steps(self) -> tuple[Compressor, ...]:
        if self.sparsity is None:
            return (self,)
        pruned = PruneMagnitude(
            sparsity=self.sparsity, embeddings=False, recovery_epochs=self.recovery_epochs,
            learning_rate=self.learning_rate, schedule="gradual" if self.recovery_epochs else "at-once",
        )  # fmt: skip
        return (pruned, self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"its product runs on the CPU, not on {hardware.device}"
        return surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        found = {name: surgery.get(model, name) for name in surgery.block_linears(surgery.as_linears(model))}
        if odd := {layer.weight.dtype for layer in found.values()} - {torch.float32, torch.float64}:
            raise Unsupported(f"its weights are {odd.pop()}: torch multiplies such rows in float32 alone")
        zeros = {name: float((layer.weight == 0).float().mean()) for name, layer in found.items()}
        sparse = [name for name, share in zeros.items() if share >= self.least - 1e-3]  # a row's share is rounded
        if not sparse:
            raise Unsupported(
                f"no layer has {self.least:.0%} zeros, the most is {max(zeros.values()):.0%}: prune it before, as in "
                f"prune-magnitude-90+{self.name}:sparsity=null"
            )
        return Compressed(_with(model, sparse), {"layers": sparse})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return _with(surgery.as_linears(model), structure["layers"])


def _with(model: nn.Module, layers: list[str]) -> nn.Module:
    """The model with these layers as CsrLinear, which take the weights of those that were there."""
    for name in layers:
        old = surgery.get(model, name)
        with torch.device("meta"):
            new = CsrLinear(old.in_features, old.out_features, bias=old.bias is not None)
        new.weight, new.bias = old.weight, old.bias
        surgery.replace(model, name, new.train(old.training))
    return model
