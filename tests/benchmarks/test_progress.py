"""Stages as a person sees them: a line each in a log, bars on a terminal."""

from __future__ import annotations

import io
import itertools
import re

import pytest

from benchmarks import progress
from benchmarks.progress import Stages
from benchmarks.run.outlook import Outlook, Planned

CASES = [Planned("speed", f"case-{n}", "m") for n in range(84)]


@pytest.fixture
def outlook() -> Outlook:
    time = itertools.count(0, 10)  # seconds pass as each case is over, and none after that
    found = Outlook(CASES, {(one.measure, one.case): 10.0 for one in CASES}, lambda: min(120.0, next(time)))
    for one in CASES[:12]:
        found.finished(one.measure, one.case, 10.0)
    return found


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_has_a_line_a_stage_with_what_is_left(outlook: Outlook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_AFTER", 0.0)
    file = io.StringIO()
    stages = Stages(file)
    with stages("qualify", "cpu"):
        pass
    stages.outlook = outlook
    with stages("compress", "minilm-bbc: distil-layers [red]"):
        pass
    before, line = file.getvalue().splitlines()
    assert before == "  cpu: qualify, 0 s"
    assert line == "  minilm-bbc: distil-layers [red]: compress, 0 s (12 of 84 cases, about 10 min left)"


def test_a_log_has_no_line_for_a_moment(outlook: Outlook) -> None:
    file = io.StringIO()
    stages = Stages(file)
    stages.outlook = outlook
    with stages("compress", "quick") as report:
        report("step", 1, 2)
    assert file.getvalue() == ""


def test_a_terminal_has_a_bar_for_the_run_above_that_of_the_stage(
    outlook: Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    file = Terminal()
    stages = Stages(file)
    stages.outlook = outlook
    with stages("compress", "m: distil") as report:
        report("training [red]", 3, 75)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert re.search(r"cases .* 12/84 about 10 min left", shown)
    assert re.search(r"m: distil: training \[red\] .* 3/75 0:00:00", shown)
