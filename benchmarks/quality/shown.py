"""What a person is shown of an example: a text or a small grey image, cut to a size that records can hold.

`{"text": …}`, or `{"image": …}` with rows of grey levels from 0 (black) to 255; empty where there is nothing to see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressors.interface import PressbenchError

TEXT_CHARACTERS = 300
"""Of a text that are kept; the last is an ellipsis where it was longer."""
IMAGE_PIXELS = 32
"""Rows and columns of the largest image: a task with larger ones scales them down."""

Shown = Mapping[str, Any]


def fit(shown: Shown) -> dict[str, Any]:
    """`shown` with its text cut. Raises PressbenchError for an image too large or with other values."""
    if "text" in shown:
        text = str(shown["text"])
        return {"text": text if len(text) <= TEXT_CHARACTERS else f"{text[: TEXT_CHARACTERS - 1]}…"}
    if "image" not in shown:
        return {}
    rows = [[int(level) for level in row] for row in shown["image"]]
    columns = {len(row) for row in rows}
    if not (0 < len(rows) <= IMAGE_PIXELS and len(columns) == 1 and 0 < max(columns) <= IMAGE_PIXELS):
        raise PressbenchError(f"an image to be shown must have 1 to {IMAGE_PIXELS} rows and columns, all rows alike")
    if not all(0 <= level <= 255 for row in rows for level in row):
        raise PressbenchError("an image to be shown must have levels from 0 to 255")
    return {"image": rows}


def write_shown(examples: Iterable[Shown], path: Path) -> None:
    """One line of JSON for each example, in the order of the split."""
    lines = (json.dumps(fit(shown), ensure_ascii=True, separators=(",", ":")) for shown in examples)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")


def read_shown(path: Path) -> Sequence[Shown]:
    """What `write_shown` wrote: item i shows example i of the split."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").split("\n")[:-1]]
