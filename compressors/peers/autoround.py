"""AutoRound: whether each weight goes up or down, and the ends of each grid, learned by the sign of a gradient.

Source: SignRound (Cheng et al. 2024), auto-round of Intel. Block after block, so that the block answers to what the
rounded ones before it answer as the dense one did; batches of 8 of the calibration texts, padding left out of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

from compressors.peers import formats
from compressors.peers.grouped import GroupedPeer
from compressors.peers.handover import Files
from compressors.peers.scripts import autoround as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerAutoround(GroupedPeer):
    """bits: 2, 3, 4 or 8. group_size: columns that share a scale. symmetric: without a zero point, which is all that it
    saves at 8 bits. iterations: steps on each block (its `iters`)."""

    name: ClassVar[str] = "peer-autoround"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    pins: ClassVar[Mapping[str, str]] = {"auto-round": "0.16.1", "torch": "2.13.0", "transformers": "5.17.0"}
    script: ClassVar[ModuleType] = script
    seconds: ClassVar[float] = 7200.0  # 200 steps on each block, forward and back
    widths: ClassVar[tuple[int, ...]] = (2, 3, 4, 8)

    symmetric: bool = True
    iterations: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits == 8 and not self.symmetric:
            raise ValueError("symmetric = False: must be true at 8 bits, where AutoRound saves no zero points")
        if self.iterations < 1:
            raise ValueError(f"iterations = {self.iterations!r}: must be at least 1")

    @property
    def side(self) -> int:
        return 32  # others it leaves dense

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.gptq(files, layer, rows, columns, bits=self.bits, v1=self.symmetric)
