"""Failures that are known and declared: each with its reason, how bad it may get, and until when.

    [[expected]]
    case = "prune-structured-vit-digits-cpu"
    measure = "accuracy"
    bound = 0.08
    reason = "half the heads of a model this small; waits for longer recovery"
    expires = 2027-03-31

A declared failure does not fail the run while it stays within its bound and its date. A regression is never
excused by one. A case that passes although its failure is declared is reported, so that the entry goes.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from benchmarks.matrix.cases import MEASURES
from benchmarks.toml_file import read_toml
from compressors.interface import PressbenchError
from compressors.registry import nearest
from results.store.quality import quality_of
from results.store.record import CaseRecord

Text = Annotated[str, pydantic.Field(min_length=1)]
JUDGED = {"accuracy": ("accuracy_drop", "most"), "speed": ("speedup", "least"), "footprint": ("size_ratio", "most")}
"""Measure -> the number that `bound` is about, and whether it is the most or the least allowed."""


class Expectation(pydantic.BaseModel):
    """A declared failure. bound: the worst value still excused, in the unit of the target."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    case: Text
    measure: Text
    bound: Annotated[float, pydantic.Field(allow_inf_nan=False)]
    reason: Text
    expires: datetime.date

    def status(self, record: CaseRecord, today: datetime.date) -> str | None:
        """What this says of a record of its case: "expected", "worse" than declared, "expired", "unexpected
        pass", or None where it says nothing (an error, an inconclusive result)."""
        if record.verdict == "pass":
            return "unexpected pass"
        if record.verdict != "fail" or record.comparison.get("outcome") == "regression":
            return None
        if today > self.expires:
            return "expired"
        name, side = JUDGED[self.measure]
        if record.measure == "accuracy":
            name = quality_of(record).loss
        measure = record.measures.get(name)
        if measure is None or measure.value is None:
            return None
        within = measure.value <= self.bound if side == "most" else measure.value >= self.bound
        # A failure for another reason than this number, an effect that is not witnessed, is not the declared one.
        return None if measure.verdict != "fail" else "expected" if within else "worse"

    def to_json(self, status: str) -> dict[str, Any]:
        """As a record keeps it."""
        return {"status": status, "reason": self.reason, "bound": self.bound, "expires": self.expires.isoformat()}


def declared(record: CaseRecord) -> str:
    """What a record with a declaration says of it, for people."""
    what = record.expected
    told = {
        "unexpected pass": "passes although its failure is declared",
        "expected": "a declared failure",
        "worse": "worse than its declared failure allows",
        "expired": "its declaration as a failure has expired",
    }
    return f"{told[what['status']]} ({what['reason']}, up to {what['bound']:g}, until {what['expires']})"


def load_expectations(path: Path, cases: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Expectation]:
    """(measure, case) -> what is declared, checked. An absent file declares nothing. cases: all that exist.

    Raises PressbenchError, one line with file and key, for anything unknown, missing or of the wrong kind.
    """
    if not path.exists():
        return {}
    data = read_toml(path, str(path))
    if unknown := set(data) - {"expected"}:
        raise PressbenchError(f"{path}: unknown key {sorted(unknown)[0]!r}: expected [[expected]] tables")
    entries = data.get("expected", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PressbenchError(f"{path}: 'expected' must be a list of tables: write [[expected]]")
    found: dict[tuple[str, str], Expectation] = {}
    for number, entry in enumerate(entries, 1):
        one = _expectation(entry, f"{path}: expected[{number}]")
        key = (one.measure, one.case)
        if key in found:
            raise PressbenchError(f"{path}: expected[{number}]: {one.measure} of {one.case} is declared twice")
        if key not in cases:
            hint = nearest(one.case, {case for measure, case in cases if measure == one.measure})
            raise PressbenchError(f"{path}: expected[{number}].case: no {one.measure} case {one.case!r}{hint[:300]}")
        found[key] = one
    return found


def _expectation(entry: Mapping[str, Any], where: str) -> Expectation:
    try:
        one = Expectation.model_validate(entry)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"; known keys: {', '.join(Expectation.model_fields)}" if first["type"] == "extra_forbidden" else ""
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise PressbenchError(f"{where}.{key}: {first['msg']}{got}{known}") from None
    if one.measure not in MEASURES:
        raise PressbenchError(f"{where}.measure: unknown measure {one.measure!r}{nearest(one.measure, MEASURES)}")
    return one
