"""The front: of several points what no other beats."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def unbeaten(points: Mapping[Name, Sequence[float]]) -> set[Name]:
    """The points that no other beats in one place without losing in another. More is better in every place; points
    that are equal in all of them do not beat each other."""
    return {
        name
        for name, point in points.items()
        if not any(
            tuple(other) != tuple(point) and all(o >= p for o, p in zip(other, point, strict=True))
            for other in points.values()
        )
    }
