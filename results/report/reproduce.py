"""The command that runs one case again, from what the run's header keeps of its options."""

from __future__ import annotations

import shlex

from results.store.given import words
from results.store.record import CaseRecord, RunHeader
from results.store.text import shown


def command(header: RunHeader, record: CaseRecord) -> str:
    """`pytest 'benchmarks/test_speed.py::test_speed[CASE]'` with the run's options, quoted for a shell.

    Options that records do not keep, such as `--targets`, are not in it.
    """
    test = f"benchmarks/test_{record.measure}.py::test_{record.measure}[{record.case}]"
    return " ".join(["pytest", *map(_quoted, [test, *words(header)])])


def _quoted(text: str) -> str:
    return shlex.quote(shown(text))
