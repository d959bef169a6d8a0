"""The matrix as people run it: pytest in a process of its own, on vit-digits, which is trained once for all.

The one long run is started first and works beside the tests of listings and mistakes; what it left (records,
table, JUnit, pytest-benchmark's JSON) is looked at by the tests after them. Nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import ROOT, WAIT, Done, Place, finish, record
from planted_methods import PLUGINS

from benchmarks.hardware import select
from benchmarks.zoo import find_model
from results import baseline
from results.store import Run, list_runs, read_run

BF16 = bool(select("cpu").features & {"bf16", "amx"})

# -- what is run -----------------------------------------------------------------------------------

TARGETS = f"""
[vit-digits.int8-openvino]
accuracy_drop = 0.05
size = 0.9
speed = {{ {select("cpu").hardware_class} = 1000 }}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Place:
    return Place(tmp_path_factory.mktemp("matrix"), matrix_cache, PLUGINS, TARGETS)


COMPRESSORS = ("int8-openvino", "torch-bf16", "prune-vocabulary", "planted-crash", "planted-idle")
CHOSEN = [word for name in COMPRESSORS for word in ("--compressor", name)]
QUICKER = [
    f"--deselect=benchmarks/test_speed.py::test_speed[{n}-vit-digits-cpu]" for n in ("torch-bf16", "planted-idle")
]


@pytest.fixture(scope="module", autouse=True)
def started(place: Place) -> Iterator[subprocess.Popen[str]]:
    """The long run, under way."""
    options = ["--model", "vit-digits", *CHOSEN, *QUICKER]
    options += [f"--junitxml={place.folder / 'junit.xml'}", f"--benchmark-json={place.folder / 'benchmark.json'}"]
    process = place.start("-m", "pytest", *place.command(*options, results="long"))
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


# -- listings and mistakes -------------------------------------------------------------------------

MISTAKES = {
    "model": (["--model", "vit-digit"], "unknown model 'vit-digit'; did you mean vit-digits?"),
    "compressor": (["--compressor", "int8-opnvino"], "unknown compressor 'int8-opnvino'; did you mean int8-openvino"),
    "parameter": (["--compressor", "int8-openvino:sample=3"], "compressor 'int8-openvino' has no parameter 'sample'"),
    "value": (
        ["--compressor", "prune-magnitude:sparsity=abc"],
        "compressor 'prune-magnitude': sparsity is \"abc\", must be a number",
    ),
    "refused": (["--compressor", "prune-magnitude:sparsity=7"], "compressor 'prune-magnitude': sparsity = 7: must lie"),
    "hardware": (["--hardware", "cqu"], "unknown hardware 'cqu' on this machine; did you mean cpu"),
    "tier": (["--tier", "nigthly"], "unknown tier 'nigthly'; did you mean nightly?"),
    "targets": (["--targets", "nowhere.toml"], "nowhere.toml: not found"),
    "twice": (["--hardware", "cpu", "--hardware", "cpu"], "two cases are called "),
}
CASE = "benchmarks/test_footprint.py::test_footprint[dense-vit-digits-cpu]"


@pytest.fixture(scope="module")
def short(place: Place, started: object) -> dict[str, Done]:
    """The short runs by name."""
    runs = {
        "int8": place.command("--collect-only", "-q", "-k", "int8"),
        "speed": place.command("--collect-only", "-q", "-m", "speed", "--tier", "nightly", "--model", "vit-digits"),
        "unwritable": place.command("--results", f"{os.devnull}/x", target=CASE),
    }
    for name, (options, _) in MISTAKES.items():
        runs[name] = place.command(*options)
        runs[f"{name} of one case"] = place.command(*options, target=CASE)
    return place.batch(runs)


def test_a_listing_has_every_measure_under_one_id(short: dict[str, Done]) -> None:
    done = short["int8"]
    assert done.code == 0
    for model in ("minilm-bbc", "vit-digits"):
        for measure in ("accuracy", "footprint", "speed"):
            assert f"benchmarks/test_{measure}.py::test_{measure}[int8-openvino-{model}-cpu]" in done.ids
    assert all("int8" in line for line in done.ids)
    # With -q there is no header, and a plugin that is not there must be told all the same.
    assert "pressbench: plugin planted_broken = planted_broken could not be used: RuntimeError: built for" in done.out


def test_marks_and_options_select(short: dict[str, Done]) -> None:
    done = short["speed"]
    assert done.code == 0
    assert done.ids
    assert all(line.startswith("benchmarks/test_speed.py::test_speed[") for line in done.ids)
    assert not any("minilm" in line for line in done.ids)
    workloads = {line.partition("[dense-vit-digits-cpu")[2] for line in done.ids if "[dense-" in line}
    assert workloads == {"]", *(f"-{w.name}]" for w in find_model("vit-digits").nightly_workloads)}
    assert any("planted-crash" in line for line in done.ids)


@pytest.mark.parametrize("where", ["", " of one case"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_4(short: dict[str, Done], mistake: str, where: str) -> None:
    done = short[mistake + where]
    assert done.code == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.err.splitlines() if line]
    assert line.startswith(f"ERROR: {MISTAKES[mistake][1]}")
    assert "Traceback" not in done.out
    assert "conftest.py:" not in done.out


def test_results_that_cannot_be_written_are_one_line(short: dict[str, Done]) -> None:
    done = short["unwritable"]
    assert done.code == pytest.ExitCode.USAGE_ERROR
    assert f"{os.devnull}/x: cannot be made: Not a directory" in done.out + done.err
    assert "Traceback" not in done.out + done.err


def test_listings_and_mistakes_leave_no_results(place: Place, short: dict[str, Done]) -> None:
    assert not (place.folder / "results").exists()


# -- the long run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(started: subprocess.Popen[str]) -> Done:
    return finish(started)


@pytest.fixture(scope="module")
def stored(place: Place, long: Done) -> Run:
    (path,) = list_runs(place.folder / "long")
    return read_run(path)


def test_every_case_has_a_record_and_the_verdict_it_deserves(long: Done, stored: Run) -> None:
    control = "measured" if BF16 else "unsupported"
    verdicts = {(r.compressor, r.measure): r.verdict for r in stored.cases}
    assert verdicts == {
        ("torch-bf16", "accuracy"): control,
        ("torch-bf16", "footprint"): control,
        ("int8-openvino", "accuracy"): "pass",
        ("int8-openvino", "footprint"): "pass",
        ("int8-openvino", "speed"): "fail",
        ("prune-vocabulary", "accuracy"): "unsupported",
        ("prune-vocabulary", "footprint"): "unsupported",
        ("prune-vocabulary", "speed"): "unsupported",
        ("planted-crash", "accuracy"): "error",
        ("planted-crash", "footprint"): "error",
        ("planted-crash", "speed"): "error",
        ("planted-idle", "accuracy"): "measured",
        ("planted-idle", "footprint"): "fail",
    }, long.out[-3000:]
    assert long.code == pytest.ExitCode.TESTS_FAILED


def test_the_run_ended_and_counted_itself(stored: Run) -> None:
    assert stored.end is not None
    assert stored.damaged == ()
    assert stored.end.expected == stored.end.executed == len(stored.cases) == len(stored.header.expected) == 13
    assert stored.end.counts["error"] == 3
    assert stored.header.options["model"] == ["vit-digits"]
    assert {r.fingerprint for r in stored.cases} == {stored.cases[0].fingerprint}


def test_pytests_own_summary_counts_verdicts(long: Done) -> None:
    last = long.out.splitlines()[-1]
    assert "5 failed" in last
    assert "2 passed" in last
    assert f"{3 if BF16 else 5} unsupported" in last
    assert f"{3 if BF16 else 1} measured" in last


def test_the_table_is_printed_and_written(long: Done, stored: Run) -> None:
    table = long.out[long.out.index(" pressbench ") :]
    for word in ("int8-openvino", "prune-vocabulary", "✗ fail", "✓ pass", "! error", "○ unsupported"):
        assert word in table
    assert "executed 13 of 13: 2 pass, 2 fail, 3 error" in " ".join(table.split())
    assert "interrupted" not in table
    markdown = stored.path.with_suffix(".md")
    assert "int8-openvino" in markdown.read_text(encoding="utf-8")
    assert f"records: {stored.path}" in table


def missed(long: Done) -> tuple[str, list[str]]:
    """What is said of the target that was missed, and the command that shows it again."""
    told = r"^(speed of int8-openvino-vit-digits-cpu: .*)\nto reproduce: (.*)$"
    ((message, command),) = re.findall(told, long.out, re.MULTILINE)
    return message, shlex.split(command)


@pytest.fixture(scope="module")
def afterwards(place: Place, long: Done) -> dict[str, Done]:
    """What can be listed once the long run has failed."""
    _, (_, *again) = missed(long)
    lf = place.command("--model", "vit-digits", *CHOSEN, "--collect-only", "-q", "--lf")
    (path,) = list_runs(place.folder / "long")
    accepted, _, _ = baseline.propose(read_run(path), None, [], when="2026-11-22", reason="")
    baseline.save(accepted, place.folder / "accepted")
    key = ("footprint", "int8-openvino-vit-digits-cpu")
    was = accepted.cases[key]
    better = {"size_ratio": {"value": 0.9 * float(was.value("size_ratio") or 0), "low": None, "high": None}}
    cases = {**accepted.cases, key: replace(was, values=better), ("speed", "gone-vit-digits-cpu"): was}
    baseline.save(replace(accepted, cases=cases), place.folder / "better")
    (place.folder / "small.toml").write_text("[vit-digits.int8-openvino]\nsize = 0.1\n")
    declared = '[[expected]]\ncase = "{}"\nmeasure = "footprint"\nreason = "known"\nbound = 0.9\nexpires = {}\n'
    for name, day in (("declared", "2999-12-31"), ("expired", "2020-01-01")):
        (place.folder / f"{name}.toml").write_text(declared.format(key[1], day))
    one = ["--model", "vit-digits", "--compressor", "int8-openvino", "-m", "footprint"]

    def footprint(name: str, accepted: str = "accepted", *more: str) -> list[str]:
        return place.command(*one, "--baselines", str(place.folder / accepted), *more, results=name)

    small = ["--targets", str(place.folder / "small.toml"), "--expected"]
    return place.batch(
        {
            "again": [*again, "--collect-only", "-q"],
            "lf": lf,
            "same": footprint("same"),
            "regression": footprint("regression", "better", f"--junitxml={place.folder / 'regression.xml'}"),
            "required": footprint("required", "accepted", "--require", "5"),
            "declared": footprint("declared", "accepted", *small, str(place.folder / "declared.toml")),
            "expired": footprint("expired", "accepted", *small, str(place.folder / "expired.toml")),
            "passes": footprint("passes", "accepted", "--expected", str(place.folder / "declared.toml")),
        },
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(place.folder / "summary.md"),
        GITHUB_WORKSPACE=str(ROOT),
    )


def test_a_run_is_compared_with_what_was_accepted(afterwards: dict[str, Done], place: Place) -> None:
    done = afterwards["same"]
    assert done.code == 0, done.out
    assert "compared: 1 unchanged" in done.out
    (path,) = list_runs(place.folder / "same")
    assert read_run(path).cases[0].comparison["outcome"] == "unchanged"


def test_a_regression_fails_the_test_and_reaches_junit(afterwards: dict[str, Done], place: Place) -> None:
    done = afterwards["regression"]
    assert done.code == pytest.ExitCode.TESTS_FAILED
    assert "regression: footprint of int8-openvino-vit-digits-cpu: size " in done.out
    assert "vanished: speed of gone-vit-digits-cpu" in done.out
    (case,) = ElementTree.parse(place.folder / "regression.xml").getroot().iter("testcase")
    (failure,) = case.iter("failure")
    assert re.search(
        r"regression: size [\d.]+ of the dense file, accepted [\d.]+: \+11.11%", failure.get("message", "")
    )
    assert "\nto reproduce: pytest " in str(failure.text)
    (path,) = list_runs(place.folder / "regression")
    (found,) = read_run(path).cases
    assert (found.verdict, found.measures["size_ratio"].verdict) == ("fail", "pass")


def test_github_is_told_where_it_asks_and_nowhere_else(afterwards: dict[str, Done], place: Place, long: Done) -> None:
    (command,) = [line for line in afterwards["regression"].out.splitlines() if line.startswith("::")]
    where = r"file=compressors/quantization/int8_openvino.py,line=\d+,title=fail%3A footprint of "
    assert re.match(f"::error {where}", command)
    assert "regression: size" in command
    summary = (place.folder / "summary.md").read_text(encoding="utf-8")
    runs = re.findall(r"^## (.*)$", summary, re.MULTILINE)
    assert runs.count("✗ pressbench: 1 regression") == 1
    assert len(runs) == 6
    assert "vanished: speed of gone-vit-digits-cpu" in summary
    assert "**required: 5 cases, executed 1**" in summary
    assert not [line for line in long.out.splitlines() if line.startswith("::")]


def test_too_few_cases_have_an_exit_code_of_their_own(afterwards: dict[str, Done]) -> None:
    assert afterwards["required"].code == 10
    assert "required: 5 cases, executed 1" in afterwards["required"].out


def test_a_declared_failure_is_excused_until_its_date(afterwards: dict[str, Done]) -> None:
    assert afterwards["declared"].code == 0, afterwards["declared"].out
    assert "1 xfailed" in afterwards["declared"].out
    assert afterwards["expired"].code == pytest.ExitCode.TESTS_FAILED
    assert "its declaration as a failure has expired (known, up to 0.9, until 2020-01-01)" in afterwards["expired"].out
    assert afterwards["passes"].code == 0
    assert "passes although its failure is declared" in afterwards["passes"].out


def test_a_missed_target_says_number_interval_bound_and_how_to_see_it_again(
    place: Place, long: Done, stored: Run, afterwards: dict[str, Done]
) -> None:
    message, (program, *command) = missed(long)
    told = re.search(r"speed-up ([\d.]+)x \[([\d.]+), ([\d.]+)\], target 1000x, (\d+) pairs, decided at \d+", message)
    assert told, message
    measure = record(stored, "speed", "int8-openvino").measures["speedup"]
    assert float(told[1]) == pytest.approx(measure.value, rel=1e-3)
    assert float(told[2]) == pytest.approx(measure.low, rel=1e-3)
    assert float(told[3]) == pytest.approx(measure.high, rel=1e-3)
    assert program == "pytest"
    assert command[0] == "benchmarks/test_speed.py::test_speed[int8-openvino-vit-digits-cpu]"
    assert command[command.index("--targets") + 1] == str(place.targets)
    assert afterwards["again"].ids == [command[0]]


def test_a_speed_record_says_where_tau_came_from_and_how_the_machine_was(place: Place, stored: Run) -> None:
    evidence = record(stored, "speed", "int8-openvino").evidence
    assert (evidence["tau"], evidence["tau_source"]) == (0.0, "option --tau")
    assert (evidence["qualified"], evidence["unqualified_ok"]) == (False, True)
    conditions = evidence["conditions"]
    assert len(conditions["probes"]) == 2 and all(value > 0 for p in conditions["probes"] for value in p.values())
    assert evidence["contended"] == bool(conditions["faults"])
    assert not (place.folder / "qualifications").exists()


def test_a_failure_is_its_message_and_nothing_of_ours(long: Done, stored: Run) -> None:
    failures = re.split(r"^_{3,} test_.* _{3,}$", long.out.partition(" FAILURES ")[2], flags=re.MULTILINE)[1:]
    assert len(failures) == 5
    for text in failures:
        told, command, *_ = text.strip().splitlines()
        assert re.fullmatch(r"(accuracy|footprint|speed) of \S+-vit-digits-cpu: .*", told)
        assert command.startswith('to reproduce: pytest "benchmarks/test_')
    assert "CaseRecord(" not in long.out
    assert "conftest.py" not in long.out
    for found in stored.cases:
        if found.verdict in ("fail", "error"):
            assert f" - Failed: {found.measure} of {found.case}"[:30] in long.out.partition("short test summary")[2]


def test_a_method_that_does_nothing_is_found_out(long: Done, stored: Run) -> None:
    reason = record(stored, "footprint", "planted-idle").reason
    assert reason.startswith("storage effect not witnessed: the artifact is 1.0")
    assert f"footprint of planted-idle-vit-digits-cpu: {reason}\nto reproduce: pytest" in long.out


def test_a_method_that_crashes_is_an_error_and_its_noise_stays_away(long: Done, stored: Run) -> None:
    for measure in ("accuracy", "footprint", "speed"):
        found = record(stored, measure, "planted-crash")
        assert found.reason == "planted-crash on vit-digits: the process was ended by SIGSEGV"
        assert "GARBAGE" in found.evidence["detail"]
    assert "GARBAGE" not in long.out + long.err
    assert not re.search("Warning|[1-9] warning|Traceback|leaked", long.out + long.err)


def test_a_plugin_that_cannot_be_imported_is_told_in_the_header(long: Done) -> None:
    header = long.out.partition("collected ")[0]
    assert "pressbench: plugin planted_broken = planted_broken could not be used: RuntimeError: built for" in header


def test_junit_has_verdicts_and_reasons(place: Place, stored: Run) -> None:
    found = {c.get("name"): c for c in ElementTree.parse(place.folder / "junit.xml").iter("testcase")}
    assert len(found) == len(stored.cases)
    for case in stored.cases:
        element = found[f"test_{case.measure}[{case.case}]"]
        properties = {p.get("name"): p.get("value") for p in element.iter("property")}
        assert properties == {"verdict": case.verdict, "reason": case.reason}
        skipped, failure = element.find("skipped"), element.find("failure")
        assert (failure is not None) == (case.verdict in ("fail", "error"))
        assert (skipped is not None) == (case.verdict == "unsupported")
        if skipped is not None:
            assert skipped.get("message") == f"unsupported: {case.reason}"
        if failure is not None:
            assert f"{case.measure} of {case.case}: {case.reason}" in str(failure.get("message"))
            assert "\nto reproduce: pytest " in str(failure.text)


def test_pytest_benchmark_has_the_samples(place: Place, stored: Run) -> None:
    (found,) = json.loads((place.folder / "benchmark.json").read_text())["benchmarks"]
    evidence = record(stored, "speed", "int8-openvino").evidence
    assert found["name"] == "int8-openvino"
    assert found["group"] == "vit-digits 32 on cpu"
    assert found["stats"]["data"] == pytest.approx(evidence["compressed_seconds"], rel=1e-6)
    assert found["stats"]["rounds"] == evidence["pairs"] == len(evidence["orders"])
    assert found["extra_info"]["dense_seconds"] == pytest.approx(evidence["dense_seconds"])
    assert found["extra_info"]["verdict"] == "fail"
    assert found["extra_info"]["speedup"]["bound"] == 1000


def test_accuracy_is_stored_for_every_example(stored: Run) -> None:
    found = record(stored, "accuracy", "int8-openvino")
    evidence, examples = found.evidence, find_model("vit-digits").task.test_examples
    assert [len(evidence[name]) for name in ("predictions", "dense_predictions", "labels")] == [examples] * 3
    correct = [p == label for p, label in zip(evidence["predictions"], evidence["labels"], strict=True)]
    assert found.measures["accuracy"].value == pytest.approx(sum(correct) / examples)
    dense = [p == label for p, label in zip(evidence["dense_predictions"], evidence["labels"], strict=True)]
    assert sum(dense) / examples > 0.9, "the dense model has learned nothing, drops from it mean nothing"
    drop = (sum(dense) - sum(correct)) / examples
    assert found.measures["accuracy_drop"].value == pytest.approx(drop)
    assert evidence["task_type"] == "image-classification"


def test_last_failed_is_what_failed(stored: Run, afterwards: dict[str, Done]) -> None:
    failed = [r for r in stored.cases if r.verdict in ("fail", "error")]
    assert sorted(afterwards["lf"].ids) == sorted(
        f"benchmarks/test_{r.measure}.py::test_{r.measure}[{r.case}]" for r in failed
    )


# -- interrupted -----------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing_running(place: Place, long: Done) -> None:
    options = ["--model", "vit-digits", "--compressor", "dense", "--compressor", "planted-slow"]
    process = place.start("-m", "pytest", *place.command(*options, results="interrupted"))
    begun, deadline = place.folder / "started", time.monotonic() + WAIT
    while not (begun.exists() and begun.read_text()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    done = finish(process)
    assert done.code == pytest.ExitCode.INTERRUPTED, done.out + done.err
    (path,) = list_runs(place.folder / "interrupted")
    found = read_run(path)
    assert [(r.case, r.measure, r.verdict) for r in found.cases] == [("dense-vit-digits-cpu", "accuracy", "measured")]
    assert found.end is None
    assert len(found.header.expected) == 6
    shown = " ".join(done.out[done.out.index(" pressbench ") :].split())
    assert "interrupted: 1 of 6 cases" in shown
    with pytest.raises(ProcessLookupError):  # the method sleeps no more
        os.kill(int(begun.read_text()), 0)
    assert not list(place.cache.rglob(".building-*"))
    assert not re.search("Warning|[1-9] warning|Traceback|leaked", done.out + done.err)
