"""What the peers have in common that give so many columns of a layer a scale of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from compressors import surgery
from compressors.interface import PressbenchError
from compressors.peers.base import Peer


@dataclass(frozen=True)
class GroupedPeer(Peer):
    """bits: of a code, one of the class's `widths`. group_size: columns that share a scale, a multiple of its
    `multiple`; None for what the peer takes where it is not told, if the class is `free`."""

    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64": {}}
    widths: ClassVar[tuple[int, ...]]
    multiple: ClassVar[int] = 1
    free: ClassVar[bool] = False

    bits: int = 4
    group_size: int | None = 64

    def __post_init__(self) -> None:
        if self.bits not in self.widths:
            *others, last = self.widths
            raise ValueError(f"bits = {self.bits!r}: must be {', '.join(map(str, others))} or {last}")
        size = self.group_size
        if size is None and self.free:
            return
        if size is None or size < 1 or size % self.multiple:
            least = "at least 1" if self.multiple == 1 else f"a multiple of {self.multiple}, and at least that"
            raise ValueError(f"group_size = {size!r}: must be {least}{', or null' if self.free else ''}")

    @property
    def options(self) -> Mapping[str, Any]:
        return self.parameters

    @property
    def block(self) -> int:
        return self.group_size or 1

    @property
    def side(self) -> int:
        """What both sides of each layer must be multiples of."""
        return 1

    def _layers(self, model: nn.Module) -> list[str]:
        names = super()._layers(model)
        for name in names:
            layer = surgery.get(model, name)
            if layer.out_features % self.side or layer.in_features % self.side:
                shape = f"{layer.out_features} x {layer.in_features}"
                raise PressbenchError(
                    f"quantizes layers with sides of {self.side}, {2 * self.side}, …: {name} is {shape}"
                )
        return names
