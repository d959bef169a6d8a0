"""`pressbench qualify` as a person runs it, once for real; nothing here asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.qualification.suite import run_suite
from compressors.interface import PressbenchError
from pressbench.cli import main
from results.history.qualification import Qualification, QualificationStore
from results.report.hardware import HTML, MARKDOWN, RECORDS, check, pages
from results.report.promises import reached
from results.store.store import read_run
from results.store.strict_json import encode, plain

ROOT = Path(__file__).parents[1]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pressbench.cli", "qualify", *options]
    return subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=300)


def test_a_real_quick_qualification_is_stored_as_it_is_told(tmp_path: Path) -> None:
    done = run("--quick", "--json", "--qualifications", str(tmp_path / "q"))
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["qualified"] else 1), done.stderr
    assert "Traceback" not in done.stderr
    assert found["quick"] is True
    assert found["tau"] == max(found["tau_placement"], found["tau_contention"])
    assert 3 <= len(found["rounds"]) <= 5  # fewer where the machine is too busy
    assert all(value > 0 for value in found["probes"].values())
    assert found["ceilings"]["fp32_gflop_s"] > 0 and found["ceilings"]["bandwidth_gb_s"] > 0
    names = [criterion["name"] for criterion in found["criteria"]]
    assert len(names) == len(set(names)) >= 9
    assert found["qualified"] == all(c["outcome"] != "missed" for c in found["criteria"])
    (stored,) = QualificationStore(tmp_path / "q").history(found["fingerprint"]).qualifications
    assert plain(stored.to_json()) == found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--hardware", "cqu"), "pressbench: unknown hardware 'cqu' on this machine; did you mean cpu"),
        (("--quick", "--suite", "x"), "pressbench: --suite: needs the whole qualification, without --quick"),
        (("--model", "vit-digits"), "pressbench: --model: only with --suite"),
        (("--suite", str(ROOT / "docs")), f"pressbench: --suite {ROOT / 'docs'}: is not empty; name a new folder"),
        (("--check", "/nowhere"), "pressbench: /nowhere/records.jsonl: "),
        (("--qualifications", f"{os.devnull}/x"), f"pressbench: {os.devnull}/x: cannot be made: Not a directory"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    options: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pressbench", "qualify", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


def test_the_suite_leaves_records_that_a_page_is_made_of(
    tmp_path: Path, matrix_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model and no method: the run is a real one, and nothing is promised of it."""
    monkeypatch.setenv("PRESSBENCH_CACHE", str(matrix_cache))
    found = Qualification(
        id="q", ended="2026-11-30T09:00:00+00:00", fingerprint="ab" * 32, hardware="cpu", hardware_class="cpu-avx2",
        qualified=True, tau=0.02, tau_placement=0.01, tau_contention=0.02, ceilings={"fp32_gflop_s": 1e6},
    )  # fmt: skip
    folder, kept = tmp_path / "page", tmp_path / "q"
    folder.mkdir()
    line = encode(plain(found.to_json()))
    run_suite(folder, "cpu", kept, line, seed=0, models=["vit-digits"], compressors=["dense"])
    stored = read_run(folder / RECORDS)
    assert {record.case for record in stored.cases} == {"dense-vit-digits-cpu"} and len(stored.cases) == 3
    made = pages(folder)
    assert made.fit and "| vit-digits, dense, 32 |" in made.markdown
    (near,) = reached(stored, found.ceilings)
    assert near.share and near.share < 1e-2, "a small part of a ceiling that no CPU has"
    (folder / HTML).write_text(made.html)
    (folder / MARKDOWN).write_text(made.markdown)
    assert check(folder) == []


def test_a_suite_that_does_not_run_to_its_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        PressbenchError, match=r"the run of the suite ended with exit code 4; what it wrote is in .*runs"
    ):
        run_suite(tmp_path, "cpu", tmp_path / "q", b"{}\n", seed=0, models=["no-such-model"])
    assert not (tmp_path / RECORDS).exists()
