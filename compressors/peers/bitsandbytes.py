"""NF4 by bitsandbytes: the 16 quantiles of a normal distribution, scaled to the largest of each block; no data.

Source: QLoRA (Dettmers et al. 2023), bitsandbytes. Saved as transformers users save it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from compressors.peers import formats
from compressors.peers.base import Peer
from compressors.peers.handover import Files
from compressors.peers.scripts import bitsandbytes as script
from compressors.quantization.packed import PackedWeight


@dataclass(frozen=True)
class PeerBitsandbytesNf4(Peer):
    """Blocks of 64, which is all that it has through transformers. double: quantize the scales to 8 bits too, as QLoRA
    does; here they are stored as what they decode to, so that the peer's own bytes are fewer than the artifact's."""

    name: ClassVar[str] = "peer-bitsandbytes-nf4"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    pins: ClassVar[Mapping[str, str]] = {
        "bitsandbytes": "0.50.2", "torch": "2.13.0", "transformers": "5.14.1", "accelerate": "1.15.0",
    }  # fmt: skip
    script: ClassVar[ModuleType] = script

    double: bool = False

    @property
    def options(self) -> Mapping[str, Any]:
        return self.parameters

    @property
    def block(self) -> int:
        return 64

    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        return formats.nf4(files, layer, rows, columns)
