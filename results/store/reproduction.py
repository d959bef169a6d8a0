"""The command that measures stored cases again, from the records and what the header of their run keeps of its own.

Every word of a record is quoted for a shell. No program and no folder of pressbench is taken from a record: what is to
be started is what is installed here.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.store.declared import mapping, text
from results.store.record import CaseRecord, RunHeader
from results.store.text import shown

COMMAND = "command"
"""The key of a run's header under which its `folder` and all of its `options` are."""
PLACES = ("cache", "results", "qualifications")
"""Options that say where a machine keeps things: they decide nothing of a result, and are of that machine alone."""
FILES = ("data", "test-data", "zoo", "targets", "baselines", "expected")
"""Options that name what must be there; the first two may be of the hub."""
SUITE = Path(__file__).parents[2]
"""Where this pressbench lies."""
_OPTION = re.compile(r"[a-z][a-z-]*")
_BEFORE = ("model", "compressor", "hardware")
_USUAL = {"tier": "quick", "seed": 0, "tau": None}


@dataclass(frozen=True)
class Again:
    """command: one line for a shell. where: in which folder it is to be started; empty where any will do."""

    command: str
    where: str


def command(header: RunHeader, records: Iterable[CaseRecord]) -> str:
    """`pytest 'benchmarks/test_speed.py::test_speed[CASE]' …` with the run's options, to be started in a checkout of
    pressbench, or where the run's own files are."""
    return _line("pytest", "benchmarks", records, _options(header, places=False))


def anywhere(header: RunHeader, records: Iterable[CaseRecord]) -> Again:
    """The command as it can be started on this machine from any folder. Where the folder of the run or a file that it
    names is not here, as on another machine, nothing of the kind is promised."""
    own, lost = _folder(header), "where its files are"
    tests = SUITE / "benchmarks"
    if not (SUITE / "conftest.py").is_file():
        return Again(command(header, records), f"in a checkout of pressbench, {lost}")
    if own is not None and not any(_lacking(header, own)):
        folder, options = own, _options(header, places=True)
    elif not mapping(header.extra.get("models")) and not any(_lacking(header, None)):
        folder, options = SUITE, _options(header, places=False)
    else:
        return Again(command(header, records), f"on the machine of the run, {lost}: they are not on this one")
    target = "benchmarks" if folder.resolve() == SUITE.resolve() else str(tests)
    return Again(f"cd {_quoted(str(folder))} && {_line(_program(), target, records, options)}", "")


def as_words(options: Iterable[tuple[str, Any]]) -> list[str]:
    """`--name value` of each, a list as often as it is long, a flag alone; not yet quoted."""
    words: list[str] = []
    for name, given in options:
        if given is True:
            words.append(f"--{name}")
            continue
        for value in given if isinstance(given, list | tuple) else [given]:
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                said = str(value)
                words += [f"--{name}={said}"] if said.startswith("-") else [f"--{name}", said]
    return words


def _line(program: str, tests: str, records: Iterable[CaseRecord], options: list[tuple[str, Any]]) -> str:
    named = dict.fromkeys(f"{tests}/test_{r.measure}.py::test_{r.measure}[{r.case}]" for r in records)
    return " ".join([program, *map(_quoted, [*named, *as_words(options)])])


def _options(header: RunHeader, places: bool) -> list[tuple[str, Any]]:
    """(name, value) of the run's options. Of older runs, only those that their headers have."""
    kept = mapping(mapping(header.extra.get(COMMAND)).get("options"))
    if not kept:
        listed = [(name, given) for name in _BEFORE if isinstance(given := header.options.get(name), list | tuple)]
        return listed + [(n, v) for n, usual in _USUAL.items() if (v := header.options.get(n, usual)) != usual]
    named = ((name, value) for name, value in kept.items() if _OPTION.fullmatch(name))
    return [(name, value) for name, value in named if places or name not in PLACES]


def _folder(header: RunHeader) -> Path | None:
    """The folder that the run was started in, where it is here."""
    found = Path(text(mapping(header.extra.get(COMMAND)).get("folder")))
    return found if found.is_absolute() and _is_there(found, folder=True) else None


def _lacking(header: RunHeader, folder: Path | None) -> Iterator[str]:
    """The options that name what is not here. folder: what paths start from; without one, none can be followed that
    does not say where it starts."""
    options = dict(_options(header, places=False))
    models = [mapping(model) for model in mapping(header.extra.get("models")).values()]
    of_hub = {part for model in models for part in mapping(model.get("hub"))}
    named = [(name, text(options.get(name))) for name in FILES if name.replace("-", "_") not in of_hub]
    if text(options.get("data")) and "model" not in of_hub:
        named += [("model", value) for value in options.get("model") or () if isinstance(value, str)]
    given = (value for value in options.get("artifact") or () if isinstance(value, str))
    named += [("artifact", _file_of(value)) for value in given]
    for name, value in named:
        path = Path(value)
        if value and not ((folder or path.is_absolute()) and _is_there((folder or path) / path)):
            yield name


def _file_of(artifact: str) -> str:
    """The path in `NAME=PATH:KEY=VALUE,…`, of which all but the path may be missing."""
    path, colon, keys = artifact.rpartition(":")
    whole = path if colon and "=" in keys else artifact
    return whole.partition("=")[2] or whole


def _is_there(path: Path, folder: bool = False) -> bool:
    try:
        return path.expanduser().is_dir() if folder else path.expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # what no file system takes as a name
        return False


def _program() -> str:
    """pytest of the installation that this is: by its name where a shell finds that one."""
    found = shutil.which("pytest")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "pytest"
    return f"{_quoted(sys.executable)} -m pytest"


def _quoted(word: str) -> str:
    return shlex.quote(shown(word))
