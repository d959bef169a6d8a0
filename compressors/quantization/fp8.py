"""fp8: weights times activations, both 8-bit floating-point numbers, by the tensor cores of a GPU through torch.

Source: Micikevicius et al. 2022, "FP8 formats for deep learning" (e4m3 for weights and activations, scaled to its
range). A scale for each output and each token is what others call row-wise, or per channel and per token.

Not run on a GPU yet. What is tested is tested on a CPU, where `torch._scaled_mm` answers too, without being faster for
it: the layer, what lies on disk, and that it loads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.quantization.covered import covered_linears
from compressors.quantization.fp8_kernels import Fp8Linear
from compressors.quantization.packed_layers import repack_layers
from compressors.quantization.tables import pack_tables, separate_tables

LEAST = 89
"""The compute capability from which on a GPU multiplies fp8: 8.9, as its class says it."""


@dataclass(frozen=True)
class Fp8(Compressor):
    """Linear layers of the Transformer blocks as 8-bit floats (e4m3), times activations that become such as they come.
    Needs no data, and a GPU.

    granularity: what has a scale of its own, "row" for each output of a layer and each token, or "tensor" for each
    layer and all tokens of a batch together. precision: of all else, "bf16" or "fp32"; by row the products come back as
    bf16 either way. head: cover the linear layers outside of the blocks too, such as the output layer of a language
    model. embeddings: store tables as 8-bit integers, a scale a row, decoded as they are looked up; one that shares its
    weights with a layer stays as it is. Layers whose inputs or outputs are no multiple of 16 are padded as they are
    laid out, not on disk; the recipe tells which.
    """

    name: ClassVar[str] = "fp8"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tensor": {"granularity": "tensor"}, "row": {"granularity": "row"},
    }  # fmt: skip

    granularity: Literal["tensor", "row"] = "row"
    precision: Literal["bf16", "fp32"] = "bf16"
    head: bool = False
    embeddings: bool = False

    def __post_init__(self) -> None:
        if self.granularity not in ("tensor", "row"):
            raise ValueError(f"granularity = {self.granularity!r}: must be 'tensor' or 'row'")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision = {self.precision!r}: must be 'bf16' or 'fp32'")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        capability = re.fullmatch(r"cuda-sm(\d+)", hardware.hardware_class)
        if capability is None:
            return f"its products run on NVIDIA GPUs of compute capability 8.9 or more, not on {hardware.device}"
        if int(capability[1]) < LEAST:
            return f"its products need compute capability 8.9 or more, {hardware.name} is {hardware.hardware_class}"
        return surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        layers = covered_linears(model, self.name, head=self.head)
        tables = separate_tables(model) if self.embeddings else []
        made: dict[int, Fp8Linear] = {}
        padded: list[str] = []
        for done, (name, layer) in enumerate(layers.items()):
            stored = self._empty(layer)
            if (first := made.setdefault(layer.weight.data_ptr(), stored)) is stored:
                stored.quantize(layer.weight.detach())
            else:  # layers that share a weight go on sharing it
                stored.codes, stored.scale = first.codes, first.scale
            if any(stored.padded):
                padded.append(name)
            surgery.replace(model, name, stored)
            context.progress("quantizing", done + 1, len(layers))
        structure = {"layers": list(layers), "tables": pack_tables(model, tables)}
        return Compressed(self._rest(model), structure, told={"padded": padded} if padded else {})

    def _empty(self, layer: nn.Linear) -> Fp8Linear:
        return Fp8Linear(layer.out_features, layer.in_features, layer.bias, self.granularity == "row")

    def _rest(self, model: nn.Module) -> nn.Module:
        """The model, all else in its precision."""
        return surgery.cast(model, torch.bfloat16 if self.precision == "bf16" else torch.float32)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name in structure["layers"]:
            surgery.replace(model, name, self._empty(surgery.get(model, name)))
        return self._rest(repack_layers(model, structure["tables"]))
