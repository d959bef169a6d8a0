"""Going on with an interrupted run: only on the same machine, with the same libraries and what was asked for then.

Half a run of one kind and half of another would be one table of two things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from results.store.record import CaseRecord, RunHeader
from results.store.store import ResultsError, Run
from results.store.tally import latest

Finished = Mapping[tuple[str, str], CaseRecord]
"""(case, measure) -> its record."""


def finished(stored: Run) -> Finished:
    """What need not be measured again."""
    return {(record.case, record.measure): record for record in latest(stored.cases)}


def check_same(before: RunHeader, now: RunHeader) -> None:
    """Raises ResultsError, one line that says what differs, unless `now` describes the same run as `before`."""
    again = f"run {before.run} cannot be resumed"
    for name in before.options.keys() & now.options.keys():
        then, today = before.options[name], now.options[name]
        if then != today:
            raise ResultsError(f"{again}: {_option(name)} was {_given(then)}, is {_given(today)}")
    if before.pressbench != now.pressbench:
        raise ResultsError(f"{again}: it was begun by pressbench {before.pressbench}, this is {now.pressbench}")
    if before.machine.get("hash") != now.machine.get("hash"):
        fields = differing(before.machine.get("key"), now.machine.get("key"))
        raise ResultsError(f"{again}: the fingerprint differs: {'; '.join(fields) or 'its hash'}")
    if Counter(before.expected) != Counter(now.expected):
        ids = [*(Counter(before.expected) - Counter(now.expected)), *(Counter(now.expected) - Counter(before.expected))]
        raise ResultsError(
            f"{again}: other cases are selected now ({len(now.expected)}, were {len(before.expected)}; {ids[0]} "
            "is in one selection only)"
        )


def differing(before: Any, now: Any, where: str = "") -> list[str]:
    """`name was …, is …` for each field of two nested objects that is not the same in both."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for name in sorted({*before, *now}):
            found += differing(before.get(name), now.get(name), f"{where}.{name}" if where else str(name))
        return found
    return [] if before == now else [f"{where} was {_given(before)}, is {_given(now)}"]


def _option(name: str) -> str:
    hashed = {
        "targets_sha256": "the targets file",
        "models_sha256": "what your own models and data are made from",
        "artifacts_sha256": "the files of --artifact",
    }
    return f"{hashed[name]} (its SHA-256)" if name in hashed else f"--{name}"


def _given(value: Any) -> str:
    if value is None:
        return "not given"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
