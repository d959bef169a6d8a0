"""The page that is handed over with a machine: what it says of promises and ceilings, and that it can be checked."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, write

from results.history.qualification import Criterion, Qualification
from results.report.hardware import HTML, MARKDOWN, QUALIFICATION, RECORDS, check, pages
from results.report.promises import promises, reached
from results.store.record import CaseRecord, Measure
from results.store.store import Run
from results.store.strict_json import ResultsError, encode, plain

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
HOSTILE = "<script>|\x1b[31m"
CEILINGS = {"fp32_gflop_s": 100.0, "bf16_gflop_s": 400.0, "int8_gop_s": None, "bandwidth_gb_s": 20.0}


def qualification(*, qualified: bool = True, name: str = "EPYC") -> Qualification:
    outcome = "met" if qualified else "missed"
    return Qualification(
        id="q", ended="2026-11-30T09:00:00+00:00", fingerprint="ab" * 32, hardware="cpu", hardware_class="cpu-vnni",
        qualified=qualified, tau=0.02, tau_placement=0.01, tau_contention=0.02, ceilings=CEILINGS,
        criteria=(Criterion(name="steal time", found="0.1 %", bound="2 %", outcome=outcome),),
        machine={"key": {"cpu": {"brand_raw": name}}},
    )  # fmt: skip


def timed(
    name: str, operations: dict[str, float], seconds: float, shape: str = "8x128", **more: object
) -> list[CaseRecord]:
    executed = {"operations": operations}
    speed = {"speedup": Measure(value=2.0, low=1.8, high=2.2, bound=1.5, verdict="pass"), **more}
    return [
        case(name, "speed", workload="8x128", measures=speed, evidence={"compressed_seconds": [seconds] * 5}),
        case(name, "footprint", verdict="measured", measures={"size_ratio": Measure(value=0.5)},
             evidence={"executed": executed, "memory_workload": shape}),
    ]  # fmt: skip


def lost(name: str, value: float, bound: float, verdict: str, **more: str) -> CaseRecord:
    drop = Measure(value=value, low=value - 0.01, high=value + 0.01, bound=bound, verdict=verdict)
    return case(name, measures={"accuracy": Measure(value=0.9), "accuracy_drop": drop}, verdict=verdict, **more)


CASES = [
    case("dense", role="dense", measures={"accuracy": Measure(value=0.9)}, verdict="measured"),
    lost("int8", 0.001, 0.02, "pass"),
    lost("prune", 0.05, 0.02, "fail"),
    lost("small", 0.012, 0.02, "inconclusive"),
    case("gone", verdict="error", reason="the worker died"),
    case("elsewhere", verdict="unsupported", reason="needs a GPU"),
    case("free", "footprint", verdict="measured", measures={"size_ratio": Measure(value=0.4)}),
    *timed("fp32", {"float32": 8e9}, 0.1),
    *timed("mixed", {"float32": 1e9, "bfloat16": 4e9}, 0.05),
    *timed("eight-bits", {"int8": 1e9}, 0.05),
    *timed("other-shape", {"float32": 1e9}, 0.05, "1x16"),
    *timed("decode", {}, 0.05, bandwidth_floor_share=Measure(value=0.5)),
]


def made(folder: Path, cases: list[CaseRecord], of: Qualification, *, end: bool = True) -> Path:
    run = write(folder / "runs", cases, end=end)
    shutil.copy(run.path, folder / RECORDS)
    (folder / QUALIFICATION).write_bytes(encode(plain(of.to_json())))
    found = pages(folder)
    (folder / HTML).write_text(found.html)
    (folder / MARKDOWN).write_text(found.markdown)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write(tmp_path, CASES)


def test_each_target_is_a_promise_that_was_kept_or_not(run: Run) -> None:
    found = {one.record.compressor: one.outcome for one in promises(run) if one.record.measure == "accuracy"}
    assert found == {"int8": "kept", "prune": "broken", "small": "open", "gone": "not measured"}
    assert sum(one.record.measure == "speed" for one in promises(run)) == 5
    assert not any(one.record.measure == "footprint" for one in promises(run)), "no bound was stated"


def test_a_case_is_held_against_what_the_machine_reached_with_its_types(run: Run) -> None:
    found = {one.row.first.compressor: one for one in reached(run, CEILINGS)}
    assert found["fp32"].share == pytest.approx(8e9 / 100e9 / 0.1) and found["fp32"].rate == pytest.approx(80)
    assert found["mixed"].share == pytest.approx((1 / 100 + 4 / 400) / 0.05)
    assert (found["eight-bits"].share, found["eight-bits"].why) == (None, "no ceiling was measured for int8")
    assert (found["other-shape"].share, found["other-shape"].rate) == (None, None), "counted at another shape"
    assert found["decode"].decodes and found["decode"].share == 0.5
    assert next(iter(reached(run, CEILINGS))).row.first.compressor == "fp32", "the nearest first"


def test_the_page_says_what_was_broken_and_only_a_whole_run_without_is_fit(tmp_path: Path) -> None:
    wrong = pages(made(tmp_path / "wrong", CASES, qualification()))
    assert not wrong.fit and "1 broken; 1 open; 1 not measured" in wrong.markdown
    assert "| prune-minilm-bbc-cpu | lost ≤ +2.0 points | +5.0 points \\[+4.0, +6.0\\] | broken |" in wrong.markdown
    good = [one for one in CASES if one.compressor not in ("prune", "small", "gone")]
    assert pages(made(tmp_path / "good", good, qualification())).fit
    assert "all 6 promises kept" in pages(tmp_path / "good").html
    assert not pages(made(tmp_path / "unfit", good, qualification(qualified=False))).fit
    assert not pages(made(tmp_path / "cut", good, qualification(), end=False)).fit


def test_a_model_has_one_table_however_its_records_follow(tmp_path: Path) -> None:
    cases = [lost(f"m{n}", 0.001, 0.02, "pass", model=("one", "other")[n % 2]) for n in range(4)]
    found = pages(made(tmp_path, cases, qualification())).markdown
    assert [line for line in found.splitlines() if line.startswith("### ")] == ["### one", "### other"]


def test_a_page_that_is_not_what_its_records_make_is_found(tmp_path: Path) -> None:
    folder = made(tmp_path, CASES, qualification())
    assert check(folder) == []
    html = (folder / HTML).read_text()
    (folder / HTML).write_text(html.replace("broken", "kept"))
    assert len(check(folder)) == 1 and HTML in check(folder)[0]
    (folder / HTML).write_text(html)
    records = (folder / RECORDS).read_text()
    (folder / RECORDS).write_text(records.replace("0.05", "0.01", 1))
    assert len(check(folder)) == 2, "another hash alone is another page"
    (folder / QUALIFICATION).unlink()
    with pytest.raises(ResultsError, match="cannot be read: No such file"):
        check(folder)


def test_names_are_text_in_both_forms(tmp_path: Path) -> None:
    cases = [lost(HOSTILE, 0.05, 0.02, "fail", model=HOSTILE, case=HOSTILE), *timed(HOSTILE, {"float32": 1e9}, 0.1)]
    found = pages(made(tmp_path, cases, qualification(name=HOSTILE)))
    for text in (found.html, found.markdown):
        assert "<script>" not in text and "\x1b" not in text
    rows = [line for line in found.markdown.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5}
