"""`pressbench accept` and `pressbench compare`: what a reviewer sees, what a script gets, what a mistake says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pressbench import __version__, cli
from pressbench.compare import OTHER_MACHINE
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter

PRINT, OTHER = "ab" * 32, "cd" * 32


def store(
    name: str, fingerprint: str = PRINT, torch: str = "2.13.0", tau: float | None = None, **speedups: float
) -> None:
    machine = {"hash": fingerprint, "key": {"libraries": {"torch": torch}}}
    with RunWriter(Path("results/runs"), RunHeader(run=name, started="", machine=machine)) as writer:
        for case, value in speedups.items():
            measures = {"speedup": Measure(value=value, low=value * 0.98, high=value * 1.02)}
            who = {"run": name, "case": case, "compressor": case, "model": "m", "hardware": "cpu"}
            evidence = {} if tau is None else {"tau": tau}
            writer.write(CaseRecord(**who, measure="speed", verdict="pass", measures=measures, evidence=evidence))
        writer.finish()


def test_the_version_is_told_without_a_command(call: Any) -> None:
    assert call("--version")[:2] == (0, f"{__version__}\n")


def test_a_run_beside_itself_has_nothing_new(call: Any) -> None:
    store("one", fast=4.0)
    who = {"run": "two", "case": "c", "compressor": "c", "model": "m", "hardware": "cpu", "measure": "speed"}
    with RunWriter(Path("results/runs"), RunHeader(run="two", started="", machine={"hash": PRINT})) as writer:
        writer.write(CaseRecord(**who, verdict="unsupported"))
        writer.finish()
    for run in ("one", "two"):
        assert "new:" not in call("compare", run, run)[1]


def test_what_is_refused_is_not_said_to_be_the_same(call: Any) -> None:
    who = {"run": "two", "case": "c", "compressor": "c", "model": "m", "hardware": "cpu", "measure": "speed"}
    with RunWriter(Path("results/runs"), RunHeader(run="two", started="", machine={"hash": PRINT})) as writer:
        writer.write(CaseRecord(**who, verdict="error"))
        writer.finish()
    _, out, _ = call("accept", "two")
    assert "not accepted: speed of c" in out and "nothing was accepted" in out and "differs" not in out


def test_accept_shows_what_changes_and_writes_it(call: Any) -> None:
    store("one", fast=4.0, slow=1.2)
    code, out, _ = call("accept", "one", "--dry-run")
    assert (code, list(Path().glob("baselines/accepted/*"))) == (0, [])
    assert "2 results would be accepted; nothing was written" in out
    code, out, _ = call("accept", "one", "--reason", "first")
    (path,) = Path().glob("baselines/accepted/*.json")
    assert code == 0
    assert str(path) in out
    data = json.loads(path.read_text())
    assert data["cases"]["speed"]["fast"]["values"]["speedup"]["value"] == 4.0
    assert data["cases"]["speed"]["fast"]["reason"] == "first"
    store("two", fast=5.0, slow=1.2)
    _, out, _ = call("accept", "two", "fast")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("speed  ")]
    assert row == ["speed", "fast", "4", "5", "1", "6%"]
    assert "nothing to accept" in call("accept", "two", "fast")[1]


def test_a_run_of_the_same_speed_is_added_and_what_the_baseline_shows_is_told(call: Any) -> None:
    for name, value in (("one", 4.0), ("two", 4.1), ("three", 4.05)):
        store(name, tau=0.05, fast=value)
        _, out, _ = call("accept", name)
        (row,) = [line.split() for line in out.splitlines() if line.startswith("speed  ")]
        assert "τ = 0.05" in out and "machine not qualified" in out
        warned = re.search(r"warning: a slow-down below 20% would not be seen for fast: (.*)", out)
        if name == "one":
            assert row[4:] == ["1", "32%"] and warned and "no number of runs brings it to 10%" in warned[1]
    assert row[2:] == ["4.05", "4.05", "3", "20%"]
    data = json.loads(next(Path().glob("baselines/accepted/*.json")).read_text())
    assert data["cases"]["speed"]["fast"]["runs"] == {"one": 4.0, "three": 4.05, "two": 4.1}
    _, out, _ = call("accept", "two", "--anew")
    assert " 4.05  4.1     1 " in out


def test_compare_ends_with_1_where_something_regressed(call: Any) -> None:
    store("one", fast=4.0, slow=1.2, gone=2.0)
    store("two", fast=2.0, slow=1.21, came=3.0)
    call("accept", "one")
    code, out, _ = call("compare", "two")
    assert code == 1
    rows = [line.split() for line in out.splitlines() if re.match(r"\w+ +speed ", line)]
    outcomes = {case: outcome for outcome, _, case, *_ in rows}
    assert outcomes == {"fast": "regression", "slow": "unchanged", "came": "new"}
    assert "vanished: speed of gone" in out
    assert "new: speed of came" in out
    assert "-50 %" in out
    code, out, _ = call("compare", "two", "--json")
    assert code == 1
    (fast,) = [case for case in json.loads(out)["cases"] if case["case"] == "fast"]
    assert (fast["outcome"], fast["before"], fast["now"], fast["against"]) == ("regression", 4.0, 2.0, "one")
    assert call("compare", "one")[0] == 0


def test_compare_with_another_run(call: Any) -> None:
    store("one", fast=4.0)
    store("two", fast=2.0)
    assert call("compare", "two", "one")[0] == 1
    code, out, _ = call("compare", "one", "two")
    assert code == 0
    assert "improved" in out


@pytest.mark.parametrize(("first", "second"), [(0.08, 0.01), (0.01, 0.08), (None, 0.08)])
def test_compare_uses_the_larger_tau_of_the_two_runs_and_says_so(call: Any, first: float, second: float) -> None:
    store("one", tau=first, fast=4.0)
    store("two", tau=second, fast=3.2)
    code, out, _ = call("compare", "two", "one")
    assert code == 0
    assert out.split()[out.split().index("fast") - 2] == "suspect"  # by more than twice 0.08, within what it can show
    whose = f"{second:.3g} in two and {'none' if first is None else f'{first:.3g}'} in one"
    assert out.splitlines()[-1] == f"speed on cpu judged with τ = 0.08 (the larger of {whose}), machine not qualified"
    code, out, _ = call("compare", "two", "one", "--json")
    assert (code, json.loads(out)["tau"]) == (0, {"cpu": 0.08})


def test_compare_uses_the_runs_own_tau_against_the_baseline(call: Any) -> None:
    store("one", fast=4.0)
    store("two", tau=0.08, fast=3.2)
    call("accept", "one")
    code, out, _ = call("compare", "two")
    assert code == 0
    assert out.splitlines()[-1] == "speed on cpu judged with τ = 0.08 (0.08 in two), machine not qualified"


def test_without_a_tau_compare_says_that_it_had_none(call: Any) -> None:
    store("one", fast=4.0)
    store("two", fast=3.2)
    code, out, _ = call("compare", "two", "one")
    assert code == 1
    assert out.splitlines()[-1].endswith("no record has a τ")


def test_another_machine_is_not_compared_and_the_field_is_named(call: Any) -> None:
    store("one", fast=4.0)
    store("elsewhere", OTHER, torch="2.14.0", fast=2.0)
    for arguments in (("compare", "elsewhere", "one"), ("compare", "elsewhere")):
        if len(arguments) == 2:
            call("accept", "one")
        code, out, err = call(*arguments)
        assert (code, out) == (OTHER_MACHINE, "")
        assert "libraries.torch: 2.14.0, not 2.13.0" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("accept", "oen"), "no run 'oen' in results/runs; nearest: one"),
        (("accept", "one", "fsat"), "no case 'fsat' in run one"),
        (("compare", "one", "two"), "no run 'two'"),
        (("compare", "bare"), "run bare kept no fingerprint"),
        (("accept", "bare"), "run bare kept no fingerprint"),
    ],
)
def test_a_mistake_is_one_line(call: Any, arguments: tuple[str, ...], told: str) -> None:
    store("one", fast=4.0)
    store("bare", fingerprint="", fast=4.0)
    code, out, err = call(*arguments)
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert told in err
    assert err.count("\n") == 1


def test_regressions_prints_an_issue_and_ends_with_1(call: Any) -> None:
    store("one", fast=4.0)
    assert call("regressions", "one") == (0, "", "")
    with RunWriter(Path("results/runs"), RunHeader(run="two", started="")) as writer:
        who = {"run": "two", "case": "fast", "compressor": "fast", "model": "m", "hardware": "cpu", "measure": "speed"}
        writer.write(CaseRecord(**who, verdict="fail", reason="slower", comparison={"outcome": "regression"}))
        writer.finish()
    code, out, _ = call("regressions", "two")
    assert code == 1
    assert out.startswith("1 regression in run <code>two</code>")


def test_card_writes_metadata_and_a_section(call: Any) -> None:
    with RunWriter(Path("results/runs"), RunHeader(run="one", started="")) as writer:
        who = {"run": "one", "case": "fast", "compressor": "fast", "model": "m", "hardware": "cpu", "measure": "speed"}
        measures = {"speedup": Measure(value=2.0)}
        writer.write(CaseRecord(**who, verdict="pass", measures=measures, artifact="ab", workload="8x128"))
        writer.finish()
    code, out, _ = call("card", "fast", "--run", "one", "--base-model", "acme/m")
    assert code == 0
    assert out.startswith("---\nbase_model: acme/m\n")
    code, out, err = call("card", "slow")
    assert (code, out) == (cli.USAGE_ERROR, "")
    assert err == "pressbench: no case 'slow' in run one\n"
