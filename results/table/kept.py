"""What of a model a method left as it is stored: two sizes compare nothing where one of them holds an embedding in
fp32 and the other does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from results.store.record import CaseRecord

LEAST = 0.01
"""The share of the weights from which on it is told."""


class Kept(NamedTuple):
    """share: of the model's weights, those in layers that take as many bytes as in the dense model. layers: their
    names, most weights first."""

    share: float
    layers: tuple[str, ...]


def kept(record: CaseRecord | None) -> Kept | None:
    """What the method of a footprint record left as it is stored; None where that is nothing to speak of, where it is
    all, where the model has other layers now, and where the record does not tell."""
    if record is None or record.role != "method":
        return None
    made, dense = (_layers(record.evidence.get(key)) for key in ("layers", "dense_layers"))
    if not made or made.keys() != dense.keys():
        return None
    same = {name: count for name, (size, count) in dense.items() if size > 0 and made[name][0] == size}
    total = sum(count for _, count in dense.values())
    if len(same) == len(dense) or not total or sum(same.values()) / total < LEAST:
        return None
    return Kept(sum(same.values()) / total, tuple(sorted(same, key=lambda name: -same[name])))


def _layers(found: object) -> dict[str, tuple[float, float]]:
    """Layer -> (bytes, parameters), as far as these are numbers."""
    layers = found.items() if isinstance(found, Mapping) else ()
    return {
        str(name): (about["bytes"], about["parameters"])
        for name, about in layers
        if isinstance(about, Mapping) and all(_is_count(about.get(key)) for key in ("bytes", "parameters"))
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
