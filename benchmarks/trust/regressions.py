"""How a slow-down against accepted runs ends: found, not settled, or called noise; by its size, how many runs were
accepted, and how far runs of the machine differ from one another.

    python -m benchmarks.trust.regressions --picture docs/images/power.svg

prints the table of docs/statistics.md and draws its picture. The comparison is the suite's own, on records whose
speed-ups are drawn. What one run differs by is either normal with the machine's deviation, or drawn from the ratios of
real recordings of unchanged code, stretched to it.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.regression.comparison import Reference, compare, undecided
from benchmarks.trust.samples import Recording, stored_session
from results.history.acceptance import grown
from results.history.baseline import Accepted, Baseline, accepted_of
from results.history.history import History
from results.store.record import CaseRecord, Measure

SLOW_DOWNS = (0.0, 0.05, 0.10, 0.20, 0.50)
ACCEPTED = (1, 3, 10)
TAUS = (0.02, 0.05, 0.11)
WIDTH = 0.02
"""Of ln speed-up, each way: the interval of a single run."""
SPEED_UP = 2.0
CASE = "method-model-cpu"

Noise = Callable[[np.random.Generator, int], np.ndarray]
"""How far runs lie from their mean, in units of the machine's deviation."""


@dataclass(frozen=True)
class Setting:
    """slow_down: as a fraction, 0.5 being twice as slow. accepted: runs. tau: the machine's deviation."""

    slow_down: float
    accepted: int
    tau: float


def normal(rng: np.random.Generator, count: int) -> np.ndarray:
    """Independent and normal, the noise that the rule was made for."""
    return rng.standard_normal(count)


def replayed(recordings: Sequence[Recording]) -> Noise:
    """Whole runs as they were: the ratio of two sides that did the same, of one recording after the other, which way
    round by a coin. ValueError for fewer than three recordings."""
    if len(recordings) < 3:
        raise ValueError("replayed noise needs three recordings of unchanged code")
    found = np.array([np.median(np.log(np.array(one.old) / np.array(one.new))) for one in recordings])
    deviation = math.sqrt(float(np.mean(found**2)))

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        drawn: np.ndarray = rng.choice(found, count) * rng.choice((-1.0, 1.0), count) / deviation
        return drawn

    return draw


def outcomes(setting: Setting, *, nights: int, seed: int, noise: Noise = normal) -> Counter[str]:
    """What the comparison says of so many nights, each with accepted runs of its own: outcome -> nights."""
    rng = np.random.default_rng([seed, round(1000 * setting.slow_down), setting.accepted, round(1000 * setting.tau)])
    found: Counter[str] = Counter()
    for _ in range(nights):
        ys = setting.tau * noise(rng, setting.accepted + 4)
        accepted = _accepted(ys[: setting.accepted])
        known = Reference(Baseline("ab", {}, {("speed", CASE): accepted}), History({}, ()))
        later = ys[setting.accepted :] + math.log1p(-setting.slow_down)
        record, reruns = _record(later[0], "now"), [_record(y, "now") for y in later[1:]]
        told, taken = compare(record, known, setting.tau), 0
        while undecided(told, reruns[:taken]):
            taken += 1
            told = compare(record, known, setting.tau, reruns[:taken])
        found[told.outcome if told else "nothing"] += 1
    return found


def _accepted(ys: Iterable[float]) -> Accepted:
    first, *others = (accepted_of(_record(y, f"run-{number:02}")) for number, y in enumerate(ys))
    for one in others:
        first = grown(first, one)
    return first


def _record(y: float, run: str) -> CaseRecord:
    value = SPEED_UP * math.exp(y)
    measure = Measure(value=value, low=value * math.exp(-WIDTH), high=value * math.exp(WIDTH))
    return CaseRecord(
        run=run, case=CASE, measure="speed", compressor="method", model="model", hardware="cpu", verdict="measured",
        measures={"speedup": measure},
    )  # fmt: skip


FOUND, OPEN, CALLED_NOISE = "regression", "inconclusive", "noise"


def table(found: Mapping[Setting, Counter[str]]) -> str:
    """In Markdown: of a hundred nights, how many found it, left it open, and called it noise; a row a baseline."""
    sizes = sorted({setting.slow_down for setting in found})
    lines = [
        "| τ | accepted runs | " + " | ".join(f"{size:.0%} slower" if size else "unchanged" for size in sizes) + " |",
        "|---|---|" + "---|" * len(sizes),
    ]
    for tau, accepted in sorted({(setting.tau, setting.accepted) for setting in found}):
        cells = []
        for size in sizes:
            counted = found[Setting(size, accepted, tau)]
            shares = (100 * counted[outcome] / counted.total() for outcome in (FOUND, OPEN, CALLED_NOISE))
            cells.append(" · ".join(f"{share:.0f}" if share >= 10 else f"{share:.2g}" for share in shares))
        lines.append(f"| {tau:.0%} | {accepted} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(found: Mapping[Setting, Counter[str]]) -> str:
    """The share of nights that found it over the size of the slow-down, as SVG: a panel a τ, a line for each number of
    accepted runs."""
    import vl_convert

    rows = [
        {
            "slow-down": setting.slow_down, "found": counted[FOUND] / counted.total(), "τ": f"τ = {setting.tau:.0%}",
            "accepted runs": str(setting.accepted),
        }
        for setting, counted in found.items()
    ]  # fmt: skip
    runs = sorted({setting.accepted for setting in found})
    panels = [f"τ = {tau:.0%}" for tau in sorted({setting.tau for setting in found})]
    percent = {"format": "%", "grid": True}
    return vl_convert.vegalite_to_svg({
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": rows},
        "facet": {"column": {"field": "τ", "type": "nominal", "title": None, "sort": panels}},
        "spec": {
            "width": 210,
            "height": 200,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": {"field": "slow-down", "type": "quantitative", "axis": percent, "title": "slower by"},
                "y": {"field": "found", "type": "quantitative", "axis": percent, "title": "found"},
                "color": {"field": "accepted runs", "type": "ordinal", "sort": [str(n) for n in runs],
                          "scale": {"range": ["#8fb8de", "#3a7abd", "#123a66"]}},
            },
        },
        "config": {"font": "sans-serif", "background": "white", "view": {"stroke": None}},
    })  # fmt: skip


def simulated(nights: int, seed: int = 0, noise: Noise = normal) -> dict[Setting, Counter[str]]:
    """Every setting of this page."""
    every = itertools.product(SLOW_DOWNS, ACCEPTED, TAUS)
    return {
        setting: outcomes(setting, nights=nights, seed=seed, noise=noise)
        for setting in itertools.starmap(Setting, every)
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust.regressions", description=__doc__)
    parser.add_argument("--nights", type=int, default=1000, help="of each setting (default: %(default)s)")
    parser.add_argument("--picture", type=Path, help="where to draw it, as SVG")
    parser.add_argument("--from", dest="samples", type=Path, metavar="FILE", help="replay noise that `make trust` kept")
    options = parser.parse_args()
    noise = replayed(stored_session(options.samples).of(0)) if options.samples else normal
    found = simulated(options.nights, noise=noise)
    if options.picture:
        options.picture.write_text(picture(found), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
