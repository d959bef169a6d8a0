"""The command that measures stored cases again, from the record and the options of its run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from results.store.record import CaseRecord, RunHeader
from results.store.text import shown

_USUAL = {"tier": "quick", "seed": 0, "tau": None}


def command(header: RunHeader, records: Iterable[CaseRecord]) -> str:
    """One line for a shell, every word of a record quoted. The targets file of the run is not known here."""
    tests = [f"benchmarks/test_{r.measure}.py::test_{r.measure}[{r.case}]" for r in records]
    words = ["pytest", *dict.fromkeys(tests)]
    for name in ("model", "compressor", "hardware"):
        given = header.options.get(name)
        for value in given if isinstance(given, list | tuple) else []:
            words += [f"--{name}", str(value)]
    for name, usual in _USUAL.items():
        if (value := header.options.get(name, usual)) != usual:
            words += [f"--{name}", str(value)]
    return shown(shlex.join(words))
