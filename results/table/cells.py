"""Numbers and sentences as a person reads them, the same in the terminal and in Markdown.

Rounding is for the eye alone: verdicts come from the records. Where rounding would make a number look equal
to a bound that it misses, up to two more digits are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from results.store.declared import declared
from results.store.quality import SCORE, metric_of, quality_of
from results.store.record import CaseRecord, Measure, RunHeader
from results.table.kept import kept
from results.table.rows import DENSE, Row, Summary, has_regressed, reference_of

MISSING = "–"
SYMBOLS = {
    "pass": "✓",
    "fail": "✗",
    "error": "!",
    "inconclusive": "?",
    "unqualified": "~",
    "unsupported": "○",
    "measured": "·",
}
ALL_CACHED = "from the cache"
LISTED = 12
"""How many cases that were not executed are named before the rest is only counted."""


@dataclass(frozen=True)
class Cells:
    """One row's numbers as text; "–" where there is none. The three bounds are empty where none is stated."""

    accuracy: str
    drop: str
    speedup: str
    pairs: str
    over_control: str
    floor: str
    size: str
    kept: str
    """`21 % as before`: of the weights, in layers that are stored as in the dense model; empty where it is no part."""
    memory: str
    compress: str
    cached: str
    """"from the cache" where the artifact was not made in this run; how much of it was not, where it was in part."""
    bounds: dict[str, str]
    """"accuracy", "speed", "footprint" -> the bound with its sign, such as "≥ 2.00×"; "regressed" where the verdict is
    not about that bound but about the case's own history."""


def cells(row: Row) -> Cells:
    """The cells of `row`, such as `96.8 %` or `chrF 41.2`, `+0.3 [−0.2, +0.9]`, `2.61× [2.55, 2.70]`, `182 MiB`."""
    record = row.records.get("accuracy")
    told = quality_of(record)
    reached = number(told.value, row.measure(told.value))
    drop, speedup, size = row.measure(told.loss), row.measure("speedup"), row.measure("size_ratio")
    unit = "" if told.points else " %"
    bounds = {
        "accuracy": _bound("≤", drop, 1, unit, scale=100, signed=True),
        "speed": _bound("≥", speedup, 2, "×"),
        "footprint": _bound("≤", size, 3, "×"),
    }
    regressed = {measure: "regressed" for measure, record in row.records.items() if has_regressed(record)}
    return Cells(
        accuracy=f"{metric_of(record)} {reached}" if told is SCORE and reached != MISSING else reached,
        drop=_estimate(drop, 1, unit, scale=100, signed=True),
        speedup=_estimate(speedup, 2, "×"),
        pairs=f"n={row.pairs}" if row.pairs is not None else "",
        over_control=_estimate(row.measure("speedup_vs_control"), 2, "×"),
        floor=number("bandwidth_floor_share", row.measure("bandwidth_floor_share")),
        size=_estimate(size, 3, "×"),
        kept=f"{left.share:.0%} as before".replace("%", " %", 1)
        if (left := kept(row.records.get("footprint")))
        else "",
        memory=memory(row.measure("peak_memory_bytes").value),
        compress=MISSING if row.first.role == "dense" else seconds(row.measure("compress_seconds").value),
        cached=_cached(row),
        bounds=bounds | regressed,
    )


def _cached(row: Row) -> str:
    record = row.records.get("footprint")
    known = None if record is None else record.evidence.get("compress")
    here = known.get("seconds_in_this_run") if isinstance(known, Mapping) else None
    took = row.measure("compress_seconds").value
    if isinstance(here, bool) or not isinstance(here, int | float) or not took or here >= took:
        return ""
    return f"{seconds(took - here)} of it from the cache" if here > 0 else ALL_CACHED


def verdict(word: str | None) -> str:
    """The verdict with its symbol, so that it reads without colour."""
    return MISSING if word is None else f"{SYMBOLS[word]} {word}"


def memory(size: float | None) -> str:
    """Bytes as KiB, MiB or GiB, three digits."""
    if size is None:
        return MISSING
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= 0.9995 * scale:
            return f"{_three_digits(size / scale)} {unit}"
    return f"{_fixed(size, 0)} B"


def seconds(duration: float | None) -> str:
    """Seconds as s, min or h."""
    if duration is None:
        return MISSING
    if duration >= 7200:
        return f"{_fixed(duration / 3600, 1)} h"
    if duration >= 600:
        return f"{_fixed(duration / 60, 1)} min"
    return f"{_three_digits(duration) if duration < 10 else _fixed(duration, 0)} s"


def date(iso: str) -> str:
    """An ISO 8601 time as `2026-11-21 22:15 UTC`; anything else as it stands."""
    try:
        moment = datetime.fromisoformat(iso)
        return f"{(moment if moment.tzinfo is None else moment.astimezone(UTC)):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return iso


def title(group: Sequence[Row], part: str = "") -> str:
    """What one table is about: model, task, hardware and hardware class, and the part of these that it shows."""
    model, task, hardware = group[0].group
    classes = dict.fromkeys(record.hardware_class for row in group for record in row.records.values())
    classes.pop("", None)
    classes.pop(hardware, None)
    place = f"{hardware} ({', '.join(classes)})" if classes else hardware
    about = f"{model} on {task}, {place}" if task else f"{model}, {place}"
    return f"{about}: {part}" if part else about


def circumstances(header: RunHeader) -> str:
    """Where and when: machine, threads, date and run id."""
    machine = header.machine
    parts = [machine.get("name") or machine.get("cpu") or "unknown", machine.get("gpu")]
    threads = machine.get("threads", header.options.get("threads"))
    if isinstance(threads, int):
        parts.append("1 thread" if threads == 1 else f"{threads} threads")
    parts += [date(header.started) if header.started else "date unknown", f"run {header.run}"]
    return f"machine: {', '.join(str(part) for part in parts if part)}"


def made_from(header: RunHeader, group: Sequence[Row]) -> str:
    """`model org/name at commit abc123…, data reviews.csv` of a declared model; empty where it was not declared."""
    model = declared(header).get(group[0].first.model)
    return model.made_from if model is not None else ""


def references(group: Sequence[Row]) -> str:
    """What the speed-ups compare with: the dense model, and the best dense control by name; and how many test
    examples the accuracies rest on."""
    found: dict[str, list[str]] = {}
    for row in group:
        if row.control is not None:
            found.setdefault(row.control, []).append(row.workload or row.label)
    if len(found) == 1:
        controls = f"; best control: {next(iter(found))}"
    else:
        lists = "; ".join(f"{name} for {', '.join(dict.fromkeys(of))}" for name, of in found.items())
        controls = f"; best controls: {lists}" if lists else ""
    tested, held = examples(group), reference_of(group)
    dense = f"dense: {held.removeprefix('dense ')}" if held == DENSE else f"in the place of a dense model: {held}"
    return f"{dense}{controls}; {tested}" if tested else f"{dense}{controls}"


def examples(group: Iterable[Row | None]) -> str:
    """`1,063 test examples`, or each number with its compressors where they differ; empty where none is known."""
    found: dict[int, list[str]] = {}
    for row in group:
        if row is not None and row.examples is not None:
            found.setdefault(row.examples, []).append(row.label)
    if len(found) == 1:
        return f"{next(iter(found)):,} test examples"
    return "; ".join(f"{number:,} test examples for {', '.join(dict.fromkeys(of))}" for number, of in found.items())


def headline(what: Summary) -> str:
    """`executed 51 of 54: 40 pass, 2 fail`, or that the run was interrupted."""
    of = f"{what.executed} of {what.expected}" if what.expected else str(what.executed)
    start = f"interrupted: {of} cases" if what.interrupted else f"executed {of}"
    counts = ", ".join(f"{number} {word}" for word, number in what.counts.items())
    return f"{start}: {counts}" if counts else start


def problems(what: Summary) -> list[tuple[str, str]]:
    """(verdict, `case, measure: reason`) of all that went wrong, worst first. What is unsupported for one reason stands
    once: of a case with its measures, of a model with how many cases."""
    groups: dict[tuple[str, ...], list[CaseRecord]] = {}
    for number, record in enumerate(what.problems):
        alike = record.verdict == "unsupported" and record.reason
        key = (record.verdict, record.model, record.hardware, record.reason) if alike else (str(number),)
        groups.setdefault(key, []).append(record)
    return [(group[0].verdict, f"{_names(group)}: {_reason(group[0])}") for group in groups.values()]


def _names(group: list[CaseRecord]) -> str:
    first = group[0]
    if len({record.compressor for record in group}) > 1:
        return f"{len(group)} cases of {first.model}"
    measures = dict.fromkeys(record.measure for record in group)
    return f"{min((record.case for record in group), key=len)}, {', '.join(measures)}"


def _reason(record: CaseRecord) -> str:
    return record.reason or "no reason was recorded"


def missing(what: Summary) -> list[str]:
    """The cases that were expected and not executed, the first few by name."""
    rest = len(what.missing) - LISTED
    return [*what.missing[:LISTED], *([f"and {rest} more"] if rest > 0 else [])]


def time_spent(what: Summary) -> str:
    """Where the time went, longest first; empty where the run did not say."""
    stages = sorted(((n, spent) for n, spent in what.seconds.items() if spent > 0), key=lambda item: -item[1])
    total = sum(duration for _, duration in stages)
    if not stages or total <= 0:
        return ""
    parts = (f"{stage} {seconds(duration)} ({duration / total:.0%})" for stage, duration in stages)
    return f"took {seconds(total)}: {', '.join(parts)}"


def time_needed(what: Summary) -> str:
    """What the stages could not have taken less than, most first; empty where nothing is known."""
    stages = sorted(((n, least) for n, least in what.least.items() if least > 0), key=lambda item: -item[1])
    if not stages:
        return ""
    parts = ", ".join(f"{stage} {seconds(least)}" for stage, least in stages)
    return f"at least: {parts} (what was timed; else linear layers in torch at the machine's ceiling)"


def numbers(measure: Measure, digits: int | None, scale: float = 1, signed: bool = False) -> tuple[str, str, str]:
    """The value, its interval as `[2.55, 2.70]` and its bound, without units, all with as many decimals as tell them
    apart; digits: how many at least, None for three digits in all. "–" for no value, "" for the others."""
    ends = (measure.low, measure.high)
    exact = None if digits is None else _digits((measure.value, *ends), measure.bound, digits, scale)

    def number(x: float | None) -> str:
        if x is None:
            return MISSING
        return _three_digits(x * scale) if exact is None else _fixed(x * scale, exact, signed)

    interval = "" if ends == (None, None) else f"[{number(ends[0])}, {number(ends[1])}]"
    return number(measure.value), interval, "" if measure.bound is None else number(measure.bound)


def _estimate(measure: Measure, digits: int, unit: str = "", scale: float = 1, signed: bool = False) -> str:
    """`2.61× [2.55, 2.70]`: the value, its unit, and its interval where there is one."""
    value, interval, _ = numbers(measure, digits, scale, signed)
    value += unit if measure.value is not None else ""
    return f"{value} {interval}" if interval else value


def _bound(sign: str, measure: Measure, digits: int, unit: str = "", scale: float = 1, signed: bool = False) -> str:
    bound = numbers(measure, digits, scale, signed)[2]
    return f"{sign} {bound}{unit}" if bound else ""


def _digits(numbers: Sequence[float | None], bound: float | None, least: int, scale: float) -> int:
    """The fewest decimals, from `least` to two more, at which no number only seems to equal its bound."""
    if bound is None:
        return least
    for digits in (least, least + 1):
        edge = _fixed(bound * scale, digits)
        if all(x is None or x == bound or _fixed(x * scale, digits) != edge for x in numbers):
            return digits
    return least + 2


def _fixed(number: float, digits: int, signed: bool = False) -> str:
    if abs(number) >= 1e6:
        text = f"{number:{'+' if signed else ''}.2e}"
    else:
        if not signed and digits and 0 < abs(number) < 5 * 10**-digits:  # a ratio that would read as nothing
            digits += 1
        text = f"{number:{'+' if signed else ''}.{digits}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
    return text.replace("-", "−")


def _three_digits(number: float) -> str:
    size = abs(number) or 100
    return _fixed(number, 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3)


def number(name: str, measure: Measure) -> str:
    """The number of a record called `name`, with its interval and unit: `2.61× [2.55, 2.70]`, `96.8 %`, `182 MiB`."""
    if name in ("accuracy", "accuracy_drop"):
        return _estimate(measure, 1, " %" if name == "accuracy" else " points", 100, signed=name != "accuracy")
    if name in ("score", "score_drop"):
        return _estimate(measure, 1, "" if name == "score" else " points", 100, signed=name != "score")
    if name == "tokens_per_second":
        return MISSING if measure.value is None else f"{_three_digits(measure.value)} tokens/s"
    if name == "bandwidth_floor_share":
        return _estimate(measure, 0, " %", 100)
    if name == "bytes_per_token":
        return memory(measure.value)
    if name == "perplexity":
        return _estimate(measure, 2, " ppl")
    if name == "perplexity_rise":
        return _estimate(measure, 1, " %", 100, signed=True)
    if name in ("speedup", "speedup_vs_control", "size_ratio"):
        return _estimate(measure, 3 if name == "size_ratio" else 2, "×")
    if name.endswith("_bytes"):
        return memory(measure.value)
    if "seconds" in name:
        return duration(measure.value)
    if name.endswith("parameters"):
        return MISSING if measure.value is None else f"{measure.value:,.0f}"
    return _estimate(measure, 2)


def duration(time: float | None) -> str:
    """Seconds as `seconds` gives them, those under a tenth in ms, µs or ns."""
    if time is None or abs(time) >= 0.09995 or time == 0:
        return seconds(time)
    unit, scale = next(
        (u, s) for u, s in (("ms", 1e3), ("µs", 1e6), ("ns", 1e9)) if abs(time) * s >= 0.9995 or u == "ns"
    )
    return f"{_three_digits(time * scale)} {unit}"
