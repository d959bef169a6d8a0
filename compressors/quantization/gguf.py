"""llama.cpp's own quantization: what a user of it would run a language model with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.runtimes import gguf_writing


@dataclass(frozen=True)
class QuantizeGguf(Compressor):
    """Has llama.cpp round all matrices, the table of the vocabulary too, and runs the file with it.

    type: by llama.cpp's own name: q4_0 and q8_0 are codes with a scale for each 32 of a row; q4_k_m, q5_k_m and q6_k
    have scales of scales, and more bits for some layers (https://github.com/ggml-org/llama.cpp). Rows that their blocks
    of 256 do not divide get a type of 32 with more bits instead: of SmolLM2 that is most of them. No calibration data
    is used (llama.cpp's importance matrix is not).
    """

    name: ClassVar[str] = "quantize-gguf"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"llama_cpp": "llama-cpp-python"}
    makes: ClassVar[str] = "llamacpp"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "q8-0": {"type": "q8_0"},
        "q4-0": {"type": "q4_0"},
        "q4-k-m": {},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"type": ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")}

    type: str = "q4_k_m"

    def __post_init__(self) -> None:
        known = [name for name in gguf_writing.TYPES if name.startswith("q")]
        if self.type not in known:
            raise ValueError(f"type = {self.type!r}: must be one of {', '.join(known)}")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"runs on the CPU here, not on {hardware.device}"
        return gguf_writing.reason(model)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(gguf_writing.Written.of(model, context.model, self.type), runtime="llamacpp")
