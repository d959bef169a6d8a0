"""The command that builds what a row of a run was measured on, from any folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.matrix.options import ROOT
from benchmarks.matrix.selection import parse_compressors
from benchmarks.zoo.own.selection import ALONE, ZOO

_PATHS = ("data", "test-data", "zoo")
_PATH_KEYS = ("model", "data", "test_data")


def build_command(option: Callable[[str], Any], model: str, compressor: str, hardware: str, start: Path) -> list[str]:
    """The words of a command that compresses and measures size and memory alone; what was made lies in the cache then.

    option: an option's value by its name, as `--tier`. model, compressor, hardware: as records call them. start: the
    folder that the run's paths start from.
    """
    words = ["pytest", str(ROOT / "benchmarks")]
    alone = bool(option("--data"))
    words += ["--model", _path((option("--model") or [model])[0], start) if alone else model]
    for name in (*ALONE, "zoo"):
        given = option(f"--{name}")
        if name == "zoo" and not given and not alone and (start / ZOO).is_file():
            given = ZOO
        for value in given if isinstance(given, list) else [given] if given else []:
            words += [f"--{name}", _path(value, start) if name in _PATHS else _key(str(value), start)]
    words += ["--cache", os.path.abspath(start / option("--cache"))] if option("--cache") else []
    words += ["--allow-pickle"] if option("--allow-pickle") else []
    words += ["--compressor", _as_given(option, compressor)]
    words += ["--hardware", hardware] if hardware != "cpu" else []
    words += ["--seed", str(option("--seed"))] if option("--seed") else []
    return [*words, "-m", "footprint"]


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
    return compressor
