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
from compressors.peers.base import Peer
from compressors.peers.handover import Files
from compressors.peers.scripts import llmcompressor_gptq as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerLlmcompressorGptq(Peer):
    """bits: 4 or 8. group_size: columns that share a scale. symmetric: without a zero point. damping: added to the
    diagonal of the Hessian, as a share of its mean."""

    name: ClassVar[str] = "peer-llmcompressor-gptq"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64": {}}
    pins: ClassVar[Mapping[str, str]] = {
        "llmcompressor": "0.14.0.1", "compressed-tensors": "0.19.0", "torch": "2.13.0", "transformers": "5.17.0",
    }  # fmt: skip
    script: ClassVar[ModuleType] = script

    bits: int = 4
    group_size: int = 64
    symmetric: bool = True
    damping: float = 0.01

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits = {self.bits!r}: must be 4 or 8")
        if self.group_size < 1:
            raise ValueError(f"group_size = {self.group_size!r}: must be at least 1")
        if not 0 < self.damping <= 1:
            raise ValueError(f"damping = {self.damping!r}: must lie above 0, and at 1 at most")

    @property
    def options(self) -> Mapping[str, Any]:
        return self.parameters

    @property
    def block(self) -> int:
        return self.group_size

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.compressed_tensors(files, layer, rows, columns, bits=self.bits)
