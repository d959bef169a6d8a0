"""The newest record of every case, whichever run it is from, by machine: what `results.table.grid` makes a table of."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from results.store.machine import fingerprint_of
from results.store.query import Runs
from results.store.strict_json import ResultsError
from results.store.text import shown
from results.table.columns import nearest
from results.table.machines import Machine, machines


def newest(runs: Runs, on: Sequence[str] = ()) -> list[Machine]:
    """The machines of all runs, each with its newest records.

    on: shell patterns on a machine's name, or beginnings of its fingerprint; all machines where empty. Raises
    ResultsError for one that is of no machine, with the nearest names.
    """
    every = machines(runs.latest_runs(), whole=False)
    for pattern in on:
        if not any(_is(machine, pattern) for machine in every):
            known = nearest(pattern, [machine.name for machine in every])
            raise ResultsError(f"no machine {shown(pattern)!r}; {known}")
    return [machine for machine in every if not on or any(_is(machine, pattern) for pattern in on)]


def _is(machine: Machine, pattern: str) -> bool:
    fingerprint, _ = fingerprint_of(machine.runs[-1])
    return fnmatch.fnmatchcase(machine.name, pattern) or (bool(pattern) and (fingerprint or "").startswith(pattern))
