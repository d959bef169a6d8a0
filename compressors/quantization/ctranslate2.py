"""CTranslate2's own int8: what a user of it would run a translation model with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.runtimes import ctranslate2_writing


@dataclass(frozen=True)
class CTranslate2Int8(Compressor):
    """All matrices in 8 bits, the table of the vocabulary too, with a scale for each row, and activations rounded as
    they come, with one for each token (https://opennmt.net/CTranslate2/quantization.html). No calibration data is
    used."""

    name: ClassVar[str] = "ctranslate2-int8"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"ctranslate2": "ctranslate2"}
    makes: ClassVar[str] = "ctranslate2"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"runs on the CPU here, not on {hardware.device}"
        return ctranslate2_writing.reason(model)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        made = ctranslate2_writing.Converted.of(model, context.model, "int8_float32")
        return Compressed(made, runtime="ctranslate2", options={"compute_type": "int8_float32"})
