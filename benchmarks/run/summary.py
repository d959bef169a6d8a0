"""What stands at the end of a run: its table, what changed, what is amiss, what GitHub asks for, its answer."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.matrix.cases import Case
from benchmarks.matrix.options import ROOT
from benchmarks.matrix.sources import places
from benchmarks.run.build_command import build_command
from benchmarks.run.run import Run
from compressors.given.given import Given
from results.exchange import github
from results.store.store import Run as StoredRun
from results.store.store import read_run
from results.table.answer import answers
from results.table.answer_text import print_answer
from results.table.rows import Row
from results.table.table import print_terminal, render

COLLAPSE, TIMES = 0.10, 3.0
"""From which drop a class counts as lost beside a stable average, and how many times that of the average."""


def summary(
    run: Run,
    existing: Collection[tuple[str, str]],
    *,
    cases: Sequence[Case],
    required: int,
    done: int,
    unwritten: Sequence[str],
    width: int,
    colour: bool,
) -> tuple[str, list[str]]:
    """The table as a terminal of that width, in characters, shows it, and the lines after it. Writes the table in
    Markdown beside the records.

    existing: (measure, case) of all cases that there are. cases: those that were to run. required: how many must
    have been executed. done: how many were. unwritten: what could not be stored, a line each.
    """
    stored = read_run(run.writer.path)
    markdown = run.writer.path.with_suffix(".md")
    unwritten = list(unwritten)
    try:
        markdown.write_text(render(stored, "markdown"), encoding="utf-8")
    except OSError as error:
        unwritten.append(f"{_shown(markdown)}: cannot be written: {error.strerror}")
    text = io.StringIO()
    print_terminal(stored, Console(file=text, width=max(80, width), force_terminal=colour))
    changes = [*run.changes(existing), *_doubts(stored), *_collapses(stored)]
    amiss = [f"required: {required} cases, executed {done}"] if done < required else []
    amiss += [f"pressbench: {line}" for line in unwritten]
    files = f"records: {_shown(run.writer.path)}   table: {_shown(markdown)}"
    return text.getvalue(), [*changes, *amiss, files, *_for_github(stored, cases, changes, amiss)]


def answer(run: Run, option: Callable[[str], Any], *, width: int, colour: bool) -> str:
    """What the run says to the question which method to take, as a terminal of that width shows it; empty where it
    measured too little to say anything. option: an option's value by its name, as `--tier`."""
    stored, text, start = read_run(run.writer.path), io.StringIO(), Path.cwd()

    def build(row: Row) -> list[str]:
        if row.first.family == Given.family:
            return []  # nothing was built
        return build_command(option, row.first.model, row.first.compressor, row.first.hardware, start)

    def files(row: Row) -> str | None:
        if row.first.family == Given.family:
            return str(row.first.parameters["path"])
        digests = {record.artifact for record in row.records.values()}
        return next((str(folder) for digest in digests if (folder := run.session.prepared.folder_of(digest))), None)

    console = Console(file=text, width=max(80, width), force_terminal=colour)
    for number, found in enumerate(answers(stored)):
        if number:
            console.print()
        print_answer(found, console, build, files)
    return text.getvalue()


def _doubts(stored: StoredRun) -> list[str]:
    """What makes a dense model look mistaken, so that no verdict beside it means much, a line a model."""
    found = {record.model: record.evidence["doubt"] for record in stored.cases if "doubt" in record.evidence}
    return [f"doubt: {model}: {reason}" for model, reason in found.items()]


def _collapses(stored: StoredRun) -> list[str]:
    """Classes that were lost while the average held, a line each: surely more than COLLAPSE of their examples, and more
    than TIMES what was lost of all."""
    found = []
    for record in stored.cases:
        worst, all_ = record.measures.get("worst_class_drop"), record.measures.get("accuracy_drop")
        if not worst or not all_ or worst.value is None or worst.low is None or all_.value is None:
            continue
        if worst.low > COLLAPSE and worst.value > TIMES * max(0.0, all_.value):
            found.append(
                f"class lost: {record.case}: {100 * worst.value:.1f} [{100 * worst.low:.1f}, "
                f"{100 * (worst.high or 1):.1f}] "
                f"points of {record.evidence.get('worst_class')!r}, where all classes together lost "
                f"{100 * all_.value:.1f}"
            )
    return found


def _for_github(stored: StoredRun, cases: Sequence[Case], changes: list[str], amiss: list[str]) -> list[str]:
    """What GitHub's runners ask for by their variables; nothing anywhere else."""
    if os.environ.get("GITHUB_ACTIONS") != "true" and not os.environ.get("GITHUB_STEP_SUMMARY"):
        return []
    where = places(cases, Path(os.environ.get("GITHUB_WORKSPACE") or ROOT), ROOT)
    return github.report(stored, changes, where, os.environ, amiss)


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return str(path)
