"""The files of weights in a folder that `save_pretrained` wrote, read no further than their names and headers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressors.interface import PressbenchError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def indexed(folder: Path, said: str, wrong: type[PressbenchError]) -> list[str] | None:
    """The files that the index names, in order; None where there is no index. said: how the user named the folder.

    Raises `wrong` where the index is damaged, or names a file outside the folder; see `check_there`."""
    if not (folder / INDEX).is_file():
        return None
    try:
        names = sorted(set(map(_text, json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise wrong(f"{said}/{INDEX}: damaged") from None
    if bad := [name for name in names if Path(name).name != name]:
        raise wrong(f"{said}/{INDEX}: names a file outside the folder: {bad[0]!r}")
    return names


def check_there(folder: Path, names: Sequence[str], said: str, wrong: type[PressbenchError]) -> None:
    """Raises `wrong` where one of the files that the index names is missing."""
    if gone := [name for name in names if not (folder / name).is_file()]:
        raise wrong(f"{said}: {gone[0]} is missing, which {INDEX} names")


def header(path: Path, said: str, wrong: type[PressbenchError]) -> dict[str, str]:
    """Tensor -> its type in a safetensors file, as the file has it but in small letters ("f32", "bf16", "u8"). Raises
    `wrong` where it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_slice(name).get_dtype().lower() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise wrong(f"{said}/{path.name}: damaged or truncated: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
