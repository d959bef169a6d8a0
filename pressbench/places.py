"""Where the commands look and write unless they are told: in the current folder, and where the last run was written."""

from __future__ import annotations

import sys
from pathlib import Path

RUNS = Path("results") / "runs"
BASELINES = Path("baselines") / "accepted"
QUALIFICATIONS = Path("results") / "qualifications"


def find_run(runs: Path | None, name: str | None) -> Path:
    """The file of the run called `name`, the latest where it is None or "latest". runs: the folder to look in; without
    one, RUNS and where the last run was written. Which of the two it was is told, unless there is RUNS alone.

    Raises ResultsError as `resolve_run`."""
    from results.store.last_run import is_newer
    from results.store.store import LATEST, ResultsError, list_runs, resolve_run

    if runs is not None or (name is not None and ("/" in name or "\\" in name)):
        return resolve_run(runs or RUNS, name)
    last = _elsewhere()
    if last is None:
        return resolve_run(RUNS, name)
    here = list_runs(RUNS)
    if name is not None and (name != LATEST or any(path.stem == LATEST for path in here)):
        try:
            return resolve_run(RUNS, name)
        except ResultsError:
            try:
                found = resolve_run(last.parent, name)
            except ResultsError:
                found = None
            if found is None:
                raise
        _tell(f"run {found.stem} from {found.parent}, where the last run was written")
        return found
    if here and not is_newer(last, here[-1]):
        _tell(f"run {here[-1].stem} from {RUNS}; the one in {last.parent} is older")
        return here[-1]
    older = f"; the latest in {RUNS} is older" if here else ""
    _tell(f"run {last.stem} from {last.parent}, the last one made{older}")
    return last


def find_runs(runs: str | None) -> str:
    """The folder or URL of many runs: `runs`, else RUNS, else where the last run was written, which is told."""
    from results.store.last_run import is_newer
    from results.store.store import list_runs

    if runs is not None:
        return runs
    here, last = list_runs(RUNS), _elsewhere()
    if last is not None and not here:
        _tell(f"runs from {last.parent}, where the last one was written")
        return str(last.parent)
    if last is not None and is_newer(last, here[-1]):
        _tell(f"runs from {RUNS}; a newer one is in {last.parent} (--runs)")
    return str(RUNS)


def _elsewhere() -> Path | None:
    """The last run, where it is in another folder than RUNS. That it is gone is told once."""
    from results.store.last_run import forget, noted

    last = noted()
    if last is None or last.path.parent == RUNS.resolve():
        return None
    if not last.there:
        _tell(f"the last run was written to {last.path.parent} and is not there any more")
        forget()
        return None
    return last.path


def _tell(line: str) -> None:
    from results.store.text import shown

    print(f"pressbench: {shown(line)}", file=sys.stderr)
