"""Named entities in IOB2 tags, and how many of them were found (Tjong Kim Sang and De Meulder 2003)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_TAG = re.compile(r"O|[BI]-.+", re.DOTALL)
Entity = tuple[str, int, int]
"""(type, first word, last word)."""


def are_tags(names: Sequence[str]) -> bool:
    """Whether these are the names of IOB tags, such as `O`, `B-PER`, `I-PER`."""
    return any(name != "O" for name in names) and all(_TAG.fullmatch(name) for name in names)


def entities(tags: Sequence[str]) -> set[Entity]:
    """The entities of one sentence, as conlleval reads it: an `I-` that continues nothing of its type begins one."""
    found, start, kind = set(), 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and not (mark == "I" and name == kind):
            found.add((kind, start, place - 1))
            kind = ""
        if mark != "O" and not kind:
            start, kind = place, name
    return found


def f1(truth: Iterable[Sequence[str]], said: Iterable[Sequence[str]]) -> float:
    """Micro F1 over the entities of all sentences: 2 right / (true + said), right where type and both ends are the
    same; 0 where there is no entity at all. truth, said: the tags of each sentence."""
    right = total = 0
    for wanted, given in zip(truth, said, strict=True):
        here, there = entities(wanted), entities(given)
        right += len(here & there)
        total += len(here) + len(there)
    return 2 * right / total if total else 0.0
