"""A run ends with what to take: nothing wins that is not believed, and nothing is said to be within a bound that its
interval does not show."""

from __future__ import annotations

import dataclasses
import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import CONTROL, case, three, write

from results.store.record import CaseRecord, Measure
from results.store.store import Run
from results.table.answer import Answer, answers
from results.table.answer_text import print_answer
from results.table.rows import Row

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

DENSE = three("dense", (0.97, 0.0, -0.003, 0.003), (1.0, 0.95, 1.05, 0.2), 1.0, **{**CONTROL, "role": "dense"})
BF16 = three("openvino-bf16", (0.97, 0.0, -0.003, 0.003), (4.3, 3.9, 4.8, 1.0), 1.0, **CONTROL)
FAST = three("int8-openvino", (0.968, 0.002, -0.002, 0.005), (6.8, 5.6, 7.6, 1.5), 0.26)
CLOSE = three("int8-onnxruntime", (0.967, 0.003, -0.003, 0.008), (5.9, 5.3, 6.6, 1.4), 0.25)
SMALL = three("quantize-4bit", (0.966, 0.004, -0.001, 0.009), (0.9, 0.8, 1.05, 0.2), 0.13)
LOSSY = three("prune-90", (0.9, 0.07, 0.06, 0.08), (9.0, 8.5, 9.5, 2.0), 0.1)
UNSURE = three("small-and-fast", (0.969, 0.001, -0.007, 0.013), (18.0, 14.3, 20.2, 4.1), 0.09)


def unjudged(records: list[CaseRecord]) -> list[CaseRecord]:
    """As without any target."""
    return [
        dataclasses.replace(
            record,
            verdict="measured" if record.verdict == "pass" else record.verdict,
            measures={name: dataclasses.replace(m, bound=None, verdict="measured") for name, m in
                      record.measures.items()},
        )
        for record in records
    ]  # fmt: skip


def run(folder: Path, *records: list[CaseRecord], within: list[str] | None = None, **more: Any) -> Run:
    stored = write(Path(tempfile.mkdtemp(dir=folder)), [record for of in (DENSE, *records) for record in of], **more)
    header = dataclasses.replace(stored.header, options={**stored.header.options, "within": within})
    return dataclasses.replace(stored, header=header)


def one(folder: Path, *records: list[CaseRecord], **more: Any) -> Answer:
    (answer,) = answers(run(folder, *records, **more))
    return answer


def build(row: Row) -> list[str]:
    return ["pytest", "/home/me/press bench/benchmarks", "--model", "/home/me/my-model", "--data", "/home/me/a.csv",
            "--compressor", row.first.compressor, "-m", "footprint"]  # fmt: skip


def text(answer: Answer, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_answer(answer, console, build, lambda row: f"/home/me/.cache/{row.label}")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def said(answer: Answer) -> str:
    return " ".join(text(answer, 200).split())


def named(pick: Any) -> str | None:
    return pick and pick.row.label


# -- what wins -------------------------------------------------------------------------------------


def test_the_front_is_what_nothing_beats_in_drop_speed_and_size_at_once(tmp_path: Path) -> None:
    beaten = three("svd", (0.967, 0.003, -0.003, 0.008), (5.0, 4.5, 5.5, 1.1), 0.3)
    answer = one(tmp_path, BF16, FAST, CLOSE, SMALL, beaten, unjudged(LOSSY))
    assert [row.label for row in answer.front] == [
        "openvino-bf16", "int8-openvino", "int8-onnxruntime", "quantize-4bit", "prune-90",
    ]  # fmt: skip
    assert "the front, 5 of 6" in said(answer) and "openvino-bf16 (control)" in text(answer)
    assert "dense" not in {row.label for row in answer.front}


def test_fastest_smallest_and_what_to_ship(tmp_path: Path) -> None:
    """Of two that are not told apart in speed, the smaller is shipped."""
    answer = one(tmp_path, BF16, FAST, CLOSE, SMALL, unjudged(LOSSY))
    assert (named(answer.fastest), named(answer.smallest), named(answer.ship)) == (
        "int8-openvino", "quantize-4bit", "int8-onnxruntime",
    )  # fmt: skip
    told = said(answer)
    assert "fastest within 1 point: int8-openvino; not told apart from int8-onnxruntime" in told
    assert "drop +0.2 [−0.2, +0.5], speed 6.80× [5.60, 7.60], size 0.260×" in told
    assert "what I would ship: int8-onnxruntime, the smallest of the fastest" in told
    assert "/home/me/.cache/int8-onnxruntime" in told


def test_a_control_that_is_fastest_is_said_to_be(tmp_path: Path) -> None:
    answer = one(tmp_path, BF16, SMALL)
    assert named(answer.ship) == "openvino-bf16"
    assert "what I would ship: openvino-bf16 (control)" in said(answer)


def test_a_control_that_beats_it_is_named_where_it_was_not_among_the_cases(tmp_path: Path) -> None:
    told = said(one(tmp_path, three("svd", (0.97, 0.001, -0.001, 0.003), (1.5, 1.3, 1.7, 0.5), 0.6)))
    assert "uncompressed, openvino-fp32 is faster: this has 0.50× [0.46, 0.53] of its speed" in told
    assert "is faster" not in said(one(tmp_path, FAST))


def test_a_bound_holds_for_the_whole_interval(tmp_path: Path) -> None:
    answer = one(tmp_path, FAST, UNSURE)
    assert named(answer.fastest) == named(answer.smallest) == "int8-openvino"
    assert "small-and-fast is faster, 18.00× [14.30, 20.20], but within 1 point by its estimate alone, up to 1.3" in (
        said(answer)
    )
    assert named(one(tmp_path, FAST, UNSURE, within=["2pt"]).fastest) == "small-and-fast"


def test_what_is_within_by_its_estimate_alone_is_told_so_and_not_shipped(tmp_path: Path) -> None:
    answer = one(tmp_path, UNSURE, unjudged(LOSSY))
    assert named(answer.fastest) == "small-and-fast" and answer.ship is None
    told = said(answer)
    assert "within 1 point by its estimate, up to 1.3 by its interval" in told
    assert "what I would ship: the dense model as it is; nothing is shown to be within the margin" in told


def test_an_open_interval_shows_nothing(tmp_path: Path) -> None:
    open_ = [dataclasses.replace(r, measures={n: dataclasses.replace(m, high=None) for n, m in r.measures.items()})
             for r in FAST]  # fmt: skip
    answer = one(tmp_path, open_)
    assert answer.ship is None and "by its estimate, open by its interval" in said(answer)


def test_what_is_no_faster_is_shipped_for_its_size_alone(tmp_path: Path) -> None:
    answer = one(tmp_path, SMALL)
    assert named(answer.ship) == "quantize-4bit" and "none of these is surely faster than dense" in said(answer)
    slow = three("slow", (0.97, 0.001, -0.001, 0.003), (0.5, 0.4, 0.6, 0.1), 0.1)
    assert one(tmp_path, slow).ship is None


@pytest.mark.parametrize(
    ("verdicts", "left", "smallest"),
    [
        (("pass", "unqualified", "pass"), "speed not counted (unqualified): tiny", "tiny"),
        (("pass", "inconclusive", "pass"), "speed not counted (inconclusive): tiny", "tiny"),
        (("pass", "unsupported", "pass"), "speed not counted (unsupported): tiny", "tiny"),
        (("pass", "error", "pass"), "left out (speed error): tiny", "int8-openvino"),
        (("pass", "pass", "fail"), "left out (size fail): tiny", "int8-openvino"),
        (("fail", "pass", "pass"), "left out (quality fail): tiny", "int8-openvino"),
    ],
)
def test_what_is_not_believed_never_wins(
    tmp_path: Path, verdicts: tuple[str, str, str], left: str, smallest: str
) -> None:
    """A speed that does not count takes nothing from a size that does; a case that failed is out."""
    tiny = three("tiny", (0.97, 0.0, -0.001, 0.001), (99.0, 98.0, 100.0, 20.0), 0.01, verdicts=verdicts)
    answer = one(tmp_path, FAST, tiny)
    assert named(answer.fastest) == named(answer.ship) == "int8-openvino"
    assert named(answer.smallest) == smallest
    assert left in said(answer)
    assert ("tiny" in {row.label for row in answer.front}) == (smallest == "tiny")
    assert "99.00×" not in text(answer)


def test_a_case_without_a_number_of_quality_is_left_out(tmp_path: Path) -> None:
    tiny = three("tiny", (0.97, 0.0, 0, 0), (99.0, 98.0, 100.0, 20.0), 0.01)[1:]
    answer = one(tmp_path, FAST, tiny)
    assert named(answer.smallest) == "int8-openvino" and "left out (quality not measured): tiny" in said(answer)


def test_nothing_is_chosen_where_the_dense_model_is_doubted(tmp_path: Path) -> None:
    doubted = [dataclasses.replace(r, evidence={**r.evidence, "doubt": "the dense model is right on 50.0% of 500"})
               if r.measure == "accuracy" else r for r in FAST]  # fmt: skip
    answer = one(tmp_path, doubted)
    assert (answer.front, answer.fastest, answer.ship) == ((), None, None)
    told = said(answer)
    assert "no answer, as no verdict is: the dense model is right on 50.0% of 500" in told
    assert "int8-openvino" not in told


def test_speed_that_nobody_believes_is_said_and_size_still_answers(tmp_path: Path) -> None:
    noisy = [dataclasses.replace(r, verdict="unqualified") if r.measure == "speed" else r for r in (*FAST, *SMALL)]
    answer = one(tmp_path, noisy)
    told = said(answer)
    assert "fastest within 1 point: none, as no speed is believed here" in told
    assert named(answer.ship) == "quantize-4bit" and "no speed is believed here" in answer.why


def test_what_was_given_is_named_by_its_files_and_no_command_is_made_up(tmp_path: Path) -> None:
    answer, given, none = one(tmp_path, CLOSE, SMALL), io.StringIO(), io.StringIO()
    theirs = "int8-onnxruntime"
    print_answer(
        answer, Console(file=given, width=80), lambda row: [] if row.label == theirs else build(row),
        lambda row: f"/home/me/{row.label}.onnx",
    )  # fmt: skip
    told = given.getvalue()
    assert f"what I would ship: {theirs}" in told
    assert "it was given, not built here" in told
    assert "its files, as they were given:" in told and f"/home/me/{theirs}.onnx" in told
    assert f"--compressor {theirs}" not in told and f"NAME of {theirs}" not in told
    print_answer(answer, Console(file=none, width=80), lambda row: [], lambda row: None)
    assert "pytest" not in none.getvalue() and "NAME" not in none.getvalue()


def test_an_answer_takes_quality_and_something_beside_it(tmp_path: Path) -> None:
    assert answers(run(tmp_path, [r for r in FAST if r.measure == "accuracy"])) == []
    assert answers(run(tmp_path, [r for r in FAST if r.measure != "accuracy"])) == []
    assert answers(run(tmp_path)) == []
    sized = one(tmp_path, [r for r in (*FAST, *SMALL) if r.measure != "speed"])
    assert sized.fastest is None and named(sized.ship) == "quantize-4bit"
    assert "fastest" not in said(sized) and "speed-up" not in said(sized)


# -- bounds ----------------------------------------------------------------------------------------


def test_where_nothing_is_judged_one_line_says_how_to_set_a_bound(tmp_path: Path) -> None:
    line = "no target is set, so quality was not judged: --within 1pt sets a bound for a run\n"
    assert line in text(one(tmp_path, unjudged(FAST)))
    assert "no target" not in text(one(tmp_path, FAST))
    assert "no target" not in text(one(tmp_path, unjudged(FAST), within=["2pt"]))


def test_the_bound_that_all_targets_state_is_the_margin(tmp_path: Path) -> None:
    def bounded(records: list[CaseRecord], bound: float) -> list[CaseRecord]:
        return [dataclasses.replace(r, measures={n: dataclasses.replace(m, bound=bound) if n == "accuracy_drop" else m
                                                 for n, m in r.measures.items()}) for r in records]  # fmt: skip

    assert "fastest within 2 points: small-and-fast" in said(one(tmp_path, bounded(FAST, 0.02), bounded(UNSURE, 0.02)))
    assert "fastest within 1 point: int8-openvino" in said(one(tmp_path, bounded(FAST, 0.03), bounded(UNSURE, 0.02)))


def test_a_perplexity_has_its_own_unit(tmp_path: Path) -> None:
    def writer(name: str, rise: float, high: float) -> list[CaseRecord]:
        measures = {"perplexity": Measure(value=40.0), "perplexity_rise": Measure(value=rise, low=0.0, high=high)}
        _, speed, footprint = three(name, (0, 0, 0, 0), (2.0, 1.9, 2.1, 1.0), 0.3)
        return [case(name, measures=measures, verdict="measured"), speed, footprint]

    stored = run(tmp_path, writer("a", 0.04, 0.045), writer("b", 0.01, 0.06))
    (answer,) = answers(stored)
    told = said(answer)
    assert "--within 5% sets a bound" in told and "fastest within 5 % of perplexity: a" in told
    assert "rise +4.0 % [0.0, +4.5]" in told
    (tight,) = answers(run(tmp_path, writer("a", 0.04, 0.045), writer("b", 0.001, 0.002), within=["1pt", "0.5%"]))
    assert named(tight.fastest) == "b" and "within 0.5 % of perplexity" in said(tight)


def test_a_score_is_called_by_its_metric(tmp_path: Path) -> None:
    measures = {"score": Measure(value=0.4), "score_drop": Measure(value=0.002, low=0.0, high=0.004)}
    scored = case("a", measures=measures, evidence={"metric": "chrf"}, verdict="measured")
    answer = one(tmp_path, [scored, *three("a", (0, 0, 0, 0), (2.0, 1.9, 2.1, 1.0), 0.3)[1:]])
    assert "smallest within 1 point of chrF: a" in said(answer)


# -- how it is told --------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_and_commands_can_be_pasted(tmp_path: Path, width: int) -> None:
    long = three("prune-then-quantize-then-distill-with-a-very-long-suffix", (0.96, 0.36, 0.331, 0.389),
                 (18.02, 14.29, 20.18, 4.1), 0.0012, effect="storage")  # fmt: skip
    told = text(one(tmp_path, BF16, FAST, CLOSE, SMALL, unjudged(long)), width)
    assert max(map(cell_len, told.splitlines())) <= width
    pasted = re.findall(r"^    (pytest (?:.*\\\n)*.*)$", told, re.MULTILINE)
    script = "pytest() { printf '%s\\n' pytest \"$@\"; echo; }\n" + "\n".join(pasted)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    commands = [block.splitlines() for block in done.stdout.strip().split("\n\n")]
    chosen = [words[words.index("--compressor") + 1] for words in commands]
    assert chosen == ["NAME", "int8-openvino", "quantize-4bit", "int8-onnxruntime"]
    for name, words in zip(chosen[1:], commands[1:], strict=True):
        assert words == build(Row(name, None, {"accuracy": case(name)}))


def test_a_run_that_did_not_measure_all_says_so(tmp_path: Path) -> None:
    whole = run(tmp_path, FAST)
    cut = run(tmp_path, FAST, expected=(*whole.header.expected, "int4-minilm-bbc-cpu"), end=False)
    assert "from the 6 of 7 cases of the run that were executed" in said(answers(cut)[0])
    assert "of the run that were executed" not in said(answers(whole)[0])


def test_each_workload_has_its_answer(tmp_path: Path) -> None:
    other = [dataclasses.replace(FAST[1], workload="1x128", case="int8-openvino-minilm-cpu-1x128"),
             dataclasses.replace(SMALL[1], workload="1x128", case="q-minilm-cpu-1x128", measures={
                 "speedup": Measure(value=9.0, low=8.9, high=9.1)})]  # fmt: skip
    found = {answer.workload: named(answer.fastest) for answer in answers(run(tmp_path, FAST, SMALL, other))}
    assert found == {"8x128": "int8-openvino", "1x128": "quantize-4bit"}


def test_a_hostile_name_is_text(tmp_path: Path) -> None:
    told = text(one(tmp_path, three("a\x1b[2J[red]", (0.97, 0.0, -0.001, 0.001), (9.0, 8.5, 9.5, 2.0), 0.1)))
    assert "\x1b" not in told and "a\\x1b[2J[red]" in told
