"""The page and the file say what was not here, what failed and every number, and nothing that JSON cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu_check.check import Number, Result
from benchmarks.gpu_check.page import page, shown, write

MACHINE = {"name": "a GPU", "hardware_class": "cuda-sm90", "versions": {"torch": "2.11.0", "driver": None}}
RESULTS = [
    Result(
        "flush", "Is it emptied?", "held", "", (Number("in a loop", 1.25e-6, "s"), Number("odd", float("nan"))), 2.0
    ),
    Result("energy", "How many joules?", "not here", "NVML's counter | does not move", (), 0.1),
    Result("kernel 2:4", "Is it right?", "failed", "RuntimeError: no kernel", (), 1.0, "Traceback"),
]


def test_what_was_not_here_and_what_failed_is_told_with_its_reason() -> None:
    text = page(MACHINE, RESULTS)
    assert "3 checks: 1 held, 1 failed, 1 not here." in text
    absent = text.split("## Not here")[1].split("## Numbers")[0]
    assert "- energy: NVML's counter | does not move" in absent and "flush" not in absent
    assert "- kernel 2:4: RuntimeError: no kernel" in text.split("## Failed")[1].split("## Not here")[0]
    assert "| in a loop | 1.25 µs |" in text
    row = next(line for line in text.splitlines() if line.startswith("| energy"))
    assert row.replace("\\|", "").count("|") == 6, "a bar in a reason is no column"


def test_the_file_is_strict_json(tmp_path: Path) -> None:
    write(tmp_path / "new", MACHINE, RESULTS)
    data = json.loads((tmp_path / "new" / "gpu_check.json").read_text(), parse_constant=pytest.fail)
    assert data["counts"] == {"held": 1, "failed": 1, "not here": 1}
    assert data["checks"][0]["numbers"][0] == {"name": "in a loop", "value": 1.25e-6, "unit": "s"}
    assert data["checks"][0]["numbers"][1]["value"] is None
    assert data["checks"][2]["detail"] == "Traceback"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"), (2.5, "s", "2.5 s"), (3 * 2**30, "bytes", "3 GiB"), (100, "bytes", "100 bytes"),
        (None, "W", "not known"), ("580.1", "", "580.1"), (4096, "", "4,096"), (0.123456, "", "0.1235"),
        (0.0, "s", "0 s"), (123456.7, "GFLOP/s", "123,457 GFLOP/s"),
    ],
)  # fmt: skip
def test_a_number_is_shown_as_people_read_it(value: object, unit: str, text: str) -> None:
    assert shown(Number("it", value, unit)) == text  # type: ignore[arg-type]
