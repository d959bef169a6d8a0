"""The small files that lie beside a graph, as optimum writes them: where they are of another model than the dense one
its answers would be read wrongly, and nothing in the graph tells."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressors.given.form import GivenError
from compressors.interface import ModelSpec

CONFIG = "config.json"
BELOW = ("onnx", "openvino")
"""Folders in which a repository keeps such graphs, below its config.json."""
_NUMBERED = re.compile(r"LABEL_\d+")
"""What transformers calls labels that nobody named."""


def check_companions(folder: Path, said: str, model: ModelSpec) -> tuple[str, ...]:
    """What a person should know of config.json in `folder` beside the dense `model`'s: nothing of a folder without one.
    Raises GivenError where it has the outputs in another order, other outputs, or another vocabulary."""
    path = folder / CONFIG
    if not path.is_file() and folder.name in BELOW:
        path = folder.parent / CONFIG
    if not path.is_file():
        return ()
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        theirs, bases = _labels(config), (_rotary(config), _rotary(model.config))
    except (ValueError, OSError, AttributeError, RecursionError):
        raise GivenError(f"{said}: {CONFIG} beside it is not readable as JSON") from None
    ours = _labels(model.config)
    if theirs and ours and len(theirs) != len(ours):
        raise GivenError(f"{said}: {CONFIG} has {len(theirs)} outputs, the dense model {len(ours)}")
    if theirs and ours:
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            if one.casefold() != other.casefold():
                alike = {name.casefold() for name in theirs} == {name.casefold() for name in ours}
                why = "its outputs are in another order" if alike else "it was trained for other labels"
                raise GivenError(f"{said}: {CONFIG} calls output {number} {one!r}, the dense model {other!r}: {why}")
    sizes = config.get("vocab_size"), model.config.get("vocab_size")
    if "input_ids" in model.inputs and all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]:
        raise GivenError(
            f"{said}: {CONFIG} has a vocabulary of {sizes[0]:,}, the dense model one of {sizes[1]:,}: it reads the ids "
            "of another tokenizer"
        )
    if None in bases or bases[0] == bases[1]:
        return ()
    # A transformers before 5 reads no rope_parameters: what it exports of a newer one's folder is another model.
    return (f"{CONFIG} beside it has a rotary base (rope_theta) of {bases[0]:,g}, the dense model {bases[1]:,g}",)


def _rotary(config: Mapping[str, Any]) -> float | None:
    """The base of its rotary places, as the transformers that wrote it reads it; None where it has none, or several."""
    old = str(config.get("transformers_version") or "5").partition(".")[0] in ("2", "3", "4")
    newer = {} if old else config.get("rope_parameters") or {}
    found = newer.get("rope_theta", config.get("rope_theta"))
    return float(found) if isinstance(found, int | float) else None


def _labels(config: Mapping[str, Any]) -> list[str]:
    """Names of the outputs in their order; none where they were not named."""
    named = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
    found = [named[number] for number in sorted(named)]
    return [] if all(_NUMBERED.fullmatch(name) for name in found) else found
