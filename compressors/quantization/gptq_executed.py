"""GPTQ's codes on the kernels that they fit: what a few bits a weight gain in size and quality, and in speed too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors import surgery
from compressors.interface import Hardware, ModelSpec
from compressors.pipeline import Chain, Pipeline
from compressors.runtimes.cached_graph import is_causal


@dataclass(frozen=True)
class GptqAten(Pipeline):
    """Blocks rounded by GPTQ to 4 bits in groups of 64, their ranges fitted, the output layer to nearest in 8, both
    computed with by ATen's CPU kernels in a bf16 model. For causal language models: decoding, which reads all weights
    for each token, is what it speeds up."""

    name: ClassVar[str] = "gptq-aten"
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit": {}}

    chain: Chain = (
        ("quantize-gptq", (("grid", "fitted"),)),
        ("weight-only", (("bits", None),)),
        ("weight-only", (("bits", 8),)),
    )

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            if not is_causal(skeleton, model):
                raise surgery.UnknownStructure("decodes no text word by word, where alone its kernels gain much")

        return surgery.structure_reason(model, check) or super().supports(model, hardware)


@dataclass(frozen=True)
class GptqOpenvino(GptqAten):
    """The same codes of the blocks on OpenVINO; embedding and output layer have 8 bits in groups of 64."""

    name: ClassVar[str] = "gptq-openvino"

    chain: Chain = (
        ("quantize-gptq", (("grid", "fitted"), ("embedding_bits", 8), ("head_bits", 8))),
        ("weight-only-openvino", (("bits", None),)),
    )


@dataclass(frozen=True)
class GptqOnnxRuntime(GptqAten):
    """The same codes as on OpenVINO on ONNX Runtime, which here passes over whole texts only and decodes none word by
    word: it gains size, and quality at that size."""

    name: ClassVar[str] = "gptq-onnxruntime"

    chain: Chain = (
        ("quantize-gptq", (("grid", "fitted"), ("embedding_bits", 8), ("head_bits", 8))),
        ("weight-only-onnxruntime", (("bits", None),)),
    )
