"""Where a report comes from and goes to: the runs before one, what is accepted for its machine, and the file."""

from __future__ import annotations

import contextlib
from pathlib import Path

from results.history.baseline import Baseline
from results.history.baseline_file import load
from results.store.machine import fingerprint_of
from results.store.store import Run, list_runs, read_run
from results.store.strict_json import ResultsError
from results.store.text import shown


def before(run: Run, most: int) -> list[Run]:
    """At most `most` runs that lie before `run` in its folder, oldest first. What cannot be read has no part in it."""
    paths = list_runs(run.path.parent)
    names = [path.name for path in paths]
    found: list[Run] = []
    for path in reversed(paths[: names.index(run.path.name)] if run.path.name in names else []):
        if len(found) == most:
            break
        with contextlib.suppress(ResultsError):
            found.append(read_run(path))
    return found[::-1]


def accepted(run: Run, directory: Path) -> Baseline | None:
    """The baseline of the run's machine, None without one. Raises ResultsError where its file cannot be read."""
    fingerprint, _ = fingerprint_of(run)
    if not fingerprint or set(fingerprint) - set("0123456789abcdef"):
        return None
    return load(directory, fingerprint)


def write(page: str, path: Path) -> None:
    """Write the page. Raises ResultsError where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ResultsError(f"{shown(str(path))}: cannot be written: {error.strerror}") from None
