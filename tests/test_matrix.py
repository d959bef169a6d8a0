"""The matrix as people run it: pytest in a process of its own, on vit-digits, which is trained once for all.

One run; what it left (records, table, JUnit, pytest-benchmark's JSON) is looked at by all tests. Nothing here asserts
a time.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import Done, Place, finish, record
from planted_methods import PLUGINS

from benchmarks.hardware import select
from benchmarks.zoo import find_model
from results.store.store import Run, list_runs, read_run

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


@pytest.fixture(scope="module")
def long(place: Place) -> Done:
    """The run."""
    options = ["--model", "vit-digits", *CHOSEN, *QUICKER]
    options += [f"--junitxml={place.folder / 'junit.xml'}", f"--benchmark-json={place.folder / 'benchmark.json'}"]
    return finish(place.start("-m", "pytest", *place.command(*options, results="long")))


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
    return place.batch({"again": [*again, "--collect-only", "-q"], "lf": lf})


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


def test_every_result_says_what_it_was_measured_on(stored: Run) -> None:
    told = {tuple(sorted(r.evidence["measured_on"].items())) for r in stored.cases if r.verdict in ("pass", "measured")}
    ((examples, metric, model),) = told
    assert [part for part, _ in (examples, metric, model)] == ["examples", "metric", "model"]
    assert all(re.fullmatch("[0-9a-f]{64}", value) for _, value in (examples, metric, model))


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
