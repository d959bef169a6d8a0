"""GPTQ by llm-compressor: columns in the order of their activations, each one's error fed to those that follow.

Source: GPTQ (Frantar et al. 2022), llm-compressor of the vLLM project. Block after block, each calibrated on what the
quantized ones before it answer; groups of columns as they lie (its `actorder="static"`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import llmcompressor_gptq as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerLlmcompressorGptq(GroupedPeer):
    """bits: 4 or 8. group_size: columns that share a scale. symmetric: without a zero point. damping: added to the
    diagonal of the Hessian, as a share of its mean."""

    name: ClassVar[str] = "peer-llmcompressor-gptq"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    pins: ClassVar[Mapping[str, str]] = {
        "llmcompressor": "0.14.0.1", "compressed-tensors": "0.19.0", "torch": "2.13.0", "transformers": "5.17.0",
    }  # fmt: skip
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **GroupedPeer.full_variants,
        "4bit-g64-asymmetric": {"symmetric": False},
    }
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (4, 8)

    symmetric: bool = True
    damping: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping = {self.damping!r}: must lie above 0, and at 1 at most")

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.compressed_tensors(files, layer, rows, columns, bits=self.bits)
