"""The least that stages take: by what was computed and by what was timed, and nothing where that is not known."""

from __future__ import annotations

import pytest

from benchmarks.progress import Stages
from benchmarks.qualification.standing import Standing
from benchmarks.run.least import in_tenths, least

STANDING = Standing(fp32_gflop_s=100.0, bf16_gflop_s=400.0)


@pytest.fixture
def stages() -> Stages:
    found = Stages()
    with found("compress", "a student"):
        found.did({"float32": 3 * 10**11})
        with found("dense model", "its teacher"):
            found.did({"float32": 10**11})
        found.did({"bfloat16": 8 * 10**11, "float32": 10**11})
    with found("measure speed", "a student"):
        found.took(1.25)
        found.took(2.0)
    with found("evaluate", "elsewhere"):
        pass
    return found


def test_each_type_by_its_own_ceiling_and_the_innermost_stage(stages: Stages) -> None:
    assert least(stages, STANDING) == {"compress": 4.0 + 2.0, "dense model": 1.0, "measure speed": 3.25}


def test_what_has_no_ceiling_takes_no_time(stages: Stages) -> None:
    assert least(stages, Standing(fp32_gflop_s=100.0))["compress"] == 4.0
    assert least(stages, Standing()) == {"measure speed": 3.25}


def test_what_is_done_outside_of_all_stages_belongs_to_none() -> None:
    stages = Stages()
    stages.did({"float32": 1})
    stages.took(1.0)
    assert least(stages, STANDING) == {}


def test_in_tenths() -> None:
    assert in_tenths({"a": 1.26, "b": 0.04}) == {"a": 1.3, "b": 0.0}
