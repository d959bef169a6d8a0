"""Weights rounded to nearest by torchao, PyTorch's own quantizer; no data.

Source: torchao (Or et al. 2025). At 8 bits its `Int8WeightOnlyConfig`. Below, `IntxWeightOnlyConfig`, which leaves a
byte for every code in what it saves: none of the packings of its `Int4WeightOnlyConfig` is made on a CPU ("plain" asks
for the package mslk, the others for CUDA or an XPU).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import torchao as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerTorchao(GroupedPeer):
    """bits: 2 to 8. group_size: columns that share a scale; None for all of a row, as it has by default. symmetric:
    without a zero point, which is all that there is at 8 bits."""

    name: ClassVar[str] = "peer-torchao"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **GroupedPeer.full_variants,
        "8bit": {"bits": 8, "group_size": None},
    }
    pins: ClassVar[Mapping[str, str]] = {"torchao": "0.18.0", "torch": "2.13.0", "transformers": "5.17.0"}
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (2, 3, 4, 5, 6, 7, 8)
    free: ClassVar[bool] = True

    symmetric: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits == 8 and not self.symmetric:
            raise ValueError("symmetric = False: must be true at 8 bits, where torchao has no zero points for weights")

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.torchao(files, layer, rows, columns, bits=self.bits)
