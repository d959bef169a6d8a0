"""`pressbench latest` as a person calls it: the newest of every case, from whichever run it is."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pressbench import cli
from results.store.record import UNPAIRED, CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter

pytestmark = pytest.mark.usefixtures("no_disk")


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)


def store(day: int, machine: str = "EPYC", measure: str = "speed", **speedups: float) -> str:
    """A run of that day of November."""
    run = f"202611{day:02d}T100000Z-{day:04x}"
    about = {"name": machine, "hash": machine.encode().hex(), "key": {"cpu": machine}}
    header = RunHeader(run=run, started=f"2026-11-{day:02d}T10:00:00+00:00", machine=about)
    with RunWriter(Path("results/runs"), header) as writer:
        for compressor, value in speedups.items():
            writer.write(
                CaseRecord(
                    run=run, case=f"{compressor}-m-cpu", measure=measure, compressor=compressor, model="m", task="t",
                    hardware="cpu", verdict="pass", workload="8x128", evidence={"pairs": 24},
                    measures={"speedup": Measure(value=value, low=value - 0.1, high=value + 0.1, bound=1.5)},
                )
            )  # fmt: skip
        writer.finish()
    return run


def rows(out: str) -> dict[str, dict[str, str]]:
    return {line["compressor"]: line for line in csv.DictReader(io.StringIO(out))}


def test_each_case_has_its_newest_result_and_says_of_which_run(call: Any) -> None:
    first, second = store(1, slow=1.5, fast=4.0, gone=2.0), store(2, fast=3.0)
    store(3, measure=UNPAIRED, fast=9.0)  # an imported time, which stands in no table
    code, out, err = call("latest", "--columns", "speedup,run", "--format", "csv")
    found = {name: (line["speedup"], line["run"]) for name, line in rows(out).items()}
    assert (code, err) == (0, "")
    assert found == {"slow": ("1.5", first), "fast": ("3.0", second), "gone": ("2.0", first)}


def test_a_record_of_the_same_run_is_not_taken_beside_the_newest(call: Any) -> None:
    store(1, fast=4.0)
    store(2, other=2.0)
    _, out, _ = call("latest")
    assert "4.00 [3.90, 4.10]" in out and "2.00 [1.90, 2.10]" in out
    assert "run 20261102T100000Z-0002 and 1 earlier, the first 20261101T100000Z-0001" in " ".join(out.split())


@pytest.mark.parametrize("format", ["terminal", "markdown", "latex", "csv", "json"])
def test_machines_stand_side_by_side_in_every_format(call: Any, format: str) -> None:
    store(1, fast=4.0)
    store(2, machine="Xeon", fast=3.0)
    code, out, _ = call("latest", "--format", format)
    assert code == 0
    assert "EPYC" in out and "Xeon" in out


def test_a_machine_is_chosen_by_name_or_fingerprint(call: Any) -> None:
    store(1, fast=4.0)
    store(2, machine="Xeon", fast=3.0)
    for wanted in ("Xe*", b"Xeon".hex()[:5]):
        _, out, _ = call("latest", "--machine", wanted, "--format", "json")
        assert [machine["name"] for machine in json.loads(out)["machines"]] == ["Xeon"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--columns", "sped"), "no column 'sped'; nearest: speedup"),
        (("--rows", "fats"), "no compressor or case 'fats'; nearest: fast"),
        (("--machine", "Xeno"), "no machine 'Xeno'; nearest: Xeon"),
        (("--machine", ""), "no machine ''; there are Xeon"),
        (("--runs", "nowhere"), "run `pytest benchmarks` first"),
    ],
)
def test_a_mistake_is_one_line(call: Any, arguments: tuple[str, ...], told: str) -> None:
    store(1, machine="Xeon", fast=4.0)
    code, out, err = call("latest", *arguments)
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert told in err and err.count("\n") == 1


def test_what_could_not_be_read_is_told(call: Any) -> None:
    run = store(1, fast=4.0, slow=1.5)
    path = Path(f"results/runs/{run}.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"case":"slow-m-cpu",', b""))
    code, out, err = call("latest", "--format", "csv")
    assert (code, list(rows(out))) == (0, ["fast"])
    assert f"{run}.jsonl line 3" in err and err.count("\n") == 1
