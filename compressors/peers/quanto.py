"""Weights rounded to nearest by optimum-quanto, Hugging Face's quantizer; no data.

Source: optimum-quanto (Corvoysier 2024). 8 bits are symmetric, with a scale for each row; fewer lie between the least
and the largest weight of a group, with a scale and an offset in the type of the model, here float32: 64 bits a group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import quanto as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerQuanto(GroupedPeer):
    """bits: 2, 4 or 8. group_size: columns that share a scale; None for what its `quantize` takes, which has no say in
    it: the first of 128, 96, 64 and 32 that divides more than 128 columns, else all of a row. At 8 bits None alone."""

    name: ClassVar[str] = "peer-quanto"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **GroupedPeer.full_variants,
        "8bit": {"bits": 8, "group_size": None},
    }
    pins: ClassVar[Mapping[str, str]] = {"optimum-quanto": "0.2.7", "torch": "2.13.0", "transformers": "5.17.0"}
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (2, 4, 8)
    free: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits == 8 and self.group_size is not None:
            raise ValueError(f"group_size = {self.group_size}: must be null at 8 bits, where a row has one scale")

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.quanto(files, layer, rows, columns, bits=self.bits)
