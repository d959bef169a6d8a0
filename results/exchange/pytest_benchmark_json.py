"""pytest-benchmark's JSON: read as a run of unpaired times, and written from a run's timed cases.

What is imported stays apart. A time of one program on its own says nothing of a speed-up that was measured
against the dense model in the same minutes: such records have a measure of their own (`UNPAIRED`), a run id
that never passes for the latest run, and no fingerprint that a baseline could be kept under.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from results.store.record import UNPAIRED, CaseRecord, Measure, RunHeader
from results.store.store import Run
from results.store.strict_json import Fields, ResultsError, decode
from results.store.tally import latest
from results.store.text import shown

SOURCE = "pytest-benchmark"
_STATS = {
    "seconds": "median",
    "seconds_min": "min",
    "seconds_max": "max",
    "seconds_mean": "mean",
    "seconds_stddev": "stddev",
}
"""The numbers of a record -> what pytest-benchmark calls them, all in seconds."""


def to_run(content: bytes, where: str) -> tuple[RunHeader, list[CaseRecord]]:
    """The run in the content of a file that `--benchmark-json` or `--benchmark-autosave` wrote.

    One record for each benchmark, named by its full name, with the median in seconds as its number and all
    statistics and samples as evidence. where: the file's name, for messages. Raises ResultsError where the
    content is not such a file.
    """
    try:
        fields = Fields(decode(content), where)
    except ResultsError as error:
        message = str(error)
        raise ResultsError(message if message.startswith(where) else f"{where}: {message}") from None
    started = _moment(fields)
    machine = fields.mapping("machine_info")
    benchmarks = fields.sequence("benchmarks")
    if not benchmarks:
        raise ResultsError(f"{where}: holds no benchmarks of {SOURCE}")
    run = f"{SOURCE}-{started:%Y%m%dT%H%M%SZ}-{hashlib.sha256(content).hexdigest()[:8]}"
    version = shown(fields.text("version", ""))
    common = {
        "run": run,
        "measure": UNPAIRED,
        "hardware": _text(machine.get("machine")) or "unknown",
        "verdict": "measured",
        "reason": f"imported from {SOURCE}: seconds of one program, not paired with a dense model's",
        "fingerprint": _fingerprint(machine),
        "ended": started.isoformat(timespec="seconds"),
    }
    records = [_record(item, where, index, version, common) for index, item in enumerate(benchmarks)]
    header = RunHeader(
        run=run,
        started=started.isoformat(timespec="seconds"),
        options={"imported": SOURCE, "version": version},
        machine={"name": _machine_name(machine)},
        expected=tuple(record.case for record in records),
        extra={"commit_info": fields.mapping("commit_info"), "machine_info": machine},
    )
    return header, records


def from_run(run: Run) -> dict[str, Any]:
    """The timed cases of a run as pytest-benchmark's JSON: for each, the seconds a call of the compressed model, slot
    by slot, with the statistics that pytest-benchmark itself computes. The verdict, which rests on the pairs, stands
    in `extra_info`. Raises ResultsError where the run timed nothing."""
    from pytest_benchmark import __version__
    from pytest_benchmark.stats import Stats

    benchmarks = []
    for record in latest(run.cases):
        samples = record.evidence.get("compressed_seconds")
        if record.measure != "speed" or not isinstance(samples, list | tuple):
            continue
        times = [float(s) for s in samples if isinstance(s, int | float) and not isinstance(s, bool)]
        if not times or len(times) != len(samples):
            continue
        stats = Stats()
        stats.data = times
        calls = record.evidence.get("calls_per_slot")
        calls = calls.get("compressed") if isinstance(calls, Mapping) else None
        benchmarks.append(
            {
                "group": " ".join(filter(None, (record.model, record.hardware, record.workload))),
                "name": record.case,
                "fullname": record.case,
                "params": None,
                "param": None,
                "extra_info": {
                    "run": record.run,
                    "verdict": record.verdict,
                    "reason": record.reason,
                    "fingerprint": record.fingerprint,
                    "speedup": (record.measures.get("speedup") or Measure()).to_json(),
                },
                "options": {},
                "stats": {**stats.as_dict(), "data": times, "iterations": calls if isinstance(calls, int) else 1},
            }
        )
    if not benchmarks:
        raise ResultsError(f"run {shown(run.header.run)} has no timed case to export")
    machine = run.header.machine
    return {
        "machine_info": {"node": "", "machine": machine.get("name") or "", "fingerprint": machine.get("hash") or ""},
        "commit_info": {},
        "benchmarks": benchmarks,
        "datetime": run.header.started,
        "version": __version__,
    }


def _record(item: object, where: str, index: int, version: str, common: Mapping[str, Any]) -> CaseRecord:
    fields = Fields(item, where, f"benchmarks[{index}].")
    fullname = fields.text("fullname")
    given = fields.mapping("stats")
    stats = Fields(given, where, f"benchmarks[{index}].stats.")
    measures = {name: Measure(value=stats.number(key)) for name, key in _STATS.items()}
    if measures["seconds"].value is None:
        raise stats.error("median", "missing")
    rest = {key: value for key, value in fields.rest().items() if key in ("group", "params", "extra_info", "options")}
    return CaseRecord(
        **common,
        case=fullname,
        compressor=fields.text("name", fullname),
        model=fullname.partition("::")[0],
        measures=measures,
        evidence={"paired": False, "source": f"{SOURCE} {version}".strip(), "stats": given, **rest},
    )


def _moment(fields: Fields) -> datetime:
    given = fields.text("datetime")
    try:
        moment = datetime.fromisoformat(given)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise fields.error("datetime", f"not a time: {shown(given)[:60]!r}") from None


def _cpu(machine: Mapping[str, Any]) -> str:
    cpu = machine.get("cpu")
    return _text(cpu.get("brand_raw") or cpu.get("brand")) if isinstance(cpu, Mapping) else ""


def _machine_name(machine: Mapping[str, Any]) -> str:
    parts = (_cpu(machine) or _text(machine.get("processor")), _text(machine.get("node")))
    return ", ".join(filter(None, parts)) or "unknown"


def _fingerprint(machine: Mapping[str, Any]) -> str:
    """Of what pytest-benchmark says of the machine and of Python: not comparable with this project's own, and not
    hexadecimal alone, so that no baseline can be kept under it."""
    keys = ("node", "machine", "processor", "system", "python_implementation", "python_version")
    known = {key: _text(machine.get(key)) for key in keys} | {"cpu": _cpu(machine)}
    return f"{SOURCE}:{hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
