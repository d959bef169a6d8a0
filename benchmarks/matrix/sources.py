"""Where in a repository a case belongs: at its method's class, else at the test of its measure."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from benchmarks.matrix.cases import Case
from results.exchange.annotations import Place


def places(cases: Iterable[Case], repository: Path, suite: Path) -> dict[tuple[str, str], Place]:
    """(measure, case) -> the line of the class that compresses, or where that is not in `repository`, of the test.

    suite: the folder that `benchmarks` lies in. A case of which neither is in the repository has no place.
    """
    found = {}
    for case in cases:
        place = _of_class(type(case.compressor), repository) or _of_test(case.measure, repository, suite)
        if place:
            found[case.measure, case.id] = place
    return found


def _of_class(cls: type, repository: Path) -> Place | None:
    try:
        path, (_, line) = Path(inspect.getfile(cls)), inspect.getsourcelines(cls)
    except (OSError, TypeError):  # a class without a source
        return None
    name = _within(path, repository)
    # A virtual environment may lie in the repository; what is installed there is not part of it.
    return Place(name, max(1, line)) if name and "site-packages" not in name else None


def _of_test(measure: str, repository: Path, suite: Path) -> Place | None:
    path = suite / "benchmarks" / f"test_{measure}.py"
    name = _within(path, repository)
    if name is None:
        return None
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return Place(name, next((n for n, line in enumerate(lines, 1) if line.startswith("def test_")), 1))


def _within(path: Path, repository: Path) -> str | None:
    path, repository = path.resolve(), repository.resolve()
    return path.relative_to(repository).as_posix() if path.is_relative_to(repository) else None
