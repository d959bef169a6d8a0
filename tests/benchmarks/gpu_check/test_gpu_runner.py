"""A check that raises, dies or hangs is its own result in one line; what comes after it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check.check import Check, Result, Setting
from benchmarks.gpu_check.command import INTERRUPTED, check_all
from benchmarks.gpu_check.runner import OVER, STOPPED, run
from compressors.interface import Hardware
from tests.benchmarks.gpu_check import planted

CPU = Setting(Hardware("cpu", "cpu-generic", threads=1))


def check(work: Callable[..., None], seconds: float = 30.0, alone: bool = True) -> Check:
    return Check(work.__name__, "Is it so?", work, seconds, alone)


def ran(checks: list[Check], seconds: float = 60.0) -> tuple[list[Result], list[int], bool]:
    told: list[int] = []
    results, stopped = run(
        checks, CPU, seconds, begins=lambda *_: None, steps=lambda _: None, ends=lambda found: told.append(len(found))
    )
    return results, told, stopped


@pytest.mark.parametrize("alone", [True, False])
def test_a_check_that_raises_is_told_in_one_line_and_the_rest_goes_on(alone: bool) -> None:
    (first, second, third), told, stopped = ran(
        [check(one, alone=alone) for one in (planted.raises, planted.misses, planted.holds)]
    )
    assert (first.kind, first.reason) == ("failed", "ValueError: first line second line")
    assert [n.name for n in first.numbers] == ["seen before"] and "planted.py" in first.detail
    assert (second.kind, second.reason) == ("failed", "error: 0.5, at most 0.25; other: nan s, at most 1")
    assert (third.kind, third.reason, third.numbers[0].value) == ("held", "", 42)
    assert told == [1, 2, 3, 3] and not stopped


def test_a_check_that_dies_or_hangs_is_told_and_the_rest_goes_on() -> None:
    checks = [
        check(planted.dies),
        check(planted.hangs, 0.5),
        check(planted.hangs, 0.5, alone=False),
        check(planted.holds),
    ]
    results, _, _ = ran(checks)
    assert [one.kind for one in results] == ["failed", "failed", "failed", "held"]
    assert "exited with code 3" in results[0].reason and "(at: the last thing)" in results[0].reason
    assert [(n.name, n.value, n.unit) for n in results[0].numbers] == [("seen before", 0.5, "s")]
    assert "no answer in 0.5 s" in results[1].reason and "not done in" in results[2].reason
    assert all("\n" not in one.reason for one in results)


def test_what_is_not_here_keeps_what_it_saw() -> None:
    (one,), _, _ = ran([check(planted.absent)])
    assert (one.kind, one.reason, len(one.numbers)) == ("not here", "needs CUDA", 1)


def test_no_check_begins_when_the_time_is_over() -> None:
    (one,), told, _ = ran([check(planted.holds)], seconds=0.0)
    assert (one.kind, one.reason, told) == ("not here", OVER, [1])


def test_ctrl_c_leaves_what_was_found(tmp_path: Path) -> None:
    checks = [check(planted.holds), check(planted.interrupts, alone=False), check(planted.holds)]
    results, _, stopped = ran(checks)
    assert stopped and [one.kind for one in results] == ["held", "not here", "not here"]
    assert results[2].reason == STOPPED
    assert check_all("cpu:1", True, 60.0, tmp_path, checks) == INTERRUPTED
    assert json.loads((tmp_path / "gpu_check.json").read_text())["checks"][0]["kind"] == "held"


def test_ceilings_are_given_to_those_after(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def reaches(setting: Setting, found: Any) -> None:
        seen.append(dict(setting.ceilings))
        found.add("bandwidth_gb_s", 16.5, "GB/s")
        found.add("fp8_gflop_s", None, "GFLOP/s")

    ran([Check(name, "", reaches, alone=False) for name in ("ceilings", "after")])
    assert seen == [{}, {"bandwidth_gb_s": 16.5}]


@pytest.mark.parametrize(("work", "code"), [(planted.holds, 0), (planted.absent, 0), (planted.raises, 1)])
def test_only_a_failure_makes_the_command_fail(work: Callable[..., None], code: int, tmp_path: Path) -> None:
    assert check_all("cpu:1", True, 60.0, tmp_path, [check(work, alone=False)]) == code
