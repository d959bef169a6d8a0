"""Which compressors the options name: ids, class names, parameters of one's own, chains of several."""

from __future__ import annotations

import json
import re
from typing import Any

from compressors import registry
from compressors.interface import Compressor, PressbenchError


def parse_compressors(wanted: list[str] | None, tier: str) -> dict[str, Compressor]:
    """The compressors of a tier by id, or those that options name: an id, a class name,
    `name:key=value,…` for parameters of one's own, or several joined by `+` for a chain of them. One
    line for anything unknown."""
    if not wanted:
        return registry.variants(tier)
    chosen: dict[str, Compressor] = {}
    for text in wanted:
        links = [_named(part, tier) for part in text.split("+")]
        if len(links) == 1:
            chosen |= links[0]
        else:
            chain = tuple((c.name, tuple(c.parameters.items())) for link in links for c in link.values())
            chosen["+".join(i for link in links for i in link)] = registry.build("pipeline", {"chain": chain})
    for compressor in chosen.values():
        _ = compressor.steps  # those of a chain are made here: a mistake in one is told now
    return chosen


def _named(text: str, tier: str) -> dict[str, Compressor]:
    name, colon, rest = text.partition(":")
    if colon:
        # At a comma that a key follows: a value may be a list with commas of its own.
        parameters = dict(_parameter(text, part) for part in re.split(r",(?=\s*\w+=)", rest))
        return {"-".join([name, *(f"{k}={v}" for k, v in parameters.items())]): registry.build(name, parameters)}
    known = registry.variants("full")
    if name in known:
        return {name: known[name]}
    every = {i: c for i, c in registry.variants(tier).items() if c.name == name}
    if not every:
        raise PressbenchError(f"unknown compressor {name!r}{registry.nearest(name, known)}")
    return every


def _parameter(text: str, part: str) -> tuple[str, Any]:
    key, equals, value = part.partition("=")
    if not equals or not key.strip():
        raise PressbenchError(f"--compressor {text}: {part!r} is not key=value")
    try:
        return key.strip(), json.loads(value)
    except ValueError:  # a bare word is a string
        return key.strip(), value
