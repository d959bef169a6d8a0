"""A run's table for other programs and pages: Markdown, CSV and JSON.

Markdown is rounded as the terminal is; CSV and JSON carry the numbers as recorded.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from results.store.declared import mapping
from results.store.quality import words_of
from results.store.record import MEASURE_NAMES, CaseRecord, Measure
from results.store.store import Run
from results.store.strict_json import plain
from results.store.text import csv_text, markdown
from results.table.against import against
from results.table.best import MARKED, best_measures
from results.table.cells import (
    MISSING,
    Cells,
    cells,
    circumstances,
    headline,
    made_from,
    missing,
    problems,
    references,
    time_needed,
    time_spent,
    title,
    verdict,
)
from results.table.choice import ALL, Choice, Section, sections_of, summary_of
from results.table.rows import NO_MEASURE, Row, judged, reference_of

_SHARED = ("model", "task", "hardware", "hardware_class", "compressor", "family", "effect", "role")
_HEADINGS = (  # with `{value}`, `{lost}` and `{reference}` for what quality and dense model are called
    "compressor",
    "workload",
    "role",
    "{value}",
    "{value} {lost} (+ is loss)",
    "{value} verdict",
    "speed-up over {reference}",
    "pairs",
    "speed-up over best dense control",
    "share of the bandwidth floor",
    "speed verdict",
    "size over dense",
    "size verdict",
    "peak memory",
    "time to compress",
)


def to_markdown(run: Run, choice: Choice = ALL) -> str:
    """A GitHub table for each model and hardware, then the summary."""
    blocks: list[str] = []
    groups = sections_of(run, choice)
    for group in groups:
        drawn = [_columns(row, cells(row), marks) for row, marks in _marked([group])]
        kept = [place for place, heading in enumerate(_HEADINGS) if _says(drawn, place, heading)]
        words = words_of(judged(group.rows, "accuracy"))
        headings = [
            heading.format(value=words.value, lost=words.lost("percentage points"), reference=reference_of(group.rows))
            for heading in _HEADINGS
        ]
        lines = [_pipes(headings[place] for place in kept), _pipes("---" for _ in kept)]
        lines += [_pipes(columns[place] for place in kept) for columns in drawn]
        notes = (circumstances(run.header), references(group.rows), made_from(run.header, group.rows))
        blocks += [
            f"### {markdown(title(group.rows, group.part))}",
            *map(markdown, filter(None, notes)),
            "\n".join(lines),
        ]
        for found in against(group.rows):
            told = [[markdown(", ".join(filter(None, (row.label, row.workload)))), *text] for row, *text in found.rows]
            heading = [markdown(name) for name in found.headings]
            blocks.append("\n".join(map(_pipes, [heading, ["---"] * len(heading), *told])))
    if not blocks:
        blocks += [markdown(circumstances(run.header)), "no case was recorded"]
    what = summary_of(run, groups)
    blocks.append(f"**{markdown(headline(what))}**")
    bullets = [f"- {verdict(found)}: {markdown(line)}" for found, line in problems(what)]
    bullets += [f"- not executed: {markdown(case)}" for case in missing(what)]
    bullets += [f"- note: {markdown(note)}" for note in what.notes]
    blocks += ["\n".join(bullets)] if bullets else []
    blocks += [markdown(line) for line in (time_spent(what), time_needed(what)) if line]
    return "\n\n".join(blocks) + "\n"


def to_csv(run: Run, choice: Choice = ALL) -> str:
    """One line a row, for each measure its value, low, high, bound and verdict, in the units of
    `results.store.record.Measure`; an empty cell where nothing was recorded. `verdict_of_speed` is the record's
    verdict, `speedup_verdict` one number's; `settings` are the compressor's parameters, as JSON;
    `run_state` is "complete" or "interrupted"; `_best` is true or false. Text that a spreadsheet would take
    for a formula has an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for of in MEASURE_NAMES.values() for name in of]
    writer.writerow(
        [
            *("run", "started", "run_state", *_SHARED, "workload", "settings", "control", "pairs", "examples"),
            *(f"{part}_of_{measure}" for measure in MEASURE_NAMES for part in ("verdict", "reason")),
            *(f"{name}{part}" for name in names for part in ("", "_low", "_high", "_bound", "_verdict")),
            *(f"{name}_best" for name in MARKED),
        ]
    )
    state = "complete" if run.end else "interrupted"
    for row, marks in _marked(sections_of(run, choice)):
        line: list[Any] = [run.header.run, run.header.started, state]
        line += [getattr(row.first, name) for name in _SHARED]
        line += [row.workload, json.dumps(row.first.parameters), row.control, row.pairs, row.examples]
        for measure in MEASURE_NAMES:
            record = row.records.get(measure)
            line += [row.verdict(measure), record.reason] if record else [None, None]
        for name in names:
            found = row.measure(name)
            line += [found.value, found.low, found.high, found.bound, _word(row, found)]
        line += [str(name in marks).lower() for name in MARKED]
        writer.writerow([csv_text(cell) if isinstance(cell, str) else cell for cell in line])
    return out.getvalue()


def to_json(run: Run, choice: Choice = ALL) -> str:
    """The run's table and summary as one JSON object; what is missing is null.

    schema       1: the version of this layout
    run, started, ended, pressbench, machine, options     from the run; ended is null if interrupted
    models       {name: what the run understood of it}, of declared models alone
    interrupted  true where the run has no end line
    executed, expected, counts {verdict: records}, seconds {stage: seconds}
    missing      ids of the cases that were expected and not executed
    notes        what is odd about the file (unreadable lines among them), one line of text each
    problems     [{case, measure, verdict, reason}], worst first
    rows         [{model, task, hardware, hardware_class, workload, compressor, family, effect, role,
                   parameters, pairs, examples, control, group, verdicts, measures}]
    verdicts     {"accuracy"|"speed"|"footprint": {case, verdict, reason, artifact} or null}
    measures     {name: {value, low, high, bound, verdict, reason}}; units as in `results.store.record.Measure`.
                 verdict is null where nothing was recorded
    """
    groups = sections_of(run, choice)
    what = summary_of(run, groups)
    header, end = run.header, run.end
    payload = {
        "schema": 1,
        "run": header.run,
        "started": header.started or None,
        "ended": end.ended if end else None,
        "pressbench": header.pressbench,
        "machine": header.machine,
        "options": header.options,
        "models": mapping(header.extra.get("models")),
        "interrupted": what.interrupted,
        "executed": what.executed,
        "expected": what.expected,
        "counts": what.counts,
        "seconds": what.seconds,
        "least_seconds": what.least,
        "missing": what.missing,
        "notes": what.notes,
        "problems": [
            {"case": r.case, "measure": r.measure, "verdict": r.verdict, "reason": r.reason} for r in what.problems
        ],
        "rows": [_object(row, marks, group.part) for group in groups for row, marks in _marked([group])],
    }
    return json.dumps(plain(payload), indent=2, allow_nan=False) + "\n"


def _marked(groups: Iterable[Section]) -> Iterator[tuple[Row, frozenset[str]]]:
    """Each row with the names of its measures that are best."""
    for group in groups:
        yield from zip(group.rows, best_measures(group.rows), strict=True)


def _columns(row: Row, cell: Cells, marks: frozenset[str]) -> list[str]:
    def shown(name: str, text: str) -> str:
        number, space, interval = text.partition(" [")
        return f"**{number}**{space}{interval}" if name in marks else text

    verdicts = {
        measure: f"{verdict(row.verdict(measure))} ({bound})" if bound else verdict(row.verdict(measure))
        for measure, bound in cell.bounds.items()
    }
    return [
        markdown(row.label),
        markdown(row.workload or MISSING),
        row.first.role,
        shown("accuracy", cell.accuracy),
        shown("accuracy_drop", cell.drop),
        verdicts["accuracy"],
        shown("speedup", cell.speedup),
        str(row.pairs) if row.pairs is not None else MISSING,
        shown("speedup_vs_control", cell.over_control),
        cell.floor,
        verdicts["speed"],
        f"{shown('size_ratio', cell.size)}{f', {cell.kept}' if cell.kept else ''}",
        verdicts["footprint"],
        cell.memory,
        cell.compress,
    ]


def _says(drawn: Iterable[list[str]], place: int, heading: str) -> bool:
    """Whether the column has anything in it, or is the number of a verdict that has."""
    numbers = {"{value}": "{value}", "speed-up over {reference}": "speed", "size over dense": "size"}
    verdicts = f"{numbers.get(heading)} verdict"
    places = {place, _HEADINGS.index(verdicts) if verdicts in _HEADINGS else place}
    return heading in ("compressor", "role") or any(columns[at] != MISSING for columns in drawn for at in places)


def _pipes(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"


def _word(row: Row, measure: Measure) -> str | None:
    return None if measure is NO_MEASURE or not row.measured else measure.verdict


def _object(row: Row, marks: frozenset[str], group: str) -> dict[str, Any]:
    names = dict.fromkeys(name for of in MEASURE_NAMES.values() for name in of)
    found = {name: row.measure(name) for name in names}
    for record in row.records.values():
        found |= {name: measure for name, measure in record.measures.items() if name not in names}
    return {
        **{name: getattr(row.first, name) for name in _SHARED},
        "workload": row.workload,
        "parameters": row.first.parameters,
        "pairs": row.pairs,
        "examples": row.examples,
        "control": row.control,
        "group": group,
        "verdicts": {name: _verdict(row.records.get(name) if row.measured else None) for name in MEASURE_NAMES},
        "measures": {
            name: {
                **{part: getattr(measure, part) for part in ("value", "low", "high", "bound")},
                "verdict": _word(row, measure),
                "reason": measure.reason,
                "best": name in marks,
            }
            for name, measure in found.items()
        },
    }


def _verdict(record: CaseRecord | None) -> dict[str, str | None] | None:
    if record is None:
        return None
    return {key: getattr(record, key) for key in ("case", "verdict", "reason", "artifact")}
