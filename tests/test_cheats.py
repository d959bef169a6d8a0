"""Methods that look faster, smaller or better than they are, in a run of the matrix: none of them passes.

What is asserted is a verdict and why, never a time.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import Place, finish, record
from planted_cheats import CHEATS, METHOD, RUNTIME, TARGETS

from benchmarks.hardware import select
from results.store.store import Run, list_runs, read_run

MEMORY = ("idle", "leaky", "child")
CASES = [
    (name, measure) for name, cheat in CHEATS.items() for measure in ("accuracy", "speed") if getattr(cheat, measure)
]


@pytest.fixture(scope="module")
def cheated(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Run:
    """All of them in one run."""
    tricks = sorted({*CHEATS, *MEMORY})
    targets = TARGETS.replace("{hardware}", select("cpu").hardware_class)
    place = Place(
        tmp_path_factory.mktemp("cheats"), matrix_cache, {"cheats": METHOD.format(tricks=tricks)}, targets,
        runtimes={"planted_runtime": RUNTIME},
    )  # fmt: skip
    id_ = "benchmarks/test_{0}.py::test_{0}[cheat-{1}-vit-digits-cpu]".format
    cases = [id_(measure, name) for name, measure in [*CASES, *((name, "footprint") for name in MEMORY)]]
    chosen = [word for name in tricks for word in ("--compressor", f"cheat-{name}")]
    first, *others = cases
    done = finish(place.start("-m", "pytest", *place.command(*others, *chosen, target=first)))
    assert done.code == pytest.ExitCode.TESTS_FAILED, done.out + done.err
    (path,) = list_runs(place.folder / "results")
    return read_run(path)


@pytest.mark.parametrize(("name", "measure"), CASES)
def test_a_cheat_gets_its_verdict_and_its_reason(cheated: Run, name: str, measure: str) -> None:
    verdict, reason = getattr(CHEATS[name], measure)
    found = record(cheated, measure, f"cheat-{name}")
    assert re.fullmatch(verdict, found.verdict), found.reason
    assert re.fullmatch(reason, found.reason), found.reason


def test_what_was_compared_is_told(cheated: Run) -> None:
    found = record(cheated, "speed", "cheat-idle").evidence
    assert found["checked"]["answers"] >= 100 and found["checked"]["difference"] < 1e-3
    assert found["outside"]["compressed"]["slots"] == found["pairs"]
    steady = record(cheated, "accuracy", "cheat-idle").evidence["steadiness"]
    assert steady["asked_again"] == 16 and steady["other_company"] == 32 and steady["again"] < 1e-3


def test_memory_is_that_of_all_processes_and_growth_is_told(cheated: Run) -> None:
    idle, leaky, child = (record(cheated, "footprint", f"cheat-{name}") for name in MEMORY)
    assert child.measures["peak_memory_bytes"].value > idle.measures["peak_memory_bytes"].value + 60 * 2**20
    assert "grows" not in idle.reason
    grows = re.search(r"its memory grows by (\S+) MiB a call", leaky.reason + leaky.measures["size_ratio"].reason)
    assert grows and 0.5 < float(grows[1]) < 1.5  # of 1 MiB: what was freed before is used first
