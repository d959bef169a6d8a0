"""What is drawn is right: the evidence of a speed, the front of a trade-off and the history."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from report_runs import PRINT, method, samples, store, usual

from benchmarks.verdicts import SpeedTest
from benchmarks.verdicts.speed import PERIOD, Evidence, whole_sizes
from results.history.baseline import Accepted, Baseline
from results.report import evidence, pareto
from results.report.trends import charts, history
from results.report.write import before

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.mark.parametrize(
    ("ratio", "target", "tau"), [(2.0, 1.9, 0.0), (1.5, 1.6, 0.01), (2.0, 2.0, 0.02), (3.0, 1.2, 0.08)]
)
def test_the_evidence_drawn_is_the_evidence_that_decided(ratio: float, target: float, tau: float) -> None:
    kept = samples(ratio, 120, seed=round(100 * target))
    dense, compressed = kept["dense_seconds"], kept["compressed_seconds"]
    test = SpeedTest(target, alpha=0.01, tau=tau)
    for pair in zip(dense, compressed, strict=True):
        test.add(*pair)
    drawn = evidence.trace(dense, compressed, target, 0.01, tau)
    crossed = [n for n, e in enumerate(map(max, drawn.above, drawn.below), 1) if e >= np.log(100)]
    assert (crossed[0] if crossed else None) == test.decided_at
    for n in (PERIOD, 3 * PERIOD, 120):
        seen = Evidence.of(dense[:n], compressed[:n], whole_sizes(n))
        assert drawn.above[n - 1] == pytest.approx(seen.above(np.log(drawn.upper)), abs=1e-9)
        assert drawn.below[n - 1] == pytest.approx(seen.below(np.log(drawn.lower)), abs=1e-9)


def points(*pairs: tuple[float | None, float | None]) -> list[dict[str, Any]]:
    return [{"speed": a, "size": a, "accuracy": b, "drop": b} for a, b in pairs]


@pytest.mark.parametrize(("x", "y"), itertools.product(("speed", "size"), ("accuracy", "drop")))
def test_the_front_holds_what_nothing_beats(x: str, y: str) -> None:
    axes = {axis.name: axis for axis in (*pareto.ACROSS, *pareto.UP)}
    found = points((1, 5), (2, 5), (3, 3), (3, 4), (2, 2), (None, 9), (4, None), (4, 1), (4, 1), (1, 1))
    a, b = axes[x], axes[y]
    better = pareto.front(found, a, b)

    def beats(p: dict[str, Any], q: dict[str, Any]) -> bool:
        signs = (1 if a.more_is_better else -1), (1 if b.more_is_better else -1)
        gains = [s * (p[n] - q[n]) for s, n in zip(signs, (x, y), strict=True)]
        return min(gains) >= 0 and max(gains) > 0

    complete = [(i, p) for i, p in enumerate(found) if p[x] is not None and p[y] is not None]
    assert better == {i for i, p in complete if not any(beats(q, p) for _, q in complete)}


def test_a_history_is_drawn_by_machine_and_marks_what_was_accepted(folder: Path) -> None:
    runs = [store(folder, f"r{i}", method("int8", 2 + i / 10, 0.01, 0.3)) for i in range(3)]
    runs.append(store(folder, "r3", usual(int8={"outcome": "unchanged", "against": "r1"})))
    known = history(
        runs, Baseline(PRINT, {}, {("speed", runs[0].cases[1].case): Accepted(run="r2", accepted="2026-11-12")})
    )
    ((caption, chart),) = charts(known, "speed", runs[0].cases[1].case)
    drawn = chart.data["runs"]
    assert drawn["value"] == pytest.approx([2.0, 2.1, 2.2, 2.6]) and "4 runs" in caption
    assert [bool(why) for why in drawn["accepted"]] == [False, True, True, False]
    assert charts(history(runs[:1], None), "speed", runs[0].cases[1].case) == []
    on = ({"measured_on": {"examples": name}} for name in ("a", "a", "b", "b"))
    moved = [
        replace(run, cases=tuple(replace(case, evidence={**case.evidence, **what}) for case in run.cases))
        for run, what in zip(runs, on, strict=True)
    ]  # what was measured on other data is not on the line
    ((_, chart),) = charts(history(moved, None), "speed", runs[0].cases[1].case)
    assert chart.data["runs"]["value"] == pytest.approx([2.2, 2.6])


def test_the_runs_before_one_are_its_history(folder: Path) -> None:
    names = [f"2026110{i}T000000Z-aaaa" for i in range(1, 6)]
    runs = [store(folder, name, method("int8", 2.0, 0.01, 0.3)) for name in names]
    (folder / "20261103T120000Z-bbbb.jsonl").write_text("broken\n")
    assert [run.header.run for run in before(runs[3], 2)] == names[1:3]
    assert before(runs[0], 5) == []
