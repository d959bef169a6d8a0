"""HQQ by its authors' package: half-quadratic fit of the offsets, no data.

Source: hqq (Badri and Shaji 2023). In groups along the columns (its `axis=1`), as what reads its files elsewhere does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import hqq as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerHqq(GroupedPeer):
    """bits: 2, 3, 4 or 8. group_size: columns that share a scale and an offset, a multiple of 8."""

    name: ClassVar[str] = "peer-hqq"
    pins: ClassVar[Mapping[str, str]] = {"hqq": "0.2.8.post1", "torch": "2.13.0", "transformers": "5.14.1"}
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)
    multiple: ClassVar[int] = 8

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.hqq(files, layer, rows, columns)
