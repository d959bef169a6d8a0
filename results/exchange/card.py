"""A section of a model card for one compressed model, from the records of its run.

Markdown below YAML metadata in the form of `model-index`, as the Hugging Face hub reads it. What was not judged, or was
judged otherwise than a pass, is said; a number that was taken under conditions that do not count is not in the
metadata.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results.store.quality import PERPLEXITY, SCORE, metric_of, quality_of
from results.store.record import CaseRecord, Measure
from results.store.reproduction import command
from results.store.store import Run
from results.store.strict_json import ResultsError
from results.store.text import clipped, markdown, shown
from results.table.cells import MISSING, cells, circumstances, date, memory, seconds
from results.table.rows import Row, reference_of, rows

_EFFECTS = {
    "kernel": "runs faster",
    "storage": "smaller on disk or in memory",
    "simulated": "changes the numbers only: neither faster nor smaller",
}
_METRIC_TYPES = {"chrF": "chrf", "ROUGE-L": "rouge"}
_VOID = ("error", "unsupported", "unqualified")
"""Verdicts of records whose numbers are not to be quoted."""
GIVEN = "given"
"""The family of what was compressed elsewhere."""
_NAME, _TEXT = 100, 600  # characters


def card(run: Run, case: str, *, base_model: str | None = None, task_type: str | None = None) -> str:
    """The section for the method and model of `case`, one of the run's case ids.

    base_model: the dense model's name on the hub. task_type: the hub's name of the task, such as
    text-classification; without it what the run recorded. Raises ResultsError where the run has no such case, where it
    is the dense model's own, and where nothing was made.
    """
    every = rows(run)
    found = next((row for row in every if any(r.case == case for r in row.records.values())), None)
    if found is None:
        near = difflib.get_close_matches(case, {record.case for record in run.cases}, n=3)
        hint = f"; nearest: {', '.join(map(shown, near))}" if near else ""
        raise ResultsError(f"no case {shown(case)!r} in run {shown(run.header.run)}{hint}")
    if found.first.role == "dense":
        raise ResultsError(f"{shown(case)} is the dense model itself: name a case of a method")
    records = [record for record in found.records.values() if record.artifact]
    if not records:
        why = f"{found.first.verdict}: {found.first.reason}"
        raise ResultsError(f"{shown(case)}: nothing was made in run {shown(run.header.run)}: {shown(why)}")
    group = [row for row in every if row.group == found.group]
    alike = [row for row in group if row.label == found.label]
    dense = next((row for row in group if row.first.role == "dense"), None)
    blocks = [
        "## Compression",
        _what(found.first),
        _recipe(records),
        "## Measured",
        _measured(alike, dense),
        *_verdicts(alike),
        "## Conditions",
        _conditions(run, records, dense),
        "To measure it again, in a checkout of pressbench:",
        f"    {command(run.header, found.records.values())}",
        "## Limits",
        _limits(run, alike),
    ]
    body = "\n\n".join(block for block in blocks if block)
    return f"---\n{_metadata(alike, base_model, task_type)}\n---\n\n{body}\n"


# -- metadata --------------------------------------------------------------------------------------


def _metadata(alike: Sequence[Row], base_model: str | None, task_type: str | None) -> str:
    from huggingface_hub import EvalResult, ModelCardData  # takes a moment, which other commands need not wait for

    first = alike[0].first
    accuracy = alike[0].records.get("accuracy")
    recorded = accuracy.evidence.get("task_type") if accuracy else None
    known = task_type or (recorded if isinstance(recorded, str) else None)
    task = _line(known or "classification")
    dataset = _line(first.task or "unknown")
    results = [
        EvalResult(
            task_type=task, dataset_type=dataset, dataset_name=dataset, dataset_split="test",
            metric_type=kind, metric_name=_line(name), metric_value=value,
        )
        for kind, name, value in _metrics(alike)
    ]  # fmt: skip
    data = ModelCardData(
        model_name=_line(f"{first.model}-{first.compressor}"),
        base_model=base_model and _line(base_model),
        pipeline_tag=_line(known) if known else None,
        tags=[_line(tag) for tag in ("model-compression", first.family, "pressbench") if tag],
        eval_results=results or None,
    )
    if not results:
        data.pop("model_name")  # it is a part of the results
    return data.to_yaml()


def _metrics(alike: Sequence[Row]) -> list[tuple[str, str, float]]:
    """(the hub's metric type, name with interval, value) for each number that may be quoted."""
    row = alike[0]
    metric = metric_of(row.records.get("accuracy"))
    found = [
        ("accuracy", "Accuracy", row, "accuracy", "accuracy", "95 %"),
        ("accuracy_drop", "Accuracy lost against the dense model", row, "accuracy", "accuracy_drop", "90 %"),
        ("perplexity", "Perplexity", row, "accuracy", "perplexity", ""),
        ("perplexity_rise", "Rise of perplexity over the dense model's", row, "accuracy", "perplexity_rise", "90 %"),
        (_METRIC_TYPES.get(metric, "score"), metric, row, "accuracy", "score", "95 %"),
        ("score_drop", f"{metric} lost against the dense model", row, "accuracy", "score_drop", "90 %"),
        ("f1", "F1 of entities", row, "accuracy", "f1", ""),
        *(
            ("speedup", f"Speed-up over {reference_of([row])}, {one.workload}, {_device(one.first)}", one, "speed",
             "speedup", "98 %")
            for one in alike
        ),
        ("size_ratio", "Bytes on disk over the dense model's", row, "footprint", "size_ratio", ""),
    ]  # fmt: skip
    metrics = []
    for kind, name, of, measure, key, level in found:
        record, number = of.records.get(measure), of.measure(key)
        if record is not None and record.verdict not in _VOID and number.value is not None:
            metrics.append((kind, name + _interval(number, level), round(float(number.value), 6)))
    return metrics


def _interval(number: Measure, level: str) -> str:
    if number.low is None and number.high is None:
        return ""
    low, high = ("open" if end is None else f"{end:.4g}" for end in (number.low, number.high))
    return f" ({level} interval {low} to {high})"


# -- text ------------------------------------------------------------------------------------------


def _what(record: CaseRecord) -> str:
    effect = f" It claims the effect `{record.effect}`: {_EFFECTS[record.effect]}." if record.effect else ""
    family = f", of the family {_name(record.family)}," if record.family else ""
    task = f" for the task {_name(record.task)}" if record.task else ""
    if record.role == "control":
        how = "another runtime or precision, nothing compressed"
        return f"{_name(record.model)}{task} as {_name(record.compressor)}: {how}."
    if record.family == GIVEN:
        told = next((step.get("told") for step in record.recipe if isinstance(step, Mapping)), None)
        what = told.get("given") if isinstance(told, Mapping) else None
        where = f"{_name(str(record.parameters.get('path', '?')))}" + (f", {_name(str(what))}" if what else "")
        return (
            f"{_name(record.compressor)}, compressed elsewhere ({where}), judged by pressbench beside "
            f"{_name(record.model)}{task}."
        )
    return f"{_name(record.model)}{task}, compressed with {_name(record.compressor)}{family} by pressbench.{effect}"


def _recipe(records: Sequence[CaseRecord]) -> str:
    """The steps as a table; the parameters alone where the steps were not kept."""
    steps = next((record.recipe for record in records if record.recipe), ())
    lines = []
    for step in steps:
        if not isinstance(step, Mapping):
            continue
        spent = step.get("seconds")
        took = seconds(float(spent)) if isinstance(spent, int | float) else MISSING
        lines.append((_name(str(step.get("compressor", MISSING))), _parameters(step.get("parameters")), took))
    if not lines:
        given = {k: v for k, v in records[0].parameters.items() if k != "compressor"}
        lines = [(_name(records[0].compressor), _parameters(given), MISSING)]
    return _table(("step", "parameters", "time"), lines)


def _parameters(given: object) -> str:
    if not isinstance(given, Mapping) or not given:
        return MISSING
    return markdown(clipped(", ".join(f"{name} = {value}" for name, value in given.items()), _TEXT))


def _measured(alike: Sequence[Row], dense: Row | None) -> str:
    row = alike[0]
    cell, of_dense = cells(row), cells(dense) if dense else None
    accuracy = row.records.get("accuracy")
    examples = accuracy.evidence.get("examples") if accuracy else None
    on = f" on {examples:,} test examples" if isinstance(examples, int) else ""
    words = f"accuracy{on} [95 %]", "accuracy lost, points [90 %], + is a loss"
    if quality_of(accuracy) is PERPLEXITY:
        words = f"perplexity{on}", "rise of perplexity [90 %], + is a loss"
    elif quality_of(accuracy) is SCORE:
        words = f"{metric_of(accuracy)}{on} [95 %]", "points lost [90 %], + is a loss"
    lines = [
        (words[0], cell.accuracy, of_dense.accuracy if of_dense else MISSING, ""),
        (words[1], cell.drop, "", cell.bounds["accuracy"]),
    ]
    for one in alike:
        fast = cells(one)
        shape = f", {one.workload}" if one.workload else ""
        pairs = f", {one.pairs} pairs" if one.pairs is not None else ""
        lines.append((f"speed-up{shape} [98 %]{pairs}", fast.speedup, "1", fast.bounds["speed"]))
        if one.control:
            lines.append((f"speed-up over the fastest dense control ({one.control}){shape}", fast.over_control, "", ""))
    lines += [
        ("bytes on disk over the dense model's", cell.size, "1", cell.bounds["footprint"]),
        ("size on disk", _bytes(row), _bytes(dense), ""),
        ("peak memory", cell.memory, of_dense.memory if of_dense else MISSING, ""),
    ]
    headings = ("", "compressed", reference_of([row]), "bound")
    return _table(headings, [[markdown(clipped(part, _TEXT)) for part in line] for line in lines])


def _bytes(row: Row | None) -> str:
    return memory(row.measure("disk_bytes").value) if row else MISSING


def _verdicts(alike: Sequence[Row]) -> list[str]:
    """A line for each verdict, with its reason: a card that leaves out what failed is an advertisement."""
    records = {(r.measure, r.case): r for row in alike for r in row.records.values()}
    lines = []
    for record in records.values():
        reason = f": {_text(record.reason)}" if record.reason else ""
        shape = f" at {_text(record.workload)}" if record.workload else ""
        lines.append(f"- {record.measure}{shape}: **{record.verdict}**{reason}")
    return ["\n".join(lines)] if lines else []


def _conditions(run: Run, records: Sequence[CaseRecord], dense: Row | None) -> str:
    header = run.header
    libraries = header.machine.get("key", {})
    libraries = libraries.get("libraries") if isinstance(libraries, Mapping) else None
    named = ""
    if isinstance(libraries, Mapping):
        named = ", ".join(f"{name} {version}" for name, version in libraries.items() if version != "absent")
    made_of = next((r.artifact for r in dense.records.values() if r.artifact), None) if dense else None
    lines = [
        circumstances(header),
        f"device: {_device(records[0])}",
        f"pressbench {header.pressbench}" if header.pressbench else "",
        f"libraries: {named}" if named else "",
        f"SHA-256 over the files of the compressed model: {records[0].artifact}",
        f"SHA-256 over the files of the dense model it was compared with: {made_of}" if made_of else "",
        f"fingerprint of the machine: {header.machine['hash']}" if header.machine.get("hash") else "",
    ]
    return "\n".join(f"- {_text(line)}" for line in lines if line)


def _limits(run: Run, alike: Sequence[Row]) -> str:
    row = alike[0]
    accuracy, speed = row.records.get("accuracy"), row.records.get("speed")
    when = date(run.header.started) if run.header.started else "an unknown date"
    machine = run.header.machine.get("name") or "one machine"
    lines = [
        f"Speed holds for this machine ({machine}, {_device(row.first)}), these libraries and these shapes, as of"
        f" {when}. Another machine gives another ratio: measure there.",
        f"Accuracy holds for the task {row.first.task}, on its test split alone." if row.first.task else "",
    ]  # fmt: skip
    for key, unit in (("minimum_detectable_drop", "points"), ("minimum_detectable_rise", "% of perplexity")):
        least = accuracy.evidence.get(key) if accuracy else None
        if isinstance(least, int | float) and least > 0:
            lines.append(f"A loss of less than {100 * least:.1f} {unit} could not have been told from none.")
    tau = speed.evidence.get("tau") if speed else None
    if isinstance(tau, int | float):
        allowed = f"an allowance of {100 * tau:.1f} %" if tau else "no allowance"
        lines.append(f"The verdict on speed was made with {allowed} for shifts of the whole machine.")
    for measure in ("accuracy", "speed", "footprint"):
        record = row.records.get(measure)
        if record is None:
            lines.append(f"{measure} was not measured in this run.")
        elif record.verdict in _VOID:
            lines.append(f"{measure} is {record.verdict}: its numbers are not to be quoted.")
    if run.end is None:
        lines.append("The run was interrupted before its end.")
    return "\n".join(f"- {_text(line)}" for line in lines if line)


def _device(record: CaseRecord) -> str:
    return record.hardware_class or record.hardware


def _table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    headings = tuple(headings)
    cut = [headings, ("---",) * len(headings), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cut)


def _name(text: str) -> str:
    return f"<code>{markdown(clipped(text, _NAME))}</code>"


def _text(text: str) -> str:
    return markdown(clipped(text, _TEXT))


def _line(text: Any) -> str:
    """Text for the metadata, on one line."""
    return clipped(str(text), 2 * _NAME)
