"""Weights stored as float16 and multiplied in the type of the input: half the bytes of float32.

Covers linear layers and embeddings. Leaves biases, normalisation and convolutions as they are: they are
few. Saves disk and memory, not time: each weight is widened again on every call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError


class Float16Linear(nn.Module):
    """In the place of an nn.Linear. weight: (out, in) float16; bias: as it was, or None."""

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, values: Tensor) -> Tensor:
        return F.linear(values, self.weight.to(values.dtype), self.bias)


class Float16Embedding(nn.Module):
    """In the place of an nn.Embedding. weight: (tokens, width) float16; gives float32."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight).float()


def store_float16(model: nn.Module, names: Sequence[str]) -> None:
    """Replace the layers called `names` in place. Layers that share a weight go on sharing it."""
    narrow: dict[nn.Parameter, nn.Parameter] = {}
    for name in names:
        layer = surgery.get(model, name)
        if layer.weight not in narrow:
            narrow[layer.weight] = nn.Parameter(layer.weight.detach().half(), requires_grad=False)
        weight = narrow[layer.weight]
        new = Float16Linear(weight, layer.bias) if isinstance(layer, nn.Linear) else Float16Embedding(weight)
        surgery.replace(model, name, new)


@dataclass(frozen=True)
class Float16Weights(Compressor):
    """Stores the weights of linear layers and embeddings as float16.

    smallest: weights from which on a layer is worth it. embeddings: convert them too.
    """

    name: ClassVar[str] = "float16-weights"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"linear": {"embeddings": False}}

    smallest: int = 4096
    embeddings: bool = True

    def __post_init__(self) -> None:
        if self.smallest < 1:
            raise ValueError(f"smallest is {self.smallest}, must be at least 1")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        kinds = (nn.Linear, nn.Embedding) if self.embeddings else (nn.Linear,)
        layers = {n: m for n, m in model.named_modules() if type(m) in kinds and m.weight.numel() >= self.smallest}
        for name, layer in layers.items():
            if layer.weight.abs().max() > torch.finfo(torch.float16).max:
                raise PressbenchError(f"{name} has a weight that float16 cannot hold")
        store_float16(model, list(layers))
        return Compressed(model, {"layers": list(layers)})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        store_float16(model, structure["layers"])
        return model
