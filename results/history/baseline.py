"""Accepted results: what later runs on the same machine are compared with.

One JSON file a fingerprint in `baselines/accepted/`, a few lines a case, sorted, so that accepting shows as
a diff that people review. A baseline is history and never a floor: targets stand in `targets.toml`, and a
case that misses its target cannot be accepted.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from results.store.machine import fingerprint_of
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.strict_json import Fields, Number, ResultsError, decode
from results.store.tally import latest
from results.store.text import shown

SCHEMA = 1
MOST = 20
"""Accepted runs that a speed is the mean of, at most."""
ACCEPTABLE = ("pass", "measured", "inconclusive")
KEPT = {
    "accuracy": ("accuracy", "accuracy_drop", "perplexity", "perplexity_rise", "score", "score_drop"),
    "speed": ("speedup", "speedup_vs_control"),
    "footprint": ("size_ratio", "disk_bytes", "peak_memory_bytes"),
}
"""Measure -> the numbers that a baseline keeps of it."""
LOSSES = (("nll", "tokens"), ("right", "words"), ("chrf", "characters"), ("rougeL", "characters"))
"""What an accuracy record holds by example where it is neither right nor wrong: of a language model, of labelled words,
of generated texts."""
Key = tuple[str, str]
"""(measure, case)."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """One accepted result. values: name -> {value, low, high}. outcomes: whether each test example was
    right, packed into hexadecimal digits, first example first; None but for accuracy. examples: how many. losses:
    where examples are neither right nor wrong, one number for each of them under the names of one of `LOSSES`: {"nll":
    nats, "tokens": how many}, {"right": words, "words": how many}, {"chrf" or "rougeL": fractions,
    "characters": of the reference}; None else."""

    run: str
    accepted: str
    reason: str = ""
    values: Mapping[str, Mapping[str, Number | None]] = field(default_factory=dict)
    outcomes: str | None = None
    examples: int = 0
    losses: Mapping[str, tuple[float, ...]] | None = None
    more: tuple[tuple[str, float], ...] = ()
    """Of a speed that several runs were accepted for: each run and its speed-up, oldest first; else none."""
    measured_on: Mapping[str, str] = field(default_factory=dict)
    """What it was measured on, part by part, see `measured_on`; none for what was accepted before that was kept."""

    @property
    def since(self) -> str:
        """The first run that it is the result of: what came before is another history."""
        return self.more[0][0] if self.more else self.run

    def speeds(self) -> list[float]:
        """The speed-ups of all runs that were accepted."""
        value = self.value("speedup")
        return [speed for _, speed in self.more] or ([float(value)] if value else [])

    def correct(self) -> list[bool] | None:
        """Whether each example was right, None where that was not kept."""
        if self.outcomes is None:
            return None
        bits = bin(int(f"1{self.outcomes}", 16))[3:]  # the leading 1 keeps leading zeros
        return [bit == "1" for bit in bits[: self.examples]]

    def value(self, name: str, part: str = "value") -> Number | None:
        """The number called `name`, or an end of its interval: "low" or "high"."""
        return self.values.get(name, {}).get(part)


@dataclass(frozen=True)
class Baseline:
    """What is accepted for one fingerprint. machine: the fingerprint's key, to say what differs elsewhere."""

    fingerprint: str
    machine: Mapping[str, Any] = field(default_factory=dict)
    cases: Mapping[Key, Accepted] = field(default_factory=dict)


@dataclass(frozen=True)
class Acceptance:
    """One line of what accepting would change; before is None for a case that is new."""

    key: Key
    before: Accepted | None
    after: Accepted


def accepted_of(record: CaseRecord, when: str = "", reason: str = "") -> Accepted:
    """A record as a baseline keeps it."""
    values = {
        name: {"value": m.value, "low": m.low, "high": m.high}
        for name in KEPT.get(record.measure, ())
        if (m := record.measures.get(name)) is not None
    }
    right = correct(record)
    return Accepted(
        run=record.run,
        accepted=when,
        reason=reason,
        values=values,
        outcomes=None if right is None else _pack(right),
        examples=0 if right is None else len(right),
        losses=losses(record),
        measured_on=measured_on(record),
    )


PARTS = {
    "model": "the model changed: another of the same name",
    "examples": "the data changed",
    "metric": "the metric changed",
}
"""What a result is measured on, and what is said where it is another."""


def measured_on(record: CaseRecord) -> dict[str, str]:
    """Part -> hash, of what a record was measured on; empty where that was not kept."""
    found = record.evidence.get("measured_on")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def moved_between(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What two results were not both measured on, in words; None where nothing is known to differ."""
    return next(
        (said for part, said in PARTS.items() if part in before and part in now and before[part] != now[part]), None
    )


def of_models(keys: Iterable[Key], models: Collection[tuple[str, str]]) -> set[Key]:
    """Of accepted results those of some models, each with a device: what another run measured is not missing in this
    one."""
    parts = [f"-{model}-{hardware}" for model, hardware in models]
    return {key for key in keys if any(key[1].endswith(part) or f"{part}-" in key[1] for part in parts)}


def grown(before: Accepted, after: Accepted) -> Accepted:
    """A speed that was accepted, with one more run of the same: the mean of all is what later runs are compared with.
    After MOST no run is added, so that no creep moves it."""
    runs = before.more or ((before.run, float(before.value("speedup") or 1.0)),)
    speed = after.value("speedup")
    if speed is None or len(runs) >= MOST or after.run in {run for run, _ in runs}:
        return before
    more = tuple(sorted([*runs, (after.run, float(speed))]))  # by when they began, as their ids have it
    values = dict(after.values)
    for name in ("speedup", "speedup_vs_control"):
        was, new = before.values.get(name), after.values.get(name)
        if was and new:
            values[name] = {part: _mean(was.get(part), new.get(part), len(runs)) for part in ("value", "low", "high")}
    return replace(after, values=values, more=more)


def _mean(was: Number | None, new: Number | None, runs: int) -> Number | None:
    """Geometric, of `runs` values whose mean is `was` and one more."""
    return math.exp((runs * math.log(was) + math.log(new)) / (runs + 1)) if was and new else None


def correct(record: CaseRecord) -> list[bool] | None:
    """Whether each example was right, from an accuracy record's evidence; None where it is not there."""
    found, truth = record.evidence.get("predictions"), record.evidence.get("labels")
    if not isinstance(found, list | tuple) or not isinstance(truth, list | tuple) or len(found) != len(truth):
        return None
    return [a == b for a, b in zip(found, truth, strict=True)]


def losses(record: CaseRecord) -> dict[str, tuple[float, ...]] | None:
    """As `Accepted` has them, from an accuracy record's evidence; None where they are not there."""
    return _losses(record.evidence)


def _losses(stored: Mapping[str, object]) -> dict[str, tuple[float, ...]] | None:
    names = next((names for names in LOSSES if all(name in stored for name in names)), None)
    if names is None:
        return None
    found: dict[str, tuple[float, ...]] = {}
    for name in names:
        values = stored[name]
        if not isinstance(values, list | tuple) or not all(type(v) in (int, float) for v in values):
            return None
        found[name] = tuple(values)
    return found if len({len(values) for values in found.values()}) == 1 else None


def _stored_losses(entry: Fields) -> dict[str, tuple[float, ...]] | None:
    """Written as one line a name, so that a change of the file is one line too."""
    stored = entry.mapping("losses")
    if not stored:
        return None
    try:
        found = _losses({name: [float(word) for word in str(text).split()] for name, text in stored.items()})
    except ValueError:
        found = None
    if found is None:
        known = ", or ".join(" and ".join(names) for names in LOSSES)
        raise entry.error("losses", f"expected {known}, as many numbers in one as in the other")
    return found


def _stored_runs(entry: Fields) -> tuple[tuple[str, float], ...]:
    stored = entry.mapping("runs")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in stored.values()):
        raise entry.error("runs", "expected a speed-up above 0 for each run")
    return tuple(sorted((run, float(value)) for run, value in stored.items()))


def propose(
    run: Run,
    baseline: Baseline | None,
    cases: Sequence[str],
    *,
    when: str,
    reason: str,
    same: Callable[[CaseRecord], bool] = lambda record: False,
) -> tuple[Baseline, list[Acceptance], list[tuple[CaseRecord, str]]]:
    """(the new baseline, what changes, records refused and why) for accepting `run`.

    cases: names or patterns such as `int8-*`; all where empty. same: whether a speed is no other than what is accepted,
    so that it is one more run of it and does not take its place. Raises ResultsError where a pattern matches
    nothing, or where the run is of another machine than `baseline`.
    """
    fingerprint, machine = fingerprint_of(run)
    if not fingerprint:
        raise ResultsError(f"run {shown(run.header.run)} kept no fingerprint and cannot be accepted")
    old = baseline or Baseline(fingerprint, machine)
    if old.fingerprint != fingerprint:
        raise ResultsError("the run is of another machine than the baseline")
    records = latest(run.cases)
    for pattern in cases:
        if not any(fnmatch.fnmatchcase(record.case, pattern) for record in records):
            raise ResultsError(f"no case {shown(pattern)!r} in run {shown(run.header.run)}")
    changes, refused, new = [], [], dict(old.cases)
    for record in records:
        if cases and not any(fnmatch.fnmatchcase(record.case, pattern) for pattern in cases):
            continue
        if why := _refusal(record):
            refused.append((record, why))
            continue
        key = (record.measure, record.case)
        after, before = accepted_of(record, when, reason), old.cases.get(key)
        if before is not None and record.measure == "speed" and before.value("speedup") and same(record):
            after = replace(grown(before, after), accepted=when, reason=reason or before.reason)
        if before is None or replace(before, accepted="", reason="") != replace(after, accepted="", reason=""):
            changes.append(Acceptance(key, before, after))
            new[key] = after
    return Baseline(fingerprint, machine or old.machine, new), changes, refused


def _refusal(record: CaseRecord) -> str | None:
    regressed = record.comparison.get("outcome") == "regression"
    only_regressed = regressed and all(m.verdict in ACCEPTABLE for m in record.measures.values())
    if record.verdict not in ACCEPTABLE and not only_regressed:
        return f"{record.verdict}: {record.reason}"
    if not usable(record):
        return "measured under conditions that do not count"
    return None


def usable(record: CaseRecord) -> bool:
    """Whether a record may be compared with and become history: it holds a result, and a speed was not
    measured while the machine was contended, throttled or shared."""
    if record.verdict in ("error", "unsupported", "unqualified"):
        return False
    conditions = record.evidence.get("conditions", {})
    return conditions.get("undisturbed", conditions.get("qualified", True)) is not False  # records before had the other


def accepted_runs(baselines: Iterable[Baseline]) -> dict[tuple[str, str, str], str]:
    """(fingerprint, measure, case) -> the run that was accepted for it: what `Runs.history` marks."""
    return {(one.fingerprint, *key): kept.run for one in baselines for key, kept in one.cases.items()}


def baseline_path(directory: Path, fingerprint: str) -> Path:
    """The file of a fingerprint, a SHA-256 in hexadecimal digits."""
    if not fingerprint or set(fingerprint) - set("0123456789abcdef"):
        raise ResultsError(f"fingerprint {shown(fingerprint)!r}: expected hexadecimal digits")
    return directory / f"{fingerprint[:16]}.json"


def load(directory: Path, fingerprint: str) -> Baseline | None:
    """The baseline of a fingerprint, None where nothing was accepted for it."""
    path = baseline_path(directory, fingerprint)
    return read(path) if path.exists() else None


def read_all(directory: Path) -> list[Baseline]:
    """Every baseline in the folder."""
    return [read(path) for path in sorted(directory.glob("*.json"))]


def read(path: Path) -> Baseline:
    """The baseline in a file. Raises ResultsError that names file and key."""
    where = shown(str(path))
    try:
        data = decode(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{where}: cannot be read: {error.strerror}") from None
    except ResultsError as error:
        raise ResultsError(f"{where}: {error}") from None
    fields = Fields(data, where)
    schema = fields.count("schema")
    if schema > SCHEMA:
        raise ResultsError(f"{where}: schema {schema}, newer than {SCHEMA}, which this pressbench reads: upgrade it")
    cases: dict[Key, Accepted] = {}
    for measure, by_case in fields.mapping("cases").items():
        for case, entry in Fields({"cases": by_case}, where).mapping("cases").items():
            one = Fields(entry, where, f"cases.{measure}.{case}.")
            values = {n: v for n, v in one.mapping("values").items() if isinstance(v, Mapping)}
            outcomes = one.text_or_none("outcomes")
            examples = one.count("examples", 0)
            if outcomes is not None and (set(outcomes) - set("0123456789abcdef") or len(outcomes) * 4 < examples):
                raise one.error("outcomes", f"expected hexadecimal digits for {examples} examples")
            cases[measure, case] = Accepted(
                run=one.text("run"), accepted=one.text("accepted", ""), reason=one.text("reason", ""),
                values=values, outcomes=outcomes, examples=examples, losses=_stored_losses(one),
                more=_stored_runs(one), measured_on={k: str(v) for k, v in one.mapping("measured_on").items()},
            )  # fmt: skip
    return Baseline(fields.text("fingerprint"), fields.mapping("machine"), cases)


def save(baseline: Baseline, directory: Path) -> Path:
    """Write the baseline's file, whole or not at all."""
    path = baseline_path(directory, baseline.fingerprint)
    cases: dict[str, dict[str, Any]] = {}
    for (measure, case), one in sorted(baseline.cases.items()):
        entry: dict[str, Any] = {"run": one.run, "accepted": one.accepted, "reason": one.reason}
        entry["values"] = {name: dict(value) for name, value in one.values.items()}
        if one.outcomes is not None:
            entry |= {"examples": one.examples, "outcomes": one.outcomes}
        if one.more:
            entry["runs"] = dict(one.more)
        if one.measured_on:
            entry["measured_on"] = dict(one.measured_on)
        if one.losses is not None:
            entry["losses"] = {name: " ".join(f"{v:.10g}" for v in values) for name, values in one.losses.items()}
        cases.setdefault(measure, {})[case] = entry
    data = {
        "schema": SCHEMA,
        "fingerprint": baseline.fingerprint,
        "machine": dict(baseline.machine),
        "cases": cases,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _aside(path) as file:
            file.write(json.dumps(data, indent=1, allow_nan=False, sort_keys=False) + "\n")
    except OSError as error:
        raise ResultsError(f"{shown(str(path))}: cannot be written: {error.strerror}") from None
    return path


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Any]:
    """A file beside `path` that takes its place once it is complete and on disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _pack(bits: Iterable[bool]) -> str:
    text = "".join("1" if bit else "0" for bit in bits)
    padded = text.ljust(-(-len(text) // 4) * 4, "0")
    return "".join(f"{int(padded[i : i + 4], 2):x}" for i in range(0, len(padded), 4))
