"""A machine's history must outlive a killed writer, a clock that was wrong, and a newer pressbench."""

from __future__ import annotations

import errno
import io
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from results.history.qualification import Criterion, History, Qualification, QualificationStore
from results.history.qualification_table import print_qualification
from results.store.strict_json import ResultsError

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HASH = "ab" * 32
CRITERIA = (
    Criterion(name="half-width of that interval", found="4.00%", bound="at most 2%", outcome="missed", value=0.04),
    Criterion(name="dense against dense contains 1", found="[0.9412, 1.0193]", bound="1 inside", outcome="met"),
    Criterion(name="throttling", found="cannot be read here", bound="none", outcome="unknown"),
)


def planted(number: int = 1, **changes: Any) -> Qualification:
    values: dict[str, Any] = {
        "id": f"20261122T000000Z-{number:04x}",
        "ended": (NOW - timedelta(hours=number)).isoformat(),
        "fingerprint": HASH,
        "hardware": "cpu",
        "hardware_class": "cpu-vnni",
        "qualified": False,
        "tau": 0.05,
        "tau_placement": 0.02,
        "tau_contention": 0.05,
        "criteria": CRITERIA,
        "rounds": ({"dense": [0.01, -0.01], "probes": {"bandwidth_gb_s": 20.5}},),
        "probes": {"bandwidth_gb_s": 20.5},
        "ceilings": {"fp32_gflop_s": 150.0, "int8_gop_s": None},
        "noted": {"features": ["avx2"], "threads": 2},
    }
    return Qualification(**values | changes)


@pytest.fixture
def store(tmp_path: Path) -> QualificationStore:
    return QualificationStore(tmp_path / "q")


def test_a_disk_that_takes_only_a_part_of_a_line_is_told(
    store: QualificationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def nearly_full(handle: int, data: bytes) -> int:
        if len(data) > 100:
            return write(handle, data[: len(data) - 100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        with pytest.raises(ResultsError, match=r"\.jsonl: cannot be written: No space left on device"):
            store.append(planted(2))
    store.append(planted(1))
    history = store.history(HASH)
    assert history.qualifications == (planted(1),)
    assert len(history.damaged) == 1


def test_what_is_stored_is_what_was_found(store: QualificationStore) -> None:
    first, second = planted(2), planted(1, extra={"of a newer pressbench": 1})
    store.append(first)
    store.append(second)
    history = store.history(HASH)
    assert history.qualifications == (first, second)
    assert history.damaged == ()
    assert store.path(HASH).name == f"{HASH[:16]}.jsonl"


def test_a_line_cut_short_costs_itself_and_not_the_next(store: QualificationStore) -> None:
    path = store.append(planted(2))
    with path.open("ab") as file:
        file.write(b'{"kind":"qualification","sch')
    store.append(planted(1))
    history = store.history(HASH)
    assert [q.id for q in history.qualifications] == [planted(2).id, planted(1).id]
    ((line, reason),) = history.damaged
    assert line == 2 and reason.startswith("not JSON")


DAMAGE = {
    "schema": ({"schema": 99}, "schema 99 is newer than schema 1"),
    "tau": ({"tau": -1}, "key 'tau': expected a deviation"),
    "ended": ({"ended": "yesterday"}, "key 'ended': expected a time"),
    "qualified": ({"qualified": "yes"}, "key 'qualified': expected true or false"),
    "outcome": ({"criteria": [{"name": "a", "found": "b", "bound": "c", "outcome": "d"}]}, "criteria[0].outcome"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_wrong_line_is_listed_with_its_key(store: QualificationStore, kind: str) -> None:
    change, told = DAMAGE[kind]
    path = store.append(planted())
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    history = store.history(HASH)
    assert history.qualifications == ()
    assert told in history.damaged[0][1]


def test_a_machine_without_history_has_an_empty_one(store: QualificationStore) -> None:
    assert store.history(HASH).qualifications == ()


def test_another_machine_whose_hash_begins_alike_is_another_machine(store: QualificationStore) -> None:
    store.append(planted(fingerprint=HASH[:16] + "cd" * 24))
    assert store.history(HASH).qualifications == ()


def test_the_latest_is_by_time_and_not_older_than_a_day(store: QualificationStore) -> None:
    found = (planted(1), planted(2), planted(30))
    assert History(None, found).latest(within=DAY, now=NOW) == found[0]
    assert History(None, found[2:]).latest(within=DAY, now=NOW) is None
    tomorrow = planted(3, ended=(NOW + DAY).isoformat())
    assert History(None, (tomorrow, found[1])).latest(within=DAY, now=NOW) == found[1]


@pytest.mark.skipif(os.name != "posix", reason="there is no /dev/null")
def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    store = QualificationStore(Path(os.devnull) / "x")
    for use in (store.check, lambda: store.append(planted())):
        with pytest.raises(ResultsError, match=r"/dev/null/x.*: cannot be (made|written): Not a directory"):
            use()


def test_the_table_has_a_line_a_criterion_and_holds_80_columns() -> None:
    text = io.StringIO()
    found = planted(qualified=False)
    print_qualification(found, History(None, (found,), ((3, "not JSON"),)), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    for criterion in CRITERIA:
        (line,) = [x for x in lines if criterion.name in x and "not qualified" not in x]
        assert criterion.found in line and criterion.bound in line and len(line) <= 80
    assert "fp32 150 GFLOP/s, int8 not available" in text.getvalue()
    assert "not qualified (0 s): half-width of that interval: 4.00% (at most 2%)" in text.getvalue()
    assert "line 3 could not be read: not JSON" in text.getvalue()
