"""Weight-only quantization that computes: the method that puts the layers of `kernels.py` into a bf16 model.

Reading weights is most of what a decode step does, so that fewer bits a weight make it faster; a prefill reads
each weight once for many tokens and gains little, or loses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from compressors import surgery
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
from compressors.quantization.grid import lies_on_offset_grid
from compressors.quantization.kernels import GROUPS, ROWS, CodedLinear, Int4Linear, Int8Linear, KernelLinear, kernel_for
from compressors.quantization.packed_layers import PackedLinear

L = TypeVar("L", bound=nn.Module)


@dataclass(frozen=True)
class WeightOnly(Compressor):
    """Linear layers of 8 or 4 bits in bf16 models, computed with by the CPU's own kernels.

    bits: 8, one scale a row, or 4, step and offset for each group; null takes the codes of the method before it in a
    chain, as in `quantize-gptq+weight-only:bits=null`, where they are of 4 bits in groups that a multiple of 32 columns
    fits into, or of 8 bits with one scale a row and no zero points. group_size: columns that share them, at 4 bits of
    its own. head: cover the output layer too, which in a language model is most of what a decode step reads; an
    embedding that shares its weights keeps a copy in bf16. A layer that the kernel cannot take stays bf16, or packed
    and decoded at every call: the recipe's structure tells which, and why.
    """

    name: ClassVar[str] = "weight-only"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # of use where tokens are decoded: see Model.also
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8bit": {"bits": 8},
        "4bit-g64": {"bits": 4},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g32": {"bits": 4, "group_size": 32}}

    bits: int | None = 8
    group_size: int = 64
    head: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8, None):
            raise ValueError(f"bits = {self.bits!r}: must be 4 or 8, or null for the codes of the method before it")
        if self.group_size not in GROUPS:
            raise ValueError(f"group_size = {self.group_size!r}: must be one of {', '.join(map(str, GROUPS))}")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"its kernels run on the CPU, not on {hardware.device}"

        def check(skeleton: nn.Module) -> None:
            surgery.layer_list(surgery.as_linears(skeleton))
            if not self._covered(skeleton):
                product = "product" if self.bits is None else f"{self.bits}-bit product"
                raise surgery.UnknownStructure(f"no linear layer has a shape that the {product} takes")

        return surgery.structure_reason(model, check)

    def _covered(self, model: nn.Module) -> dict[str, nn.Linear]:
        """The layers to round."""
        span = self.group_size if self.bits == 4 else 1
        return {
            name: layer
            for name, layer in self._layers(model, nn.Linear)
            if not layer.out_features % ROWS and not layer.in_features % max(span, ROWS)
        }

    def _layers(self, model: nn.Module, kind: type[L]) -> Iterator[tuple[str, L]]:
        head = getattr(model, "lm_head", None)
        for name, layer in model.named_modules():
            if type(layer) is kind and (self.head or layer is not head):
                yield name, layer

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        left: dict[str, str] = {}
        if self.bits is None:
            made, left = self._taken(surgery.as_linears(model))
        else:
            made = self._rounded(surgery.as_linears(model), context)
        for name, layer in made.items():
            surgery.replace(model, name, layer)
        return Compressed(
            surgery.cast(model, torch.bfloat16), {"layers": {n: _shape(m) for n, m in made.items()}, "left": left}
        )

    def _taken(self, model: nn.Module) -> tuple[dict[str, KernelLinear], dict[str, str]]:
        """The layers that compute with the codes there are, and of the others why they do not."""
        packed = dict(self._layers(model, PackedLinear))
        if not packed:
            raise Unsupported(
                f"{self.name}: no linear layer is packed: a method that rounds must be before it, as in "
                f"quantize-gptq+{self.name}:bits=null"
            )
        found = {name: kernel_for(layer) for name, layer in packed.items()}
        left = {name: kernel for name, kernel in found.items() if isinstance(kernel, str)}
        if len(left) == len(found):
            raise Unsupported(
                f"{self.name}: no kernel takes these codes ({'; '.join(sorted(set(left.values())))}): 4 bits in groups "
                f"of a multiple of {GROUPS[0]} columns fit, and 8 bits with one scale a row and no zero points"
            )
        made: dict[str, KernelLinear] = {}
        for name, kernel in found.items():
            if isinstance(kernel, CodedLinear):
                kernel.take(packed[name].packed)
                made[name] = kernel
        return made, left

    def _rounded(self, model: nn.Module, context: Context) -> dict[str, KernelLinear]:
        """Every covered layer rounded to nearest."""
        layers = self._covered(model)
        if not layers and not any(isinstance(module, KernelLinear) for module in model.modules()):
            raise Unsupported(
                f"{self.name}: no layer is left to round to {self.bits} bits; bits=null takes the codes of packed ones"
            )
        if any(not bool(layer.weight.isfinite().all()) for layer in layers.values()):
            raise PressbenchError("a weight is not finite: the model was broken before it was quantized")
        if self.bits == 4:
            total = sum(layer.weight.numel() for layer in layers.values())
            there = sum(
                layer.weight.numel()
                for layer in layers.values()
                if lies_on_offset_grid(layer.weight.detach(), self.bits, self.group_size)
            )
            if 2 * there > total:
                raise Unsupported(
                    f"{self.name}: {there / 1e6:.0f} of {total / 1e6:.0f} million weights lie on a 4-bit grid in "
                    f"groups of {self.group_size} already, as it would store them: no loss would mean anything"
                )
        made = {}
        for done, (name, layer) in enumerate(layers.items()):
            made[name] = _empty(layer, {"bits": self.bits, "group_size": self.group_size})
            made[name].quantize(layer.weight.detach())
            context.progress("quantizing", done + 1, len(layers))
        return made

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name, shape in structure["layers"].items():
            surgery.replace(model, name, _empty(surgery.get(model, name), shape))
        return surgery.cast(model, torch.bfloat16)


def _shape(layer: KernelLinear) -> dict[str, Any]:
    """What `_empty` needs."""
    found: dict[str, Any] = {"bits": layer.bits, "column_scale": layer.column_scale is not None}
    return found | ({"group_size": layer.group_size} if isinstance(layer, Int4Linear) else {})


def _empty(layer: nn.Linear | PackedLinear, shape: Mapping[str, Any]) -> KernelLinear:
    """A layer without weights in the place of `layer`."""
    size, divided = (layer.out_features, layer.in_features, layer.bias), shape.get("column_scale", False)
    return Int8Linear(*size, divided) if shape["bits"] == 8 else Int4Linear(*size, shape["group_size"], divided)
