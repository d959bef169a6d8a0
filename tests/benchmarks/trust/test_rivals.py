"""The others' rules are theirs: their own command line agrees with what we call."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.trust.rivals import INSTALL, Asv, CompareFail, Side, _AsvCode, rivals
from compressors.interface import PressbenchError

CLOCK = """
import json, os
samples = iter(json.loads(os.environ["PLANTED"]))
now, started = 0.0, False

def clock():
    global now, started
    started = not started
    if not started:
        now += next(samples)
    return now
"""
BENCHMARK = """
def test_planted(benchmark):
    benchmark.pedantic(int, rounds=12)
"""


def run(folder: Path, samples: list[float], *options: str) -> subprocess.CompletedProcess[str]:
    """pytest-benchmark in a process of its own, whose clock gives it these samples."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={folder}"]
    command += ["--benchmark-timer=planted_clock.clock", "--benchmark-storage=file://stored", "test_it.py", *options]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PLANTED": json.dumps(samples), "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_pytest_benchmark_itself_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "planted_clock.py").write_text(CLOCK)
    (tmp_path / "test_it.py").write_text(BENCHMARK)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    rng = random.Random(4)
    old = [rng.uniform(0.9, 1.3) for _ in range(12)]
    # By the minimum nothing happened, by the median something, by the mean much.
    new = sorted(old)[:5] + [sample * 1.08 for sample in sorted(old)[5:11]] + [4.0]
    saved = run(tmp_path, old, "--benchmark-save=old", "--benchmark-save-data")
    assert saved.returncode == 0, saved.stdout + saved.stderr
    (file,) = (tmp_path / "stored").rglob("*.json")
    stats = json.loads(file.read_text())["benchmarks"][0]["stats"]
    assert stats["data"] == pytest.approx(old)

    options = [f"{field}:{limit}%" for field in ("min", "mean", "median") for limit in (5, 10)]
    compared = run(
        tmp_path, new, "--benchmark-compare", "--benchmark-json=new.json",
        "--benchmark-compare-fail", *options,  # given twice, only the last counts, whatever its help says
    )  # fmt: skip
    told = compared.stdout + compared.stderr
    assert "Performance has regressed" in told
    sides = Side(stats["data"]), Side(json.loads((tmp_path / "new.json").read_text())["benchmarks"][0]["stats"]["data"])
    for option in options:
        field, limit = option.rstrip("%").split(":")
        theirs = any(f"Field '{field}'" in line and f"> {int(limit):.9f}" in line for line in told.splitlines())
        assert CompareFail(option).alarms(*sides) == theirs, (option, told)
    assert [CompareFail(option).alarms(*sides) for option in options] == [False, False, True, True, True, False]


def test_a_percentage_is_of_the_named_field_and_of_slower_only() -> None:
    old, new = Side([1.0, 2.0, 3.0]), Side([1.04, 2.12, 4.0])
    found = {o: CompareFail(o).alarms(old, new) for o in ("min:5%", "median:5%", "median:10%", "mean:10%")}
    assert found == {"min:5%": False, "median:5%": True, "median:10%": False, "mean:10%": True}
    assert not any(CompareFail(option).alarms(new, old) for option in found)


def noisy(median: float, count: int, spread: float = 0.01) -> Side:
    rng = random.Random(round(median * 1000) + count)
    return Side([median * (1 + rng.uniform(-spread, spread)) for _ in range(count)])


def test_asv_wants_both_the_factor_and_a_difference_of_samples() -> None:
    pytest.importorskip("asv", reason=INSTALL)
    rule = Asv(1.1)
    assert rule.name == "asv, factor 1.1 (default)"
    assert rule.alarms(noisy(1.0, 40), noisy(1.2, 40))
    assert not rule.alarms(noisy(1.2, 40), noisy(1.0, 40)), "faster is no alarm"
    assert not rule.alarms(noisy(1.0, 40), noisy(1.07, 40)), "within the factor"
    assert Asv(1.05).alarms(noisy(1.0, 40), noisy(1.07, 40))
    assert not rule.alarms(noisy(1.0, 40, 0.9), noisy(1.12, 40, 0.9)), "not told from noise"


def test_asv_with_its_own_number_looks_at_no_more() -> None:
    pytest.importorskip("asv", reason=INSTALL)
    steady, late = noisy(1.0, 40), Side([*noisy(1.0, 10).samples, *noisy(2.0, 30).samples])
    assert Asv(1.1).alarms(steady, late)
    assert not Asv(1.1, 10).alarms(steady, late)


def test_asv_itself_compares_alike(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("asv", reason=INSTALL)
    from asv.commands.compare import Compare
    from asv_runner.statistics import compute_stats

    class Benchmarks(dict):  # type: ignore[type-arg]
        @classmethod
        def load(cls, _: object) -> Benchmarks:
            return cls()

    def results(side: Side) -> list[tuple[object, ...]]:
        value, stats = compute_stats(side.samples, 1)
        return [("planted", [], [value], [stats], [side.samples], None, "machine", "here")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asv.commands.compare.Benchmarks", Benchmarks)
        for old, new in ((1.0, 1.2), (1.0, 1.07), (1.2, 1.0), (1.0, 1.101)):
            sides = noisy(old, 40), noisy(new, 40)
            worse, _ = Compare.print_table(
                None, "a" * 8, "b" * 8, 1.1, False, resultset_1=results(sides[0]), resultset_2=results(sides[1])
            )
            assert Asv(1.1).alarms(*sides) == worse, (old, new)
    capsys.readouterr()


def test_all_of_them_are_there() -> None:
    pytest.importorskip("asv", reason=INSTALL)
    names = [rule.name for rule in rivals()]
    assert len(names) == len(set(names)) == 9
    assert {"pytest-benchmark `min:5%`", "pytest-benchmark `median:10%`", "asv, factor 1.1 (default)"} <= set(names)


def test_without_asv_the_install_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asv.commands", None)
    with pytest.raises(PressbenchError, match=r"pip install -c constraints.txt -e"):
        _AsvCode()
