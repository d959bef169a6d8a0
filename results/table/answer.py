"""What a run answers: of what was measured and is believed, what nothing else beats, and what to take.

A case that failed or ended in an error is out, and so is every one of a model whose dense answers are doubted. A speed
that is not qualified or not decided wins nothing: its case may still be the smallest. Choices are by estimates; what
intervals do not tell apart is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from results.store.quality import Quality, metric_of, quality_of
from results.store.store import Run
from results.store.within import within
from results.table.best import not_told_apart
from results.table.front import unbeaten
from results.table.rows import Row, rows, summary

POINTS, SHARE = 0.01, 0.05
"""What may be lost where neither the run nor its targets say one thing: of a score, and of a perplexity as a share of
the dense model's."""
_LOST = ("fail", "error")
_UNTOLD = ("unqualified", "inconclusive", "unsupported")
_NAMES = {"accuracy": "quality", "speed": "speed", "footprint": "size"}


@dataclass(frozen=True)
class Pick:
    """A row that was chosen. shown: whether its whole interval is within the margin, not only its estimate. beside:
    others of whose values its own is not told apart. unshown: a better one that is within it by its estimate alone."""

    row: Row
    shown: bool = True
    beside: tuple[Row, ...] = ()
    unshown: Row | None = None


@dataclass(frozen=True)
class Answer:
    """Of one model on one device at one workload.

    told: how its quality is told, as `metric`. margin: what may be lost, a fraction. judged: whether any bound of
    quality was stated. axes: which of speed and size were measured. cases: how many the run executed, and how many it
    expected. compared: how many rows there are but the dense model's; kept: those that may win something. front: in
    order of what was lost. fastest, smallest: within the margin; None where nothing is, or where it was not measured.
    ship: what to take, None where that is the dense model; why: in a sentence. out: reason -> the rows that were left
    out for it. doubt: why there is no answer at all.
    """

    group: tuple[str, str, str]
    workload: str | None
    told: Quality
    metric: str
    margin: float
    judged: bool
    axes: tuple[str, ...]
    cases: tuple[int, int]
    compared: int
    kept: tuple[Row, ...]
    out: Mapping[str, tuple[str, ...]]
    front: tuple[Row, ...] = ()
    fastest: Pick | None = None
    smallest: Pick | None = None
    ship: Pick | None = None
    why: str = ""
    doubt: str = ""


def answers(run: Run) -> list[Answer]:
    """An answer for each model, device and workload of which quality was measured, and size or speed beside it, of
    anything but the dense model."""
    groups: dict[tuple[tuple[str, str, str], str | None], list[Row]] = {}
    for row in rows(run):
        groups.setdefault((row.group, row.workload), []).append(row)
    found = (_answer(run, group, workload, every) for (group, workload), every in groups.items())
    return [answer for answer in found if answer is not None]


def lost(row: Row) -> tuple[float, float]:
    """What a row lost of quality: the estimate, and the upper end of its interval, infinite where that is open."""
    measure = row.measure(quality_of(row.records.get("accuracy")).loss)
    value = math.nan if measure.value is None else float(measure.value)
    return value, math.inf if measure.high is None else float(measure.high)


def speed_believed(row: Row) -> bool:
    """Whether its speed may win anything."""
    return row.measure("speedup").value is not None and row.verdict("speed") not in (*_LOST, *_UNTOLD)


def _answer(run: Run, group: tuple[str, str, str], workload: str | None, every: Sequence[Row]) -> Answer | None:
    candidates = [row for row in every if row.measured and row.first.role != "dense"]
    qualities = [r for row in candidates if (r := row.records.get("accuracy")) and quality_of(r).loss in r.measures]
    axes = tuple(name for name, measure in (("speed", "speedup"), ("size", "size_ratio"))
                 if any(row.measure(measure).value is not None for row in candidates))  # fmt: skip
    if not qualities or not axes:
        return None
    told, what = quality_of(qualities[0]), summary(run)
    stated, bounds = within(run.header, told), {b for r in qualities if (b := r.measures[told.loss].bound) is not None}
    if stated is None and len(bounds) == 1:  # what the targets of this run agree on
        (stated,) = bounds
    margin = stated if stated is not None else POINTS if told.points else SHARE
    kept, out = _believed(candidates, axes)
    found = Answer(
        group=group,
        workload=workload,
        told=told,
        metric=metric_of(qualities[0]),
        margin=margin,
        judged=stated is not None or bool(bounds),
        axes=axes,
        cases=(what.executed, what.expected),
        compared=len(candidates),
        kept=tuple(kept),
        out=out,
    )
    doubts = [str(r.evidence["doubt"]) for row in every if (r := row.records.get("accuracy")) and "doubt" in r.evidence]
    if doubts:
        return replace(found, doubt=doubts[0])
    beaten = unbeaten({number: _point(row, axes) for number, row in enumerate(kept)})
    front = sorted((kept[number] for number in beaten), key=lambda row: lost(row)[0])
    fast = _pick([row for row in kept if speed_believed(row)], margin, "speedup")
    small = _pick([row for row in kept if row.measure("size_ratio").value is not None], margin, "size_ratio")
    ship, why = _ship(kept, margin, axes)
    return replace(found, front=tuple(front), fastest=fast, smallest=small, ship=ship, why=why)


def _believed(candidates: Iterable[Row], axes: Sequence[str]) -> tuple[list[Row], dict[str, tuple[str, ...]]]:
    """The rows that may win something, and why others may not, or not with their speed: reason -> names."""
    kept: list[Row] = []
    reasons: dict[str, list[str]] = {}
    for row in candidates:
        words = [f"{_NAMES[m]} {row.verdict(m)}" for m in row.records if row.verdict(m) in _LOST]
        if not words and math.isnan(lost(row)[0]):
            words = [f"quality {row.verdict('accuracy') or 'not measured'}"]
        if words:
            reasons.setdefault(f"left out ({', '.join(words)})", []).append(row.label)
            continue
        kept.append(row)
        if "speed" in axes and not speed_believed(row):
            word = row.verdict("speed") or "not measured"
            reasons.setdefault(f"speed not counted ({word})", []).append(row.label)
        if "size" in axes and row.measure("size_ratio").value is None:
            reasons.setdefault("size not measured", []).append(row.label)
    return kept, {reason: tuple(dict.fromkeys(names)) for reason, names in reasons.items()}


def _point(row: Row, axes: Sequence[str]) -> list[float]:
    """More is better; what is not believed is worse than anything."""
    speed, size = row.measure("speedup").value, row.measure("size_ratio").value
    point = [-lost(row)[0]]
    if "speed" in axes:
        point.append(float(speed) if speed is not None and speed_believed(row) else -math.inf)
    if "size" in axes:
        point.append(-float(size) if size is not None else -math.inf)
    return point


def _within(found: Iterable[Row], margin: float) -> tuple[list[Row], bool]:
    """The rows that are shown to be within the margin; where none is, those that are so by their estimate."""
    every = list(found)
    if shown := [row for row in every if lost(row)[1] < margin]:
        return shown, True
    return [row for row in every if lost(row)[0] <= margin], False


def _pick(found: Iterable[Row], margin: float, name: str) -> Pick | None:
    """The best by one measure of what is within the margin."""
    every, better = list(found), "higher" if name == "speedup" else "lower"
    pool, shown = _within(every, margin)
    if not pool:
        return None

    def best(rows: Sequence[Row]) -> tuple[Row, tuple[Row, ...]]:
        near = not_told_apart({number: row.measure(name) for number, row in enumerate(rows)}, better)
        sign = 1 if better == "higher" else -1
        place = max(near, key=lambda n: (sign * float(rows[n].measure(name).value or 0), -lost(rows[n])[0]))
        return rows[place], tuple(rows[number] for number in sorted(near - {place}))

    row, beside = best(pool)
    unshown = [other for other in every if other not in pool and lost(other)[0] <= margin] if shown else []
    rival, near = best([row, *unshown])
    return Pick(row, shown, beside, rival if rival is not row and row not in near else None)


def _ship(kept: Sequence[Row], margin: float, axes: Sequence[str]) -> tuple[Pick | None, str]:
    """Of what is shown to be within the margin and surely faster than dense the smallest of the fastest; else the
    smallest that is not surely slower."""
    pool, shown = _within(kept, margin)
    if not pool or not shown:
        nearest = "; what is within it by its estimate alone is no promise" if pool else ""
        return None, f"nothing is shown to be within the margin{nearest}"
    faster = [row for row in pool if speed_believed(row) and (row.measure("speedup").low or 0) > 1]
    if faster and (fastest := _pick(faster, margin, "speedup")) is not None:
        group = [fastest.row, *fastest.beside]
        smallest = _pick([row for row in group if row.measure("size_ratio").value is not None], margin, "size_ratio")
        if smallest is None or len(group) == 1:
            return Pick(fastest.row), "the fastest that is shown to be within the margin"
        return Pick(smallest.row), "the smallest of the fastest, which are not told apart, all shown within the margin"
    slower = [row for row in pool if speed_believed(row) and (row.measure("speedup").high or math.inf) < 1]
    small = [row for row in pool if row not in slower and (row.measure("size_ratio").value or 1) < 1]
    if (smallest := _pick(small, margin, "size_ratio")) is not None:
        known = "none of these is surely faster than dense"
        if not any(map(speed_believed, pool)):
            known = "no speed is believed here" if "speed" in axes else "speed was not measured"
        return Pick(smallest.row), f"the smallest that is shown to be within the margin; {known}"
    return None, "nothing that is shown to be within the margin is surely faster, or smaller and no slower"
