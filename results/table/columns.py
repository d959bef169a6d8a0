"""The columns that a reader may choose for a table: what each is called, its unit, and which way is better."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from results.store.record import MEASURE_NAMES
from results.store.strict_json import ResultsError
from results.store.text import shown
from results.table.kept import kept
from results.table.rows import Row

_MEASURE_OF = {name: measure for measure, names in MEASURE_NAMES.items() for name in names}
_LISTED = 30


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    name: as `--columns` takes it. heading, unit: for a person; a shown number is the recorded one times `scale`,
    with `digits` decimals, or with three digits in all where that is None. measure: the recorded number's name, ""
    where the column is no measure. recorded: the unit that records, CSV and JSON have. better: "higher" or "lower",
    "" where neither is. marked: whether the best are marked. sign: how its bound reads. level: of the interval.
    read: what a column that is no measure says of a row. by_machine: whether it may differ between two machines.
    """

    name: str
    heading: str
    unit: str = ""
    measure: str = ""
    recorded: str = ""
    scale: float = 1
    digits: int | None = None
    signed: bool = False
    better: str = ""
    marked: bool = False
    sign: str = ""
    level: str = ""
    read: Callable[[Row], str | int | None] | None = None
    by_machine: bool = True

    @property
    def judged(self) -> str:
        """The record that the number stands in: "accuracy", "speed" or "footprint"; "" where it is no measure."""
        return _MEASURE_OF.get(self.measure, "")

    @property
    def of_workload(self) -> bool:
        """Whether it differs between workloads of one compressor."""
        return self.judged == "speed" or self.name in ("workload", "pairs", "control", "speed-verdict")

    @property
    def title(self) -> str:
        """The heading with the unit: `size of dense, ×`."""
        return f"{self.heading}, {self.unit}" if self.unit else self.heading


def _percent(name: str, heading: str, measure: str, unit: str, level: str, better: str) -> Column:
    return Column(
        name=name, heading=heading, unit=unit, measure=measure, recorded="fraction", scale=100, digits=1,
        signed=better == "lower", better=better, marked=True, sign="≤" if better == "lower" else "≥", level=level,
    )  # fmt: skip


def _share(name: str, heading: str, measure: str, better: str = "") -> Column:
    """A column of fractions that no bound is stated of."""
    return Column(
        name=name, heading=heading, unit="%", measure=measure, recorded="fraction", scale=100, digits=1, better=better,
        marked=bool(better),
    )  # fmt: skip


def _speed(name: str, heading: str, measure: str) -> Column:
    return Column(
        name=name, heading=heading, unit="×", measure=measure, recorded="ratio", digits=2,
        better="higher", marked=True, sign="≥", level="98 %",
    )  # fmt: skip


def _plain(name: str, heading: str, measure: str, better: str) -> Column:
    """A column of numbers as they are recorded, without an interval."""
    return Column(name=name, heading=heading, measure=measure, recorded=measure, digits=3, better=better, marked=True)


def _least(name: str, heading: str, unit: str, measure: str, recorded: str, scale: float, marked: bool) -> Column:
    """A column of plain sizes, of which the least is best."""
    digits = 3 if recorded == "ratio" else None
    return Column(
        name=name, heading=heading, unit=unit, measure=measure, recorded=recorded, scale=scale, digits=digits,
        better="lower", marked=marked, sign="≤",
    )  # fmt: skip


def _word(name: str, heading: str, read: Callable[[Row], str | int | None], by_machine: bool = False) -> Column:
    return Column(name=name, heading=heading, read=read, by_machine=by_machine)


def _kept(row: Row) -> str | None:
    found = kept(row.records.get("footprint"))
    return f"{found.share:.1%}: {', '.join(found.layers)}" if found else None


COLUMNS: tuple[Column, ...] = (
    _percent("accuracy", "accuracy", "accuracy", "%", "95 %", "higher"),
    _percent("drop", "accuracy drop (+ is a loss)", "accuracy_drop", "points", "90 %", "lower"),
    Column(
        name="perplexity",
        heading="perplexity",
        measure="perplexity",
        recorded="perplexity",
        digits=2,
        better="lower",
        marked=True,
    ),
    _percent("rise", "perplexity rise (+ is a loss)", "perplexity_rise", "%", "90 %", "lower"),
    _percent("score", "score (chrF or ROUGE-L)", "score", "points", "95 %", "higher"),
    _percent("score-drop", "score drop (+ is a loss)", "score_drop", "points", "90 %", "lower"),
    _percent("agreement", "agreement with dense", "agreement", "%", "95 %", "higher"),
    _percent("worst-class", "drop of the worst class", "worst_class_drop", "points", "90 %", "lower"),
    _percent("lost-against", "lost against --against (+ is a loss)", "loss_against", "points or %", "90 %", "lower"),
    _share("ece", "calibration error", "ece", "lower"),
    _percent("ece-rise", "calibration error rise", "ece_rise", "points", "90 %", "lower"),
    _share("confidence", "mean confidence", "confidence"),
    _share("repetition", "repeated tokens", "repetition"),
    _share("length-ratio", "length of dense's texts", "length_ratio"),
    _plain("bits-per-byte", "bits a byte of text", "bits_per_byte", "lower"),
    _plain("f1", "F1 of entities", "f1", "higher"),
    _plain("micro-f1", "F1 over all labels", "micro_f1", "higher"),
    _plain("macro-f1", "mean F1 of a label", "macro_f1", "higher"),
    _plain("mrr", "mean reciprocal rank", "mrr", "higher"),
    _speed("speedup", "speed-up over dense", "speedup"),
    _speed("over-control", "speed-up over best control", "speedup_vs_control"),
    _speed("speed-against", "speed-up over --against", "speedup_against"),
    Column(
        name="tokens",
        heading="tokens a second",
        measure="tokens_per_second",
        recorded="tokens a second",
        better="higher",
    ),
    _least("first-token", "time to first token", "ms", "seconds_to_first_token", "seconds", 1e3, False),
    _least("token-time", "time a token", "ms", "seconds_per_token", "seconds", 1e3, False),
    Column(
        name="floor",
        heading="share of the bandwidth floor",
        unit="%",
        measure="bandwidth_floor_share",
        recorded="fraction",
        scale=100,
        digits=0,
        better="higher",
    ),
    _least("token-bytes", "read for a token", "MiB", "bytes_per_token", "bytes", 2.0**-20, False),
    _least("size", "size of dense", "×", "size_ratio", "ratio", 1, True),
    _least("size-against", "size over --against", "×", "size_against", "ratio", 1, True),
    _least("disk", "on disk", "MiB", "disk_bytes", "bytes", 2.0**-20, True),
    _least("weights", "weights", "millions", "parameters", "count", 1e-6, True),
    _least("nonzero", "weights that are not zero", "millions", "nonzero_parameters", "count", 1e-6, True),
    _least("bits", "bits a weight", "", "bits_per_weight", "bits", 1, True),
    # Measured once, so without an interval that could tell which is best: never marked.
    _least("memory", "peak memory", "MiB", "peak_memory_bytes", "bytes", 2.0**-20, False),
    _least("timed-memory", "memory while it is timed", "MiB", "timed_memory_bytes", "bytes", 2.0**-20, False),
    _least("growth", "memory left by a call", "MiB", "memory_growth_bytes", "bytes", 2.0**-20, False),
    _least("operations", "operations of a pass", "billions", "operations", "count", 1e-9, False),
    _least("weight-bytes", "weights read in a pass", "MiB", "weight_bytes_read", "bytes", 2.0**-20, False),
    _least("first-answer", "time to the first answer", "s", "first_answer_seconds", "seconds", 1, False),
    _least("compress", "time to compress", "s", "compress_seconds", "seconds", 1, False),
    Column(name="examples", heading="test examples", better="higher", read=lambda row: row.examples),
    Column(name="pairs", heading="pairs of timings", better="higher", read=lambda row: row.pairs),
    _word("accuracy-verdict", "verdict on accuracy", lambda row: row.verdict("accuracy"), True),
    _word("speed-verdict", "verdict on speed", lambda row: row.verdict("speed"), True),
    _word("size-verdict", "verdict on size", lambda row: row.verdict("footprint"), True),
    _word("kept", "stored as before", _kept, True),
    _word("control", "best control", lambda row: row.control, True),
    _word("class", "hardware class", lambda row: row.first.hardware_class or None, True),
    _word("workload", "workload", lambda row: row.workload),
    _word("model", "model", lambda row: row.first.model),
    _word("task", "task", lambda row: row.first.task or None),
    _word("hardware", "device", lambda row: row.first.hardware),
    _word("family", "family", lambda row: row.first.family or None),
    _word("effect", "effect", lambda row: row.first.effect),
    _word("role", "role", lambda row: row.first.role),
    _word("run", "run", lambda row: ", ".join(sorted({r.run for r in row.records.values()})) or None, True),
)
COMPRESSOR = _word("compressor", "compressor", lambda row: row.label)
"""The first column of every table; also a name to sort by."""
ONE_MACHINE = ("accuracy", "drop", "speedup", "over-control", "size", "memory")
PAPER = ("accuracy", "drop", "speedup", "size")
SEVERAL_MACHINES = ("accuracy", "speedup", "size")
"""What stands in a table for which no columns were chosen; on paper there is room for less."""


def columns(names: Iterable[str]) -> list[Column]:
    """The columns called so, each once; a measure may also be called as records call it (`accuracy_drop`).

    Raises ResultsError for an unknown name, with the nearest ones.
    """
    return list(dict.fromkeys(column(name) for name in names))


def column(name: str, also: Sequence[Column] = ()) -> Column:
    """The column called `name`, one of `also` included. Raises ResultsError for an unknown name."""
    known = {column.name: column for column in (*COLUMNS, *also)}
    aliases = {column.measure: column for column in COLUMNS if column.measure}
    wanted = name.strip()
    if found := known.get(wanted) or aliases.get(wanted):
        return found
    raise ResultsError(f"no column {shown(wanted)!r}; {nearest(wanted, known)}")


def nearest(name: str, known: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """`nearest: a, b` for a mistaken name, or where none is near which there are (`listed`, else `known`)."""
    every = list(dict.fromkeys(known))
    if near := difflib.get_close_matches(name, every, n=3, cutoff=0.5):
        return f"nearest: {', '.join(map(shown, near))}"
    there = (every if listed is None else list(dict.fromkeys(listed))) or ["none"]
    more = f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
    return f"there are {', '.join(map(shown, there[:_LISTED]))}{more}"
