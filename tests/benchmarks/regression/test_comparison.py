"""A regression is found and confirmed; noise, a changed machine and another machine are not taken for one."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.regression import comparison
from benchmarks.regression.comparison import Reference, compare, compare_run, undecided
from benchmarks.regression.outcome import Comparison
from benchmarks.regression.speed import detectable, in_words
from results.history.baseline import Accepted, Baseline, accepted_of, grown, read, save
from results.history.history import History
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.store import Run

CASE = "int8-m-cpu"
TAU = 0.01


def speed(value: float, width: float = 0.02, dense: float = 0.1, **more: Any) -> CaseRecord:
    measure = Measure(value=value, low=value * math.exp(-width), high=value * math.exp(width))
    fields: dict[str, Any] = {
        "run": "r", "case": CASE, "measure": "speed", "compressor": "c", "model": "m", "hardware": "cpu",
        "verdict": "pass", "measures": {"speedup": measure}, "evidence": {"dense_seconds": [dense] * 3},
    }  # fmt: skip
    return CaseRecord(**(fields | more))


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


def known(anchor: CaseRecord | None = None, earlier: list[CaseRecord] | None = None) -> Reference:
    cases = {(anchor.measure, anchor.case): accepted_of(anchor)} if anchor else {}
    records = {("speed", CASE): earlier} if earlier else {}
    return Reference(Baseline("ab", {}, cases), History(records, ()))


def again(*values: float) -> list[CaseRecord]:
    return [speed(value) for value in values]


def history(centre: float = 2.0, runs: int = 10, dense: float = 0.1) -> list[CaseRecord]:
    noise = np.random.default_rng(0).normal(0, TAU, (runs, 2))
    # Later than the anchor's run: what came before an accepted change is another history.
    return [speed(centre * math.exp(a), dense=dense * math.exp(b), run=f"s{n:02}") for n, (a, b) in enumerate(noise)]


def outcome(found: Comparison | None) -> str:
    assert found is not None
    return found.outcome


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


def test_a_slower_case_that_stays_slower_is_a_regression() -> None:
    found = compare(speed(1.6), known(speed(2.0), history()), TAU, again(1.61, 1.62))
    assert outcome(found) == "regression"
    assert found is not None
    assert found.reruns == (1.61, 1.62)
    assert "2 of 2 fresh processes" in found.reason
    assert (found.before, found.now, found.against) == (2.0, 1.6, "r")


def test_one_bad_process_is_noise() -> None:
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU, again(2.0, 1.99))) == "noise"
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU, again(1.6, 2.0, 1.99))) == "noise"


def test_without_a_way_to_measure_again_it_is_a_suspect_only() -> None:
    assert outcome(compare(speed(1.6), known(speed(2.0), history()), TAU)) == "suspect"


@pytest.mark.parametrize(
    ("values", "more"),
    [((), True), ((1.6,), True), ((2.0,), True), ((1.6, 2.0), True), ((1.6, 1.6), False), ((2.0, 2.0), False)],
)
def test_a_suspect_is_measured_again_until_two_reruns_agree(values: tuple[float, ...], more: bool) -> None:
    reruns = again(*values)
    found = compare(speed(1.6), known(speed(2.0), history()), TAU, reruns)
    assert undecided(found, reruns) is more
    assert (outcome(found) == "suspect") is more


def test_reruns_that_stay_slower_are_not_called_noise() -> None:
    """As it was seen: 0.3 ms of sleep in a kernel, a quick qualification's τ and one accepted run."""
    accepted = speed(0.91, measures={"speedup": Measure(value=0.91, low=0.86, high=1.46)})
    slow = [
        speed(v, measures={"speedup": Measure(value=v, low=0.85 * v, high=1.19 * v)}) for v in (0.412, 0.477, 0.482)
    ]
    first = speed(0.42, measures={"speedup": Measure(value=0.42, low=0.36, high=0.50)})
    found = compare(first, known(accepted), 0.11, slow)
    assert found is not None
    assert found.outcome in ("regression", "inconclusive")
    assert "noise:" not in found.reason
    if found.outcome == "inconclusive":
        assert re.search(r"-47\.6 % in their median: .* a quieter machine would decide it", found.reason)
    assert found.detectable is not None and found.detectable > 0.5
    three = Reference(Baseline("ab", {}, {("speed", CASE): _several(0.91, 0.9, 0.93)}), History({}, ()))
    assert outcome(compare(first, three, 0.11, slow)) == "regression"


def _several(*values: float) -> Accepted:
    first, *more = (accepted_of(speed(value, run=f"a{number}")) for number, value in enumerate(values))
    for one in more:
        first = grown(first, one)
    return first


def test_several_accepted_runs_show_a_smaller_slow_down_than_one() -> None:
    one, five = (_several(*[2.0] * count) for count in (1, 5))
    found = [detectable(accepted, 0.02) for accepted in (one, five)]
    assert found[0][0] > 1.3 * found[1][0]
    assert 0 < found[0][1] <= 5 and found[1][1] == 0
    now = speed(2.0 * (1 - found[1][0] * 0.9))
    told = [
        compare(now, Reference(Baseline("ab", {}, {("speed", CASE): accepted}), History({}, ())), 0.02)
        for accepted in (one, five)
    ]
    assert [(one.outcome, one.doubtful) for one in told if one] == [("suspect", True), ("suspect", False)]


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


def test_runs_on_something_else_are_no_history() -> None:
    other = [replace(one, evidence={**one.evidence, "measured_on": {"model": "other"}}) for one in history()]
    mine = speed(1.6, evidence={"measured_on": {"model": "mine"}})
    assert outcome(compare(mine, known(None, other), TAU)) == "new"
    assert outcome(compare(mine, known(None, history()), TAU)) == "suspect"


def test_a_rerun_that_fails_has_no_vote() -> None:
    died = speed(1.6, verdict="error", reason="it died")
    contended = speed(1.6, evidence={"conditions": {"undisturbed": False}})
    for void in (died, contended):
        assert undecided(compare(speed(1.6), known(speed(2.0)), TAU, [void]), [void])
        assert outcome(compare(speed(1.6), known(speed(2.0)), TAU, [void, *again(1.6, 1.6)])) == "regression"
    reruns = [*again(1.6), died, died]
    found = compare(speed(1.6), known(speed(2.0)), TAU, reruns)
    assert outcome(found) == "suspect"
    assert not undecided(found, reruns)
    assert found is not None
    assert "2 of 3 reruns do not count: it died" in found.reason


@pytest.mark.parametrize("value", [1.98, 2.0, 2.03])
def test_the_usual_spread_is_unchanged(value: float) -> None:
    assert outcome(compare(speed(value), known(speed(2.0), history()), TAU)) == "unchanged"


def test_much_slower_than_a_short_history_can_show_is_measured_again_and_not_called_unchanged() -> None:
    """0.3 ms of sleep in a kernel, on a machine that was never quiet: the limits are wider than what happened."""
    reference = known(speed(0.88, width=0.17))
    first = speed(0.47, width=0.24)
    found = compare(first, reference, 0.0944)
    assert found is not None and (found.outcome, found.doubtful) == ("suspect", True)
    assert undecided(found, [])
    slow, quick = again(0.48, 0.46, 0.47), again(0.85, 0.47, 0.9)
    settled = compare(first, reference, 0.0944, slow)
    assert settled is not None and settled.outcome in ("regression", "inconclusive")
    once = compare(first, reference, 0.0944, quick)
    assert once is not None and once.outcome == "unchanged" and "in their median, as runs differ here" in once.reason
    assert not undecided(once, quick) and undecided(compare(first, reference, 0.0944, quick[:2]), quick[:2])


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


def test_slower_by_less_than_a_baseline_can_show_is_counted_in_words_of_its_own() -> None:
    reference = known(speed(0.88, width=0.17))
    found = compare(speed(0.67, width=0.24), reference, 0.0944)
    assert found is not None and outcome(found) == "unchanged" and found.detectable is not None
    assert in_words(found) == "slower but not shown"
    for value in (0.85, 0.88, 1.3):
        close = compare(speed(value, width=0.24), reference, 0.0944)
        assert close is not None and in_words(close) == close.outcome


def test_faster_is_improved_and_no_failure() -> None:
    assert outcome(compare(speed(2.6), known(speed(2.0), history()), TAU)) == "improved"


def test_a_slow_creep_is_seen_against_the_accepted_result_where_the_last_runs_hide_it() -> None:
    creep = [speed(2.0 * 0.99**n, run=f"s{n:02}") for n in range(20)]
    now = 2.0 * 0.99**20
    assert outcome(compare(speed(now), known(None, creep), TAU, again(now, now))) == "unchanged"
    assert outcome(compare(speed(now), known(speed(2.0), creep), TAU, again(now, now))) == "regression"


def test_where_the_dense_model_itself_became_slower_the_environment_changed() -> None:
    found = compare(speed(1.6, dense=0.2), known(speed(2.0), history()), TAU)
    assert outcome(found) == "environment"
    assert found is not None
    assert "dense took 0.2 s" in found.reason


def test_a_wide_interval_is_no_evidence() -> None:
    assert outcome(compare(speed(1.7, width=0.3), known(speed(2.0)), TAU)) == "unchanged"


def test_a_machine_never_qualified_is_not_taken_for_a_quiet_one() -> None:
    # Five runs that happen to agree: with a deviation of nought assumed, this would be a suspect.
    calm = [speed(2.0 * (1 + n / 1e4), run=f"s{n}") for n in range(4)]
    assert outcome(compare(speed(1.9), known(None, calm), 0.0)) == "new"


@pytest.mark.parametrize("verdict", ["error", "unsupported", "unqualified"])
def test_what_holds_no_result_is_not_compared(verdict: str) -> None:
    assert compare(speed(1.0, verdict=verdict), known(speed(2.0)), TAU) is None


@pytest.mark.parametrize(
    ("now", "found"), [(0.25, "unchanged"), (0.2520, "unchanged"), (0.2527, "regression"), (0.24, "improved")]
)
def test_size_is_exact(now: float, found: str) -> None:
    assert outcome(compare(size(now), known(size(0.25)), TAU)) == found


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


def test_nothing_accepted_is_new() -> None:
    for record in (speed(2.0), size(0.2), accuracy([True])):
        assert outcome(compare(record, Reference(None, History({}, ())), TAU)) == "new"


# -- stored runs -----------------------------------------------------------------------------------


def stored(*records: CaseRecord) -> Run:
    return Run(Path("r.jsonl"), RunHeader(run="r", started="", machine={"hash": "ab", "key": {}}), records, None, ())


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
