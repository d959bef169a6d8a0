"""The command that builds what a row of a run was measured on, from any folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.matrix.options import ROOT, given
from benchmarks.matrix.selection import as_option, parse_compressors
from benchmarks.zoo.own.selection import ALONE, ZOO
from results.store.reproduction import as_words

_PATHS = ("data", "test-data", "zoo")
_PATH_KEYS = ("model", "data", "test_data")
_DECIDES = (*ALONE, "zoo", "cache", "allow-pickle", "seed")
"""Options that decide what is made, or where it lies, beside the model, the compressor and the hardware."""


def build_command(option: Callable[[str], Any], model: str, compressor: str, hardware: str, start: Path) -> list[str]:
    """The words of a command that compresses and measures size and memory alone; what was made lies in the cache then.

    option: an option's value by its name, as `--tier`. model, compressor, hardware: as records call them. start: the
    folder that the run's paths start from.
    """
    named = given(option)
    if named.get("data"):
        model = _path((named.get("model") or [model])[0], start)
    elif "zoo" not in named and (start / ZOO).is_file():
        named["zoo"] = ZOO
    options: list[tuple[str, Any]] = [("model", model)]
    options += [(name, _anywhere(name, value, start)) for name, value in named.items() if name in _DECIDES]
    options += [("compressor", _as_given(option, compressor))]
    options += [("hardware", hardware)] if hardware != "cpu" else []
    return ["pytest", str(ROOT / "benchmarks"), *as_words(options), "-m", "footprint"]


def _anywhere(name: str, value: Any, start: Path) -> Any:
    """The value of an option as it means the same from any folder."""
    if name == "cache":
        return os.path.abspath(start / value)
    if name == "set":
        return [_key(str(part), start) for part in value]
    return _path(value, start) if name in _PATHS else value


def _path(text: str, start: Path) -> str:
    """A path from anywhere; what is not there is a name on the hub."""
    path = start / Path(text).expanduser()
    return os.path.abspath(path) if path.exists() else text


def _key(text: str, start: Path) -> str:
    """`key=value`, where the value of some is a path."""
    key, equals, value = text.partition("=")
    return f"{key}={_path(value, start)}" if equals and key.strip() in _PATH_KEYS else text


def _as_given(option: Callable[[str], Any], compressor: str) -> str:
    """How the options call it: a method with parameters is called otherwise there than in records."""
    for text in option("--compressor") or []:
        if set(parse_compressors([text], str(option("--tier")))) == {compressor}:
            return str(text)
    if option("--sweep"):
        swept = parse_compressors(option("--compressor"), str(option("--tier")), sweep=True)
        return as_option(swept[compressor]) if compressor in swept else compressor
    return compressor
