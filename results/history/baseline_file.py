"""Baselines on disk: one JSON file a fingerprint in `baselines/accepted/`.

A few lines a case, sorted, so that accepting shows as a diff that people review.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from results.history.baseline import Accepted, Baseline
from results.history.by_example import LOSSES, losses_in
from results.history.comparable import Key
from results.store.strict_json import Fields, ResultsError, decode
from results.store.text import shown

SCHEMA = 1


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


def _stored_losses(entry: Fields) -> dict[str, tuple[float, ...]] | None:
    """Written as one line a name, so that a change of the file is one line too."""
    stored = entry.mapping("losses")
    if not stored:
        return None
    try:
        found = losses_in({name: [float(word) for word in str(text).split()] for name, text in stored.items()})
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
