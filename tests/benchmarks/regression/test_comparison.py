"""Quality and size are compared on the very same, and a stored run with what its own machine accepted."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from compared_records import CASE, TAU, again, known, outcome, speed

from benchmarks.regression import comparison
from benchmarks.regression.comparison import Reference, compare, compare_run
from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.baseline_file import read, save
from results.history.history import History
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.store import Run


def size(value: float) -> CaseRecord:
    return CaseRecord(
        run="r", case=CASE, measure="footprint", compressor="c", model="m", hardware="cpu", verdict="pass",
        measures={"size_ratio": Measure(value=value)},
    )  # fmt: skip


def accuracy(right: list[bool]) -> CaseRecord:
    return CaseRecord(
        run="r", case=CASE, measure="accuracy", compressor="c", model="m", hardware="cpu", verdict="pass",
        measures={"accuracy": Measure(value=sum(right) / len(right))},
        evidence={"predictions": [int(r) for r in right], "labels": [1] * len(right)},
    )  # fmt: skip


def perplexity(nll: np.ndarray, tokens: int = 100) -> CaseRecord:
    return CaseRecord(
        run="r", case=CASE, measure="accuracy", compressor="c", model="m", hardware="cpu", verdict="pass",
        measures={"perplexity": Measure(value=math.exp(nll.sum() / (tokens * len(nll))))},
        evidence={"nll": nll.tolist(), "tokens": [tokens] * len(nll)},
    )  # fmt: skip


def words(right: np.ndarray, words: np.ndarray) -> CaseRecord:
    return CaseRecord(
        run="r", case=CASE, measure="accuracy", compressor="c", model="m", hardware="cpu", verdict="pass",
        measures={"accuracy": Measure(value=right.sum() / words.sum())},
        evidence={"right": right.tolist(), "words": words.tolist()},
    )  # fmt: skip


def texts(scores: np.ndarray, metric: str = "chrf", characters: int = 40) -> CaseRecord:
    return CaseRecord(
        run="r", case=CASE, measure="accuracy", compressor="c", model="m", hardware="cpu", verdict="pass",
        measures={"score": Measure(value=float(scores.mean()))},
        evidence={"metric": metric, metric: scores.tolist(), "characters": [characters] * len(scores)},
    )  # fmt: skip


# -- on the same examples --------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "wanted"), [(1.0, "unchanged"), (1.02, "regression"), (0.98, "improved")])
def test_perplexity_is_compared_on_the_same_documents(factor: float, wanted: str) -> None:
    nll = np.random.default_rng(3).uniform(250, 400, 120)
    found = compare(perplexity(nll * factor), known(perplexity(nll)), TAU)
    assert outcome(found) == wanted
    assert found is not None and found.before == pytest.approx(math.exp(nll.mean() / 100))


def test_other_documents_are_not_compared() -> None:
    nll = np.full(120, 300.0)
    found = compare(perplexity(nll, tokens=90), known(perplexity(nll)), TAU)
    assert outcome(found) == "new"
    assert found is not None and "other documents" in found.reason


@pytest.mark.parametrize(("lost", "wanted"), [(0, "unchanged"), (1, "regression"), (-1, "improved")])
def test_labels_of_words_are_compared_sentence_by_sentence(lost: int, wanted: str) -> None:
    rng = np.random.default_rng(4)
    counts = rng.integers(5, 30, 300)
    right = counts - rng.integers(1, 4, 300)
    found = compare(words(right - lost * (rng.random(300) < 0.8), counts), known(words(right, counts)), TAU)
    assert outcome(found) == wanted
    assert found is not None and found.before == pytest.approx(right.sum() / counts.sum())
    assert "on the same examples: accuracy drop " in found.reason


@pytest.mark.parametrize(("lost", "wanted"), [(0.0, "unchanged"), (0.03, "regression"), (-0.03, "improved")])
def test_texts_are_compared_with_what_was_accepted_of_the_same_ones(lost: float, wanted: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.2, 0.8, 300)
    anchor = known(texts(scores)).baseline
    assert anchor is not None
    stored = Reference(read(save(anchor, tmp_path)), History({}, ()))  # rounded there, which is no change
    found = compare(texts(scores - lost * rng.uniform(0.5, 1.5, 300)), stored, TAU)
    assert outcome(found) == wanted
    assert found is not None and found.now == pytest.approx(scores.mean() - lost, abs=0.01)
    assert "on the same examples: chrF drop " in found.reason
    assert ("examples, 0 lower, 0 higher" in found.reason) == (lost == 0)


def test_scores_of_other_texts_or_by_another_metric_are_not_compared() -> None:
    scores = np.linspace(0.2, 0.8, 300)
    for other in (texts(scores, "rougeL"), texts(scores, characters=41), texts(scores[:250]), perplexity(scores)):
        assert outcome(compare(texts(scores), known(other), TAU)) == "new"
    few = compare(texts(scores[:20]), known(texts(scores[:20] + 0.1)), TAU)
    assert outcome(few) == "unchanged" and few is not None and few.reason.startswith("20 examples cannot carry")


def test_accuracy_is_compared_on_the_very_examples() -> None:
    before = [True] * 960 + [False] * 40
    shuffled = [False] * 40 + [True] * 960  # the same accuracy, other examples
    lost = [False] * 30 + before[30:]
    assert outcome(compare(accuracy(before), known(accuracy(before)), TAU)) == "unchanged"
    assert outcome(compare(accuracy(shuffled), known(accuracy(before)), TAU)) == "unchanged"
    assert outcome(compare(accuracy(lost), known(accuracy(before)), TAU)) == "regression"
    assert outcome(compare(accuracy(before), known(accuracy(lost)), TAU)) == "improved"


def test_another_test_set_is_not_compared() -> None:
    found = compare(accuracy([True] * 10), known(accuracy([True] * 12)), TAU)
    assert outcome(found) == "new"
    assert found is not None
    assert "on 12 examples, this one on 10" in found.reason


# -- whatever is compared --------------------------------------------------------------------------


@pytest.mark.parametrize("measure", [speed(1.0), size(0.9), accuracy([False] * 40)])
@pytest.mark.parametrize(
    ("part", "told"),
    [("examples", "the data changed"), ("model", "the model changed"), ("metric", "the metric changed")],
)
def test_what_was_measured_on_something_else_is_not_compared(measure: CaseRecord, part: str, told: str) -> None:
    """The fault: other rows of the same number under the same name looked like a regression of 39.5 points."""

    def on(record: CaseRecord, **parts: str) -> CaseRecord:
        usual = {"examples": "e", "model": "m", "metric": "a"}
        return replace(record, evidence={**record.evidence, "measured_on": usual | parts})

    better = {"speed": speed(2.0), "footprint": size(0.5), "accuracy": accuracy([True] * 40)}[measure.measure]
    found = compare(on(measure, **{part: "other"}), known(on(better)), TAU)
    assert outcome(found) == "not comparable"
    assert found is not None and told in found.reason and "accept it anew" in found.reason
    assert outcome(compare(on(measure), known(on(better)), TAU)) in ("regression", "suspect")
    assert outcome(compare(measure, known(on(better)), TAU)) in ("regression", "suspect")  # of before that was kept


@pytest.mark.parametrize("verdict", ["error", "unsupported", "unqualified"])
def test_what_holds_no_result_is_not_compared(verdict: str) -> None:
    assert compare(speed(1.0, verdict=verdict), known(speed(2.0)), TAU) is None


@pytest.mark.parametrize(
    ("now", "found"), [(0.25, "unchanged"), (0.2520, "unchanged"), (0.2527, "regression"), (0.24, "improved")]
)
def test_size_is_exact(now: float, found: str) -> None:
    assert outcome(compare(size(now), known(size(0.25)), TAU)) == found


def test_nothing_accepted_is_new() -> None:
    for record in (speed(2.0), size(0.2), accuracy([True])):
        assert outcome(compare(record, Reference(None, History({}, ())), TAU)) == "new"


# -- stored runs -----------------------------------------------------------------------------------


def stored(*records: CaseRecord) -> Run:
    return Run(Path("r.jsonl"), RunHeader(run="r", started="", machine={"hash": "ab", "key": {}}), records, None, ())


def test_what_a_stored_run_doubted_stays_open_unless_it_was_measured_again() -> None:
    first, wide = speed(0.47, width=0.24), known(speed(0.88, width=0.17))
    for reruns, told in (([], "suspect"), ([0.85, 0.9], "unchanged")):
        before = {"outcome": "unchanged", "reason": "as before", "reruns": reruns, "against": "r"}
        kept = replace(first, comparison=before)
        ((_, found),) = compare_run(stored(kept), wide, {"cpu": 0.0944}).compared
        assert found.outcome == told


def test_what_a_run_settled_beside_one_baseline_settles_nothing_beside_another() -> None:
    """The fault: unchanged against a slow baseline, and so unchanged against a quick one too."""
    first, slow, quick = speed(1.3, width=0.05), known(speed(2.0, width=0.17)), known(speed(3.2, width=0.02, run="q"))
    settled = compare(first, slow, 0.0944, again(1.85, 1.9))
    assert settled is not None and settled.outcome == "unchanged"
    kept = replace(first, comparison=settled.to_json())
    for reference, told in ((slow, "unchanged"), (quick, "regression")):
        ((_, found),) = compare_run(stored(kept), reference, {"cpu": 0.05}).compared
        assert found.outcome == told


def test_a_stored_run_keeps_what_it_confirmed_and_lists_what_came_and_went() -> None:
    accepted = Baseline("ab", {}, {("speed", c): accepted_of(speed(2.0)) for c in (CASE, "gone-m-cpu", "noisy-m-cpu")})
    report = compare_run(
        stored(
            speed(1.5, verdict="fail", comparison={"outcome": "regression", "reason": "confirmed"}),
            speed(1.5, case="noisy-m-cpu", comparison={"outcome": "noise", "reason": "did not recur", "against": "r"}),
            speed(1.5, case="new-m-cpu"),
        ),
        Reference(accepted, History({}, ())),
        {"cpu": TAU},
    )
    assert {r.case: c.outcome for r, c in report.compared} == {
        CASE: "regression", "noisy-m-cpu": "noise", "new-m-cpu": "new",
    }  # fmt: skip
    assert [r.case for r, _ in report.regressions] == [CASE]
    assert report.vanished == [("speed", "gone-m-cpu")]
    assert report.appeared == [("speed", "new-m-cpu")]


def test_among_many_cases_one_unlucky_one_stays_a_suspect_and_a_large_drop_does_not() -> None:
    names = [f"c{n}-m-cpu" for n in range(80)]
    accepted = Baseline("ab", {}, {("speed", c): accepted_of(speed(2.0)) for c in names})
    unlucky = [speed(2.0, case=c) for c in names[:-2]] + [speed(1.84, case=names[-2]), speed(0.6, case=names[-1])]
    report = compare_run(stored(*unlucky), Reference(accepted, History({}, ())), {"cpu": TAU})
    found = {r.case: c.outcome for r, c in report.compared}
    assert found[names[-2]] == "suspect"
    assert found[names[-1]] == "regression"
    assert [c for c, o in found.items() if o == "unchanged"] == names[:-2]


def test_the_largest_tau_of_each_device_counts() -> None:
    before = stored(speed(2.0, evidence={"tau": 0.0}), speed(2.0, case="b-m-cpu", evidence={"tau": 0.02}))
    after = stored(
        speed(2.0, evidence={"tau": 0.05}), speed(2.0, case="b-m-gpu", hardware="gpu", evidence={"tau": 0.01})
    )
    assert comparison.taus(before) == {"cpu": 0.02}
    assert comparison.taus(before, after) == comparison.taus(after, before) == {"cpu": 0.05, "gpu": 0.01}
    assert comparison.taus(stored(size(0.2))) == {}


def test_another_machine_is_never_compared_and_the_nearest_is_named(tmp_path: Path) -> None:
    save(
        Baseline(
            "ab" * 32,
            {"threads": 2, "libraries": {"torch": "2.13.0"}},
            {("speed", CASE): Accepted(run="r", accepted="")},
        ),
        tmp_path,
    )
    mine = {"hash": "cd" * 32, "key": {"threads": 2, "libraries": {"torch": "2.14.0"}}}
    found = comparison.reference(tmp_path, tmp_path / "runs", mine, "now")
    assert found.baseline is None
    assert (
        found.note
        == "no accepted baseline for this machine; the nearest differs in libraries.torch: 2.14.0, not 2.13.0"
    )
    same = comparison.reference(tmp_path, tmp_path / "runs", {"hash": "ab" * 32, "key": {}}, "now")
    assert same.baseline is not None
    assert same.note is None
