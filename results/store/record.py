"""What one line of a results file says: the run it belongs to, one measured case, or the run's end.

A file holds one `RunHeader`, then a `CaseRecord` for every case and measure as it ends, then a `RunEnd`.
Reading checks every key and tolerates unknown ones, which are kept in `extra` and written back; a line of an
older schema is brought up to this one step by step (`STEPS`), a newer one is refused, since half-understood
results are worse than none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from results.store.strict_json import Fields, Number, ResultsError, encode, plain

SCHEMA = 1
Step = Callable[[dict[str, Any]], dict[str, Any]]
STEPS: dict[int, Step] = {}
"""Schema -> what makes a line of it one of the next schema. A step may raise on a line that is not what it
expects: the line is then told as damaged. Whoever raises SCHEMA adds the step from the one before."""
MEASURE_NAMES: Mapping[str, tuple[str, ...]] = {
    "accuracy": (
        "accuracy",
        "accuracy_drop",
        "perplexity",
        "perplexity_rise",
        "score",
        "score_drop",
        "bits_per_byte",
        "mrr",
        "f1",
        "micro_f1",
        "macro_f1",
        "agreement",
        "worst_class_drop",
        "ece",
        "ece_rise",
        "confidence",
        "repetition",
        "length_ratio",
        "loss_against",
    ),
    "speed": (
        "speedup",
        "speedup_vs_control",
        "tokens_per_second",
        "seconds_to_first_token",
        "seconds_per_token",
        "bytes_per_token",
        "bandwidth_floor_share",
        "timed_memory_bytes",
        "speedup_against",
    ),
    "footprint": (
        "size_ratio",
        "disk_bytes",
        "parameters",
        "nonzero_parameters",
        "bits_per_weight",
        "peak_memory_bytes",
        "memory_growth_bytes",
        "operations",
        "weight_bytes_read",
        "first_answer_seconds",
        "compress_seconds",
        "size_against",
    ),
}
"""What is measured (a record's `measure`) -> the names in its `measures`. Others are allowed."""
UNPAIRED = "time"
"""The measure of records that were imported: seconds of one program by themselves, with no dense model beside them.
Not among MEASURE_NAMES, so that no table, baseline or comparison sets it beside a paired speed-up."""
HEADLINE: Mapping[str, str] = {
    "accuracy": "accuracy",
    "speed": "speedup",
    "footprint": "size_ratio",
    UNPAIRED: "seconds",
}
"""Measure -> the number that stands for it where there is room for one."""
MEASURES = tuple(HEADLINE)
VERDICTS = ("pass", "fail", "error", "inconclusive", "unqualified", "unsupported", "measured")
"""In the order in which a summary names them. "measured": there is a number and no bound to judge it by."""
ROLES = ("dense", "control", "method")
EFFECTS = ("kernel", "storage", "simulated")


class SchemaError(ResultsError):
    """The file was written by a newer pressbench."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number, its interval, the bound it was held against, and what came of it.

    value, low, high, bound: None where not measured, not finite or not stated. Units by name: `accuracy`
    a fraction; `accuracy_drop` a fraction lost, positive is worse, bound the most allowed; `perplexity` and
    `perplexity_rise`, a fraction of the dense model's, in their place for a language model; `score` and
    `score_drop`, fractions of 1, for generated text; `loss_against` what was lost in the same unit against another of
    the run, `speedup_against` and `size_against` ratios over it; `speedup` and
    `speedup_vs_control` ratios, bound the least allowed; `size_ratio` bytes on disk over the dense
    model's, bound the most allowed; `*_bytes` bytes; `compress_seconds` seconds.
    """

    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    bound: Number | None = None
    verdict: str = "measured"
    reason: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The measure as a JSON object."""
        return {**self.extra, **_own(self)}

    @classmethod
    def from_json(cls, data: object, where: str = "", prefix: str = "") -> Measure:
        """The measure in a JSON object; `where` and `prefix` say in an error where it stands."""
        fields = Fields(data, where, prefix)
        return cls(
            value=fields.number("value"),
            low=fields.number("low"),
            high=fields.number("high"),
            bound=fields.number("bound"),
            verdict=fields.choice("verdict", VERDICTS, "measured"),
            reason=fields.text("reason", ""),
            extra=fields.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """The first line: which run, where, and what it set out to do.

    started: ISO 8601, UTC. machine: the fingerprint; tables read `name` (or `cpu`), `gpu` and `threads`.
    expected: one case id for every case the run will try; an id stands as often as records are expected.
    """

    kind: ClassVar[str] = "run"
    run: str
    started: str
    pressbench: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The header as a JSON object."""
        return _tagged(self)

    @classmethod
    def from_json(cls, data: object, where: str = "") -> RunHeader:
        """The header in a JSON object."""
        fields = _fields(cls.kind, data, where)
        return cls(
            run=fields.text("run"),
            started=fields.text("started"),
            pressbench=fields.text("pressbench", ""),
            options=fields.mapping("options"),
            machine=fields.mapping("machine"),
            expected=fields.texts("expected"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class CaseRecord:
    """One case, measured one way, and its verdict.

    measure: "accuracy", "speed", "footprint", or UNPAIRED. workload: the shape timed ("8x128"), None where nothing
    was timed. evidence: raw samples and per-example outcomes; a speed record's has `pairs` (how many) and
    `control` (the best dense control's name). seconds: stage -> seconds. artifact: SHA-256, None without.
    comparison: against the accepted baseline and earlier runs: `outcome` (regression, improved, unchanged, noise,
    environment, new) and `reason`. expected: the declared failure that applied: `reason`, `bound`, `expires`.
    """

    kind: ClassVar[str] = "case"
    run: str
    case: str
    measure: str
    compressor: str
    model: str
    hardware: str
    verdict: str
    role: str = "method"
    family: str = ""
    effect: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    hardware_class: str = ""
    workload: str | None = None
    reason: str = ""
    measures: Mapping[str, Measure] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, Number] = field(default_factory=dict)
    recipe: tuple[Any, ...] = ()
    artifact: str | None = None
    fingerprint: str = ""
    ended: str = ""
    comparison: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return {**_tagged(self), "measures": {name: m.to_json() for name, m in self.measures.items()}}

    @classmethod
    def from_json(cls, data: object, where: str = "") -> CaseRecord:
        """The record in a JSON object."""
        fields = _fields(cls.kind, data, where)
        return cls(
            run=fields.text("run"),
            case=fields.text("case"),
            measure=fields.choice("measure", MEASURES),
            compressor=fields.text("compressor"),
            model=fields.text("model"),
            hardware=fields.text("hardware"),
            verdict=fields.choice("verdict", VERDICTS),
            role=fields.choice("role", ROLES),
            family=fields.text("family", ""),
            effect=fields.choice_or_none("effect", EFFECTS),
            parameters=fields.mapping("parameters"),
            task=fields.text("task", ""),
            hardware_class=fields.text("hardware_class", ""),
            workload=fields.text_or_none("workload"),
            reason=fields.text("reason", ""),
            measures={
                name: Measure.from_json(value, where, f"measures.{name}.")
                for name, value in fields.mapping("measures").items()
            },
            evidence=fields.mapping("evidence"),
            seconds=fields.numbers("seconds"),
            recipe=fields.sequence("recipe"),
            artifact=fields.text_or_none("artifact"),
            fingerprint=fields.text("fingerprint", ""),
            ended=fields.text("ended", ""),
            comparison=fields.mapping("comparison"),
            expected=fields.mapping("expected"),
            extra=fields.rest(),
        )


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The last line, which only a run that ended by itself has. counts: verdict -> how many records. seconds:
    stage -> what it took; least: what it could not have taken less than on that machine, where that is known."""

    kind: ClassVar[str] = "end"
    run: str
    ended: str
    expected: int
    executed: int
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, Number] = field(default_factory=dict)
    least: Mapping[str, Number] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The end as a JSON object."""
        return _tagged(self)

    @classmethod
    def from_json(cls, data: object, where: str = "") -> RunEnd:
        """The end in a JSON object."""
        fields = _fields(cls.kind, data, where)
        counts = Fields(fields.mapping("counts"), where, "counts.")
        return cls(
            run=fields.text("run"),
            ended=fields.text("ended"),
            expected=fields.count("expected"),
            executed=fields.count("executed"),
            counts={verdict: counts.count(verdict) for verdict in counts.rest()},
            seconds=fields.numbers("seconds"),
            least=fields.numbers("least"),
            extra=fields.rest(),
        )


Record = RunHeader | CaseRecord | RunEnd


def from_json(data: object, where: str = "") -> Record:
    """The record in a JSON object, of whichever kind it says it is.

    where: file and line, for messages. Raises SchemaError for a newer schema, ResultsError for the rest.
    """
    fields = Fields(data, where)
    schema = fields.count("schema")
    if schema > SCHEMA:
        raise SchemaError(
            f"{where}: schema {schema} is newer than schema {SCHEMA}, the newest this pressbench reads:"
            " upgrade pressbench"
        )
    data = _upgraded(data, schema, where)
    kinds: dict[str, type[RunHeader] | type[CaseRecord] | type[RunEnd]] = {
        cls.kind: cls for cls in (RunHeader, CaseRecord, RunEnd)
    }
    return kinds[Fields(data, where).choice("kind", tuple(kinds))].from_json(data, where)


def to_line(record: Record) -> bytes:
    """The record as one line of a results file. Numbers that are not finite become null.

    Raises ResultsError where a value is of a kind that reading would refuse, so that a file never holds it.
    """
    payload = plain(record.to_json())
    from_json(payload, f"{record.kind} record")
    return encode(payload)


def _upgraded(data: Any, schema: int, where: str) -> dict[str, Any]:
    """A line of `schema` as one of SCHEMA."""
    for version in range(schema, SCHEMA):
        try:
            data = {**STEPS[version](data), "schema": version + 1}
        except (LookupError, TypeError, ValueError, AttributeError):
            raise Fields(data, where).error("schema", f"cannot be read as schema {version}") from None
    return data  # type: ignore[no-any-return]


def _own(record: Any) -> dict[str, Any]:
    """The dataclass's own fields, without `extra`."""
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name != "extra"}


def _tagged(record: Record) -> dict[str, Any]:
    return {**record.extra, "kind": record.kind, "schema": SCHEMA, **_own(record)}


def _fields(kind: str, data: object, where: str) -> Fields:
    fields = Fields(data, where)
    fields.choice("kind", (kind,))
    fields.count("schema")
    return fields
