"""Recipes as people write them: `name`, an id, `name:key=value,…`, or several joined by `+` for a chain."""

from __future__ import annotations

import json
import re
from typing import Any

from compressors import registry
from compressors.interface import Compressor, PressbenchError


def split(text: str, at: str) -> list[str]:
    """`text` cut wherever the pattern `at` fits, but not within double quotes, where a list of recipes has theirs."""
    return re.split(rf'{at}(?=(?:[^"]*"[^"]*")*[^"]*$)', text)


def parameters(text: str) -> dict[str, Any]:
    """Those of `name:key=value,…`, in the order in which they are said. A value is JSON, or else a bare word.
    Raises PressbenchError for what is no key=value."""
    # At a comma that a key follows: a value may be a list with commas of its own.
    return dict(_parameter(text, part) for part in split(text.partition(":")[2], r",(?=\s*\w+=)"))


def _parameter(text: str, part: str) -> tuple[str, Any]:
    key, equals, value = part.partition("=")
    if not equals or not key.strip():
        raise PressbenchError(f"{text}: {part!r} is not key=value")
    try:
        return key.strip(), json.loads(value)
    except ValueError:  # a bare word is a string
        return key.strip(), value


def build(text: str) -> Compressor:
    """The compressor that a recipe says; of one name, as it is by default. Raises PressbenchError as `registry.build`
    does. Looks at classes alone: whoever is made of recipes is itself among the variants."""
    links = [_link(part) for part in split(text, r"\+")]
    if len(links) == 1:
        return links[0]
    return registry.build("pipeline", {"chain": tuple((c.name, tuple(c.parameters.items())) for c in links)})


def _link(text: str) -> Compressor:
    name, colon, _ = text.partition(":")
    if not colon:
        for cls in registry.compressor_classes().values():
            for suffix, given in {**cls.variants, **cls.nightly_variants, **cls.full_variants}.items():
                if suffix and name == f"{cls.name}-{suffix}":
                    return registry.build(cls.name, dict(given))
    return registry.build(name, parameters(text) if colon else None)
