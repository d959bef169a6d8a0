"""GPTQ by GPTQModel: each column's error fed to those that follow, in the order of groups by activation or of columns.

Source: GPTQ (Frantar et al. 2022), GPTQModel of ModelCloud. Block after block, each calibrated on what the quantized
ones before it answer; in float32.
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

GROUPS = (16, 32, 64, 128, 256, 512, 1024)
"""Sizes of a group that it takes."""


@dataclass(frozen=True)
class PeerGptqmodel(GroupedPeer):
    """bits: 2, 3, 4 or 8. group_size: columns that share a scale, 16, 32, … or 1024. symmetric: without a zero point.
    act_order: begin with the columns that are largest (its `desc_act`), groups as they lie (`static_groups`); else with
    the groups that are, and in each with its largest, as it does by default (`act_group_aware`). damping: added to the
    diagonal of the Hessian, as a share of its mean."""

    name: ClassVar[str] = "peer-gptqmodel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    # 7.7.0 asks for torch 2.14.1, where the other peers have 2.13.0.
    pins: ClassVar[Mapping[str, str]] = {"gptqmodel": "7.6.0", "torch": "2.13.0", "transformers": "5.17.0"}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **GroupedPeer.full_variants,
        "4bit-g64-asymmetric": {"symmetric": False},
        "4bit-g64-act-order": {"act_order": True},
    }
    script: ClassVar[ModuleType] = script
    widths: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)

    symmetric: bool = True
    act_order: bool = False
    damping: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group_size not in GROUPS:
            raise ValueError(f"group_size = {self.group_size!r}: must be one of {', '.join(map(str, GROUPS))}")
        if not 0 < self.damping < 1:
            raise ValueError(f"damping = {self.damping!r}: must lie above 0 and below 1")

    @property
    def side(self) -> int:
        return 32 if self.bits == 3 else 1

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.gptq(files, layer, rows, columns, bits=self.bits, v1=self.symmetric)
