"""A run's table for other programs and pages: Markdown, CSV and JSON.

Markdown is rounded as the terminal is; CSV and JSON carry the numbers as recorded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from results.cells import (
    MISSING,
    Cells,
    cells,
    circumstances,
    headline,
    missing,
    problem,
    references,
    time_spent,
    title,
    verdict,
)
from results.record import MEASURE_NAMES, CaseRecord, Measure
from results.rows import NO_MEASURE, Row, by_group, rows, summary
from results.store import Run
from results.strict_json import plain
from results.text import csv_text, markdown

_SHARED = ("model", "task", "hardware", "hardware_class", "compressor", "family", "effect", "role")
_HEADINGS = (
    "compressor",
    "workload",
    "role",
    "accuracy",
    "accuracy drop, percentage points (+ is loss)",
    "accuracy verdict",
    "speed-up over dense torch fp32",
    "pairs",
    "speed-up over best dense control",
    "speed verdict",
    "size over dense",
    "size verdict",
    "peak memory",
    "time to compress",
)


def to_markdown(run: Run) -> str:
    """A GitHub table for each model and hardware, then the summary."""
    blocks: list[str] = []
    for group in by_group(rows(run)):
        lines = [_pipes(_HEADINGS), _pipes("---" for _ in _HEADINGS)]
        lines += [_pipes(_columns(row, cells(row))) for row in group]
        notes = (circumstances(run.header), references(group))
        blocks += [
            f"### {markdown(title(group))}",
            *map(markdown, notes),
            "\n".join(lines),
        ]
    if not blocks:
        blocks += [markdown(circumstances(run.header)), "no case was recorded"]
    what = summary(run)
    blocks.append(f"**{markdown(headline(what))}**")
    bullets = [f"- {verdict(record.verdict)}: {markdown(problem(record))}" for record in what.problems]
    bullets += [f"- not executed: {markdown(case)}" for case in missing(what)]
    bullets += [f"- note: {markdown(note)}" for note in what.notes]
    blocks += ["\n".join(bullets)] if bullets else []
    blocks += [markdown(time_spent(what))] if time_spent(what) else []
    return "\n\n".join(blocks) + "\n"


def to_csv(run: Run) -> str:
    """One line a row, for each measure its value, low, high, bound and verdict, in the units of
    `results.record.Measure`; an empty cell where nothing was recorded. `verdict_of_speed` is the record's
    verdict, `speedup_verdict` one number's; `settings` are the compressor's parameters, as JSON;
    `run_state` is "complete" or "interrupted". Text that a spreadsheet would take for a formula has an
    apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for of in MEASURE_NAMES.values() for name in of]
    writer.writerow(
        [
            *("run", "started", "run_state", *_SHARED, "workload", "settings", "control", "pairs"),
            *(f"{part}_of_{measure}" for measure in MEASURE_NAMES for part in ("verdict", "reason")),
            *(f"{name}{part}" for name in names for part in ("", "_low", "_high", "_bound", "_verdict")),
        ]
    )
    state = "complete" if run.end else "interrupted"
    for row in rows(run):
        line: list[Any] = [run.header.run, run.header.started, state]
        line += [getattr(row.first, name) for name in _SHARED]
        line += [row.workload, json.dumps(row.first.parameters), row.control, row.pairs]
        for measure in MEASURE_NAMES:
            record = row.records.get(measure)
            line += [record.verdict, record.reason] if record else [None, None]
        for name in names:
            found = row.measure(name)
            line += [found.value, found.low, found.high, found.bound, _word(found)]
        writer.writerow([csv_text(cell) if isinstance(cell, str) else cell for cell in line])
    return out.getvalue()


def to_json(run: Run) -> str:
    """The run's table and summary as one JSON object; what is missing is null.

    schema       1: the version of this layout
    run, started, ended, pressbench, machine, options     from the run; ended is null if interrupted
    interrupted  true where the run has no end line
    executed, expected, counts {verdict: records}, seconds {stage: seconds}
    missing      ids of the cases that were expected and not executed
    notes        what is odd about the file (unreadable lines among them), one line of text each
    problems     [{case, measure, verdict, reason}], worst first
    rows         [{model, task, hardware, hardware_class, workload, compressor, family, effect, role,
                   parameters, pairs, control, verdicts, measures}]
    verdicts     {"accuracy"|"speed"|"footprint": {case, verdict, reason, artifact} or null}
    measures     {name: {value, low, high, bound, verdict, reason}}; units as in `results.record.Measure`.
                 verdict is null where nothing was recorded
    """
    what = summary(run)
    header, end = run.header, run.end
    payload = {
        "schema": 1,
        "run": header.run,
        "started": header.started or None,
        "ended": end.ended if end else None,
        "pressbench": header.pressbench,
        "machine": header.machine,
        "options": header.options,
        "interrupted": what.interrupted,
        "executed": what.executed,
        "expected": what.expected,
        "counts": what.counts,
        "seconds": what.seconds,
        "missing": what.missing,
        "notes": what.notes,
        "problems": [
            {"case": r.case, "measure": r.measure, "verdict": r.verdict, "reason": r.reason} for r in what.problems
        ],
        "rows": [_object(row) for row in rows(run)],
    }
    return json.dumps(plain(payload), indent=2, allow_nan=False) + "\n"


def _columns(row: Row, cell: Cells) -> list[str]:
    judged = {
        measure: f"{verdict(row.verdict(measure))} ({bound})" if bound else verdict(row.verdict(measure))
        for measure, bound in cell.bounds.items()
    }
    return [
        markdown(row.label),
        markdown(row.workload or MISSING),
        row.first.role,
        cell.accuracy,
        cell.drop,
        judged["accuracy"],
        cell.speedup,
        str(row.pairs) if row.pairs is not None else MISSING,
        cell.over_control,
        judged["speed"],
        cell.size,
        judged["footprint"],
        cell.memory,
        cell.compress,
    ]


def _pipes(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"


def _word(measure: Measure) -> str | None:
    return None if measure is NO_MEASURE else measure.verdict


def _object(row: Row) -> dict[str, Any]:
    names = dict.fromkeys(name for of in MEASURE_NAMES.values() for name in of)
    found = {name: row.measure(name) for name in names}
    for record in row.records.values():
        found |= {name: measure for name, measure in record.measures.items() if name not in names}
    return {
        **{name: getattr(row.first, name) for name in _SHARED},
        "workload": row.workload,
        "parameters": row.first.parameters,
        "pairs": row.pairs,
        "control": row.control,
        "verdicts": {measure: _verdict(row.records.get(measure)) for measure in MEASURE_NAMES},
        "measures": {
            name: {
                **{part: getattr(measure, part) for part in ("value", "low", "high", "bound")},
                "verdict": _word(measure),
                "reason": measure.reason,
            }
            for name, measure in found.items()
        },
    }


def _verdict(record: CaseRecord | None) -> dict[str, str | None] | None:
    if record is None:
        return None
    return {key: getattr(record, key) for key in ("case", "verdict", "reason", "artifact")}
