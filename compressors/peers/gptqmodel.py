"""GPTQ by GPTQModel: each column's error fed to those that follow, groups of columns in the order of their activations.

Source: GPTQ (Frantar et al. 2022), GPTQModel of ModelCloud. Block after block, each calibrated on what the quantized
ones before it answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import gptqmodel as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerGptqmodel(GroupedPeer):
    """bits: 2, 3, 4 or 8. group_size."""

    name: ClassVar[str] = "peer-gptqmodel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    pins: ClassVar[Mapping[str, str]] = {"gptqmodel": "7.6.0", "torch": "2.13.0", "transformers": "5.17.0"}
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)

    symmetric: bool = True
    act_order: bool = False
    damping: float = 0.05

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.gptq(files, layer, rows, columns, bits=self.bits, v1=self.symmetric)
