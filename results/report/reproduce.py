"""The command that runs one case again, from what the run's header keeps of its options."""

from __future__ import annotations

import shlex

from results.report.safe import number, sequence
from results.store.record import CaseRecord, RunHeader
from results.store.text import shown

_USUAL = {"tier": "quick", "seed": 0, "tau": None}


def command(header: RunHeader, record: CaseRecord) -> str:
    """`pytest 'benchmarks/test_speed.py::test_speed[CASE]'` with the run's options, quoted for a shell.

    Options that records do not keep, such as `--targets`, are not in it.
    """
    test = f"benchmarks/test_{record.measure}.py::test_{record.measure}[{record.case}]"
    parts = ["pytest", _quoted(test)]
    for name in ("model", "compressor", "hardware"):
        parts += [f"--{name} {_quoted(item)}" for item in sequence(header.options.get(name)) if isinstance(item, str)]
    for name, usual in _USUAL.items():
        given = header.options.get(name, usual)
        if given != usual and (isinstance(given, str) or number(given) is not None):
            parts.append(f"--{name} {_quoted(str(given))}")
    return " ".join(parts)


def _quoted(text: str) -> str:
    return shlex.quote(shown(text))
