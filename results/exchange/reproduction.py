"""The command that measures stored cases again, from the record and the options of its run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from results.store.given import words
from results.store.record import CaseRecord, RunHeader
from results.store.text import shown


def command(header: RunHeader, records: Iterable[CaseRecord]) -> str:
    """One line for a shell, every word of a record quoted. The targets file of the run is not known here."""
    tests = [f"benchmarks/test_{r.measure}.py::test_{r.measure}[{r.case}]" for r in records]
    return shown(shlex.join(["pytest", *dict.fromkeys(tests), *words(header)]))
