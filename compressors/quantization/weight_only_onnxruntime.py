"""Weight-only quantization on ONNX Runtime: 8- or 4-bit weights that its CPU kernels multiply with as they are stored.

Source: the operators MatMulNBits and GatherBlockQuantized of com.microsoft. Here ONNX Runtime keeps no key-value cache:
passes over whole texts and images gain size, and little or no time, see docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.quantization.codes_onnxruntime import with_codes
from compressors.quantization.weights import QuantizeWeights
from compressors.runtimes.export import ONNX

GROUPS = (16, 32, 64, 128, 256)
LEVELS = (0, 4)
HEAD_BITS = 8


@dataclass(frozen=True)
class WeightOnlyOnnxRuntime(Compressor):
    """bits: 4 or 8, rounded to nearest by `quantize-weights`, which is its first step, scale and zero point for each
    group of columns. null takes the 4- or 8-bit codes of the method before it in a chain, as in
    `quantize-gptq+weight-only-onnxruntime:bits=null`; packed layers of other codes are then stored in fp32, and the
    recipe's structure tells which, and why.

    group_size: columns that share them, at bits of its own. head: cover the output layer too; at bits of its own it
    then has 8, and embeddings and what else lies outside of the blocks as well. accuracy_level: 0 computes in fp32, and
    the answers are those of the packed model to its rounding; 4 may round the inputs of a product to 8 bits, one scale
    for each block of columns, which moves an input by up to 1/254 of the largest in its block. At level 0 a product of
    8-bit weights decodes them anew at every call.
    """

    name: ClassVar[str] = "weight-only-onnxruntime"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = ONNX
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4bit-g64": {"bits": 4},
    }
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64-int8": {"bits": 4, "accuracy_level": 4}}

    makes: ClassVar[str] = "onnxruntime"

    bits: int | None = 4
    group_size: int = 64
    head: bool = True
    accuracy_level: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("bits", (4, 8, None)), ("group_size", GROUPS), ("accuracy_level", LEVELS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} = {value!r}: must be one of {', '.join(map(str, allowed))}")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        if self.bits is None:
            return (self,)
        more = HEAD_BITS if self.head else 0
        rounding = QuantizeWeights(
            bits=self.bits, group_size=self.group_size, symmetric=False, embedding_bits=more, head_bits=more
        )
        return (rounding, self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        last = None if self.head else surgery.head(model)
        plain = {last: "head = false"} if last else {}
        graph, left = with_codes(model, context.model, self.accuracy_level, plain)
        return Compressed(graph, {"left": left}, runtime="onnxruntime")
