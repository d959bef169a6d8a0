"""`pressbench qualify` as a person runs it, once for real; nothing here asserts a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pressbench.cli import main
from results.history.qualification import QualificationStore
from results.store.strict_json import plain

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
    names = [criterion["name"] for criterion in found["criteria"]]
    assert len(names) == len(set(names)) >= 9
    assert found["qualified"] == all(c["outcome"] != "missed" for c in found["criteria"])
    (stored,) = QualificationStore(tmp_path / "q").history(found["fingerprint"]).qualifications
    assert plain(stored.to_json()) == found


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--hardware", "cqu"), "pressbench: unknown hardware 'cqu' on this machine; did you mean cpu"),
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
