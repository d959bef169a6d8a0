"""Numbers from the literature as rows of a table, below what was measured: no record stands behind them, nothing judges
them, and they take no part in what is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.store.declared import Declared, Published, declared
from results.store.quality import Quality, of_task, qualities
from results.store.record import CaseRecord, Measure
from results.table.machines import Entry, Machine
from results.table.rows import PUBLISHED, Row, judged

_LONGEST = 120
"""Characters of a method, and of a source, in the name of a row."""


def with_published(found: Sequence[Entry], models: Sequence[Mapping[str, Declared]]) -> list[Entry]:
    """`found`, then the published numbers of each model, task and device of which the quality was measured.

    models: for each machine what was declared there; a number stands on the machines that declared it.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault(entry.row.group, []).append(entry)
    return [*found, *(entry for key, group in groups.items() for entry in _entries(key[0], group, models))]


def declared_on(machine: Machine) -> dict[str, Declared]:
    """What was declared in the runs of a machine, of each model the newest declaration."""
    return {name: model for run in machine.runs for name, model in declared(run.header).items()}


def _entries(name: str, group: Sequence[Entry], models: Sequence[Mapping[str, Declared]]) -> list[Entry]:
    on = [_published(name, [entry.on[place] for entry in group], there) for place, there in enumerate(models)]
    rows = [{(one.method, one.value, one.source): one for one in there} for there in on]
    every = {key: one for there in rows for key, one in there.items()}
    measured = [row for entry in group for row in entry.on if row is not None]
    known = next((there[name] for there in models if name in there), Declared(name))
    made = {key: _row(one, measured, known) for key, one in every.items()}
    return [Entry(row, tuple(row if key in there else None for there in rows)) for key, row in made.items()]


def _published(name: str, rows: Sequence[Row | None], there: Mapping[str, Declared]) -> Sequence[Published]:
    return there[name].published if name in there and judged(rows, "accuracy") else ()


def _row(one: Published, measured: Sequence[Row], model: Declared) -> Row:
    first = measured[0].first
    records = judged(measured, "accuracy")
    told: Quality = next(iter(qualities(records)), of_task(model.task))
    metrics = [metric for record in records if isinstance(metric := record.evidence.get("metric"), str)]
    record = CaseRecord(
        run="",
        case="",
        measure="accuracy",
        compressor=one.method,
        model=first.model,
        task=first.task,
        hardware=first.hardware,
        hardware_class=first.hardware_class,
        verdict="measured",
        role=PUBLISHED,
        parameters={"source": one.source},
        measures={told.value: Measure(value=one.value)},
        evidence={"metric": next(iter(metrics), model.metric)},
    )
    return Row(f"{_cut(one.method)} (published: {_cut(one.source)})", None, {"accuracy": record})


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
