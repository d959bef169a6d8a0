"""A declared failure is excused within its bound and its date, and no further."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.matrix.expectations import load_expectations
from compressors.interface import PressbenchError
from results.store.record import CaseRecord, Measure

CASES = {("accuracy", "prune-m-cpu"), ("speed", "prune-m-cpu"), ("footprint", "prune-m-cpu")}
TODAY = datetime.date(2026, 11, 22)


def declare(path: Path, **changes: Any) -> Path:
    entry = {
        "case": '"prune-m-cpu"',
        "measure": '"accuracy"',
        "bound": "0.05",
        "reason": '"known"',
        "expires": "2026-12-31",
    }
    lines = [f"{key} = {value}" for key, value in (entry | changes).items() if value is not None]
    (path / "expected.toml").write_text("[[expected]]\n" + "\n".join(lines), encoding="utf-8")
    return path / "expected.toml"


def failed(value: float, measure: str = "accuracy", name: str = "accuracy_drop", **more: Any) -> CaseRecord:
    fields: dict[str, Any] = {
        "run": "r", "case": "prune-m-cpu", "measure": measure, "compressor": "c", "model": "m", "hardware": "cpu",
        "verdict": "fail", "measures": {name: Measure(value=value, bound=0.02, verdict="fail")},
    }  # fmt: skip
    return CaseRecord(**(fields | more))


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (failed(0.04), "expected"),
        (failed(0.06), "worse"),
        (failed(0.04, verdict="pass"), "unexpected pass"),
        (failed(0.04, verdict="error"), None),
        (failed(0.04, verdict="inconclusive"), None),
        (failed(0.04, comparison={"outcome": "regression"}), None),
        (failed(0.04, measures={"accuracy_drop": Measure(value=0.01, verdict="pass")}), None),
    ],
)
def test_what_is_excused(tmp_path: Path, record: CaseRecord, status: str | None) -> None:
    (found,) = load_expectations(declare(tmp_path), CASES).values()
    assert found.status(record, TODAY) == status


def test_a_speed_bound_is_the_least_and_a_date_is_the_last_day(tmp_path: Path) -> None:
    (found,) = load_expectations(declare(tmp_path, measure='"speed"', bound="1.5"), CASES).values()
    assert found.status(failed(1.6, "speed", "speedup"), TODAY) == "expected"
    assert found.status(failed(1.4, "speed", "speedup"), TODAY) == "worse"
    assert found.status(failed(1.6, "speed", "speedup"), datetime.date(2026, 12, 31)) == "expected"
    assert found.status(failed(1.6, "speed", "speedup"), datetime.date(2027, 1, 1)) == "expired"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"case": '"prune-n-cpu"'}, "expected[1].case: no accuracy case 'prune-n-cpu'; did you mean prune-m-cpu?"),
        ({"reason": None}, "expected[1].reason: Field required"),
        ({"reason": '""'}, "expected[1].reason"),
        ({"expires": '"tomorrow"'}, "expected[1].expires"),
        ({"expires": None}, "expected[1].expires"),
        ({"bound": '"much"'}, "expected[1].bound"),
        ({"bound": "nan"}, "expected[1].bound"),
        ({"measure": '"speeed"'}, "unknown measure 'speeed'; did you mean speed?"),
        ({"until": "2027-01-01"}, "expected[1].until: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    path = declare(tmp_path, **changes)
    with pytest.raises(PressbenchError) as error:
        load_expectations(path, CASES)
    assert str(path) in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_case_is_declared_once(tmp_path: Path) -> None:
    path = declare(tmp_path)
    path.write_text(path.read_text() + "\n" + path.read_text())
    with pytest.raises(PressbenchError, match="declared twice"):
        load_expectations(path, CASES)


def test_no_file_declares_nothing(tmp_path: Path) -> None:
    assert load_expectations(tmp_path / "absent.toml", CASES) == {}
    (tmp_path / "bad.toml").write_text("[[expected")
    with pytest.raises(PressbenchError, match=r"bad.toml: Expected"):
        load_expectations(tmp_path / "bad.toml", CASES)
