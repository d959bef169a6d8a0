"""Adapters that stay beside weights of a few bits: the codes are held, and what they lost is learnt next to them.

Sources: QLoRA (Dettmers et al. 2023); LoftQ (Li et al. 2023), which begins with the part of the error that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import recipe, surgery
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
from compressors.low_rank.factors import factorise
from compressors.quantization.packed_layers import PackedLinear
from compressors.recovery import check_recovery, recover

STARTS = ("error", "zero")


class Beside(nn.Module):
    """A packed layer and its adapter: (…, in) -> (…, out), x Wᵀ + (x Aᵀ) Bᵀ.

    down: A, (rank, in). up: B, (out, rank). float32 while they are trained, float16 in the file."""

    def __init__(self, base: PackedLinear, rank: int, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features, dtype=dtype))
        self.up = nn.Parameter(torch.empty(base.out_features, rank, dtype=dtype))

    @property
    def weight(self) -> Tensor:
        """The matrix that it stands for, (out, in), of the type of the model."""
        return self.base.weight + (self.up.float() @ self.down.float()).to(self.base.weight.dtype)

    @property
    def bias(self) -> nn.Parameter | None:
        """Its bias, which is that of the packed layer."""
        return self.base.bias

    def forward(self, values: Tensor) -> Tensor:
        """values: (…, in)."""
        thin = F.linear(values, self.down.to(values.dtype))
        return self.base(values) + F.linear(thin, self.up.to(values.dtype))


@dataclass(frozen=True)
class AdaptersBeside(Compressor):
    """Puts a low-rank adapter beside every packed layer of the blocks and trains the adapters alone, by distillation
    from the dense model. They stay in the file, in 16 bits, and count.

    weights: the recipe that packs the weights; null takes what the method before it in a chain packed, as in
    `quantize-gptq+adapters-beside:weights=null`. rank: of each adapter. start: what they begin as, "error", the part of
    the rounding error that has this rank (LoftQ's first step), or "zero" (QLoRA). recovery_epochs: passes over the
    training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "adapters-beside"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    closes: ClassVar[bool] = True  # what follows would see the packed layer and not what stands beside it
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "nf4": {},
        "nf4-from-zero": {"start": "zero"},
        "gptq-3bit": {"weights": "quantize-gptq:bits=3"},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank": (64, 32, 16, 8, 4)}

    weights: str | None = "quantize-nf4"
    rank: int = 16
    start: str = "error"
    recovery_epochs: float = 0.5
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        check_recovery(self.recovery_epochs, self.learning_rate)
        if type(self.rank) is not int or self.rank < 1:
            raise ValueError(f"rank = {self.rank!r}: must be a whole number, at least 1")
        if self.start not in STARTS:
            raise ValueError(f"start = {self.start!r}: must be one of {', '.join(STARTS)}")
        if self.start == "zero" and not self.recovery_epochs:
            raise ValueError("start = 'zero': adapters that are not trained stay zero; recovery_epochs must be above 0")
        if self.weights is not None:
            try:
                made = recipe.build(self.weights).steps
            except PressbenchError as error:
                raise ValueError(f"weights = {self.weights!r}: {error}") from None
            if any(step.takes != "torch" or step.makes != "torch" for step in made):
                raise ValueError(f"weights = {self.weights!r}: must make a torch model")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (self,) if self.weights is None else (*recipe.build(self.weights).steps, self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        dense = surgery.as_linears(context.dense())
        inside = tuple(f"{stack}." for stack in surgery.layer_lists(dense))
        packed = [n for n, m in model.named_modules() if type(m) is PackedLinear and n.startswith(inside)]
        if not packed:
            raise Unsupported(
                f"{self.name}: no layer of the blocks is packed: put it behind a method that packs weights, such as "
                "quantize-nf4; beside whole weights adapters are the field adapter_rank of what recovers"
            )
        made = {name: self._beside(surgery.get(model, name), name, dense) for name in packed}
        for name, layer in made.items():
            surgery.replace(model, name, layer)
        chosen = [values for layer in made.values() for values in (layer.down, layer.up)]
        recover(
            model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name,
            parameters=chosen,
        )  # fmt: skip
        for values in chosen:
            values.data = values.data.half()
            if not bool(values.isfinite().all()):
                raise PressbenchError(f"{self.name}: an adapter left what 16 bits hold; lower learning_rate")
        return Compressed(model, {"layers": packed})

    @torch.no_grad()
    def _beside(self, layer: PackedLinear, name: str, dense: nn.Module) -> Beside:
        """The layer with an adapter as it begins. Raises where the dense model has no such layer to compare with."""
        if self.rank >= min(layer.in_features, layer.out_features):
            shape = f"{layer.out_features} x {layer.in_features}"
            raise Unsupported(f"{self.name}: rank = {self.rank} is no less than a side of {name}, {shape}")
        made = Beside(layer, self.rank, torch.float32)
        if self.start == "zero":
            nn.init.kaiming_uniform_(made.down, a=5**0.5)  # as PEFT begins
            made.up.zero_()
            return made
        modules = dict(dense.named_modules())
        whole = getattr(modules.get(name), "weight", None)
        if whole is None or whole.shape != layer.weight.shape:
            raise Unsupported(f"{self.name}: the dense model has no {name} of this shape: use start=zero")
        up, down = factorise(whole - layer.weight, self.rank)
        sizes = up.norm(dim=0).clamp_min(1e-12), down.norm(dim=1).clamp_min(1e-12)
        even = (sizes[1] / sizes[0]).sqrt()  # both factors of one size, so that one learning rate fits both
        made.up.copy_(up * even)
        made.down.copy_(down / even[:, None])
        return made

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        for name in structure["layers"]:
            surgery.replace(model, name, Beside(surgery.get(model, name), self.rank))
        return model
