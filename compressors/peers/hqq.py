"""HQQ by its authors' package: half-quadratic fit of the offsets, no data.

Source: hqq (Badri and Shaji 2023). In groups along the columns (its `axis=1`), as what reads its files elsewhere does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.base import Peer
from compressors.peers.handover import Files
from compressors.peers.scripts import hqq as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerHqq(Peer):
    """bits: 2, 3, 4 or 8. group_size: columns that share a scale and an offset."""

    name: ClassVar[str] = "peer-hqq"
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64": {}}
    pins: ClassVar[Mapping[str, str]] = {"hqq": "0.2.8.post1", "torch": "2.13.0", "transformers": "5.14.1"}
    script: ClassVar[ModuleType] = script

    bits: int = 4
    group_size: int = 64

    def __post_init__(self) -> None:
        if self.bits not in (2, 3, 4, 8):
            raise ValueError(f"bits = {self.bits!r}: must be 2, 3, 4 or 8")
        if self.group_size < 8 or self.group_size % 8:
            raise ValueError(f"group_size = {self.group_size!r}: must be a multiple of 8")

    @property
    def options(self) -> Mapping[str, Any]:
        return self.parameters

    @property
    def block(self) -> int:
        return self.group_size

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.hqq(files, layer, rows, columns)
