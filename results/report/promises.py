"""What a run says of a machine: which targets of its class were kept, and how near each case came to what the machine
was seen to do."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from results.report.safe import mapping, number, numbers
from results.store.quality import quality_of
from results.store.record import CaseRecord, Measure
from results.store.store import Run
from results.store.tally import latest
from results.table.rows import Row, rows

CEILING_OF = {"float32": "fp32_gflop_s", "bfloat16": "bf16_gflop_s", "int8": "int8_gop_s"}
"""Type of operands -> the ceiling of a qualification, in billions of operations a second."""
OUTCOMES = {"pass": "kept", "fail": "broken", "inconclusive": "open", "unqualified": "open", "error": "not measured"}
_SIGNS = {"accuracy": "≤", "speed": "≥", "footprint": "≤"}
MOST_SLOTS = 100_000


@dataclass(frozen=True)
class Promise:
    """One target. found, bound: as recorded, None where nothing was measured. outcome: one of the values of `OUTCOMES`.
    points: whether quality is told in points."""

    record: CaseRecord
    found: Measure
    outcome: str
    sign: str
    points: bool


@dataclass(frozen=True)
class Reach:
    """How near a timed case came to the machine's ceiling. rate: billions of operations a second, None of decoding.
    share: of what the machine reached with operands of those types, or of the bandwidth where `decodes`; None where
    that is not known, which `why` says."""

    row: Row
    seconds: float
    rate: float | None
    share: float | None
    decodes: bool
    why: str = ""


def promises(run: Run) -> list[Promise]:
    """The targets that cases of the run were held against, in the order of the records."""
    found = []
    for record in latest(run.cases):
        measure = _headline(record)
        outcome = OUTCOMES.get(record.verdict)
        if outcome is None or (measure.bound is None and record.verdict != "error") or record.role == "dense":
            continue
        told = quality_of(record)
        found.append(Promise(record, measure, outcome, _SIGNS.get(record.measure, ""), told.points))
    return found


def _headline(record: CaseRecord) -> Measure:
    names = {"accuracy": quality_of(record).loss, "speed": "speedup", "footprint": "size_ratio"}
    return record.measures.get(names.get(record.measure, ""), Measure())


def reached(run: Run, ceilings: Mapping[str, float | int | None]) -> list[Reach]:
    """Every case of the run that was timed, nearest to its ceiling first. ceilings: of the machine's qualification."""
    found = [one for row in rows(run) if row.measured and (one := _reach(row, ceilings)) is not None]
    return sorted(found, key=lambda one: -(one.share or 0.0))


def _reach(row: Row, ceilings: Mapping[str, float | int | None]) -> Reach | None:
    speed, size = row.records.get("speed"), row.records.get("footprint")
    slots = numbers(speed.evidence.get("compressed_seconds"), MOST_SLOTS) if speed else []
    if not slots:
        return None
    seconds = statistics.median(slots)
    floor = number(row.measure("bandwidth_floor_share").value)
    if floor is not None:
        return Reach(row, seconds, None, floor, True)
    executed = mapping(mapping(size.evidence.get("executed")).get("operations")) if size else {}
    counts = {name: found for name, count in executed.items() if (found := number(count)) and found > 0}
    if not counts:
        return Reach(row, seconds, None, None, False, "its operations are not known")
    if size is None or row.workload != size.evidence.get("memory_workload"):
        return Reach(row, seconds, None, None, False, "operations were counted at another shape")
    rate = sum(counts.values()) / seconds / 1e9
    least = 0.0
    for name, count in counts.items():
        ceiling = number(ceilings.get(CEILING_OF.get(name, "")))
        if not ceiling or ceiling <= 0:
            return Reach(row, seconds, rate, None, False, f"no ceiling was measured for {name}")
        least += count / ceiling / 1e9
    return Reach(row, seconds, rate, least / seconds, False)
