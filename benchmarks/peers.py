"""`python -m benchmarks.peers RUN …`: docs/peers.md from the records of runs, ours beside theirs at equal bits."""

from __future__ import annotations

import argparse
import inspect
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.matrix.selection import as_option
from benchmarks.verdicts.accuracy import accuracy_drop
from benchmarks.verdicts.judgement import Judgement
from benchmarks.verdicts.perplexity import perplexity_rise
from compressors import registry
from compressors.peers.base import Peer
from results.history.by_example import correct, losses
from results.store.quality import of_task, qualities
from results.store.record import CaseRecord, Measure
from results.store.store import Run, read_run
from results.store.strict_json import ResultsError
from results.table.cells import MISSING, memory, number, seconds

DOCS = Path("docs/peers.md")
HEAD = """# Ours beside theirs

What other people's quantizers make of the same model, beside ours at the same bits, measured by the same suite and
scored from the files that each saved. Written by `make peers` from the records of {runs}.

- A peer runs in an environment of its own, with pinned versions: `pressbench peers install NAME` makes it, `pressbench
  peers` tells which are there. Without it its cases are `unsupported`, with that command as the reason.
- It is given the dense model as a folder of transformers and the calibration tokens that ours are given, quantizes by
  its own API and saves in its own format. A reader of ours decodes that; what it reads must be what the peer itself
  decodes, every weight, to the rounding of fp16, or the case is an `error`. A peer that calibrates must answer to an
  example as the dense model does here: another version of transformers may read another model from the same files.
- All cover the linear layers of the blocks, neither embeddings nor the output layer, whatever a peer does by default:
  equal bits then mean equal things. Where a row covers more by its parameters, or stores no zero points, it says so.
- "over ours" sets it beside the row of ours that loses least at these bits, paired on the same examples, with the
  interval of 90 %: what lies above 0 loses more than that one. The interval is over examples; what calibrates also
  varies with the order in which sums are taken, by a point of the rise as far as was seen: see [methods](methods.md).
- "made in" is all that a person waits for, from the start of the process to the saved artifact; "of it, quantizing"
  what the peer's own call took, without the start of its interpreter and imports. Weights run decoded, by one layer of
  ours for all: speed of inference says nothing about a peer's kernels, and is not shown.
- "blocks as saved" is the peer's own bytes of these layers, which may hold scales in another type than the artifact.
"""
AGAIN = """
## Again

    pressbench peers install {names}
    pytest benchmarks --model {model} --stage-limit 7200 -m "accuracy or footprint" {options}
    make peers ARGS="results/runs/RUN.jsonl"
"""


@dataclass(frozen=True)
class _Row:
    """One method on one model: its records by measure, of which one is the accuracy."""

    records: dict[str, CaseRecord]

    @property
    def first(self) -> CaseRecord:
        return self.records.get("accuracy") or next(iter(self.records.values()))

    @property
    def told(self) -> dict[str, Any]:
        """What its last step said of its making."""
        for record in self.records.values():
            if record.recipe and isinstance(told := record.recipe[-1].get("told"), dict):
                return told
        return {}

    @property
    def ours(self) -> bool:
        return self.first.role == "method" and "peer" not in self.told

    @property
    def bits(self) -> tuple[float, str]:
        """What it is set beside: bits a weight, and how a heading says it."""
        given = self.first.parameters
        named = re.search(r"(?:nf|int|fp)(\d+)", str(given.get("compressor")))
        bits = given.get("bits") or (int(named[1]) if named else None)
        return (float(bits), f"{bits:g} bits a weight") if bits else (99.0, "Other widths")

    def measure(self, of: str, name: str) -> Measure:
        record = self.records.get(of)
        return record.measures.get(name, Measure()) if record else Measure()


def page(runs: Sequence[Run]) -> str:
    """The page, from the newest record of each case in `runs`, which are in order of time. Raises ResultsError where
    there is none of a quantization."""
    found: dict[tuple[str, str], dict[str, CaseRecord]] = {}
    for run in runs:
        for record in run.cases:
            if record.role == "dense" or (record.role == "method" and record.family == "quantization"):
                found.setdefault((record.model, record.compressor), {})[record.measure] = record
    rows = {key: _Row(records) for key, records in found.items()}
    if not any(row.first.role == "method" for row in rows.values()):
        raise ResultsError("no record of a quantization in these runs: what there is to compare must be measured first")
    machines = sorted({str(run.header.machine.get("name") or run.header.machine.get("cpu")) for run in runs})
    dates = sorted({run.header.started[:10] for run in runs})
    parts = [HEAD.format(runs=f"{_count(len(runs))} of {' and '.join(dates)} on {', '.join(machines)}"), _peers()]
    for model in sorted({model for model, _ in rows}):
        parts.append(f"\n## `{model}`\n")
        parts += _tables([row for (of, _), row in rows.items() if of == model])
    return "".join(parts) + _again(rows.values())


def _peers() -> str:
    """The table of those that there are, in the words of their own files."""
    rows = ["\n| peer | package | what it is | fields |", "|---|---|---|---|"]
    for name, cls in sorted(registry.compressor_classes().items()):
        if not issubclass(cls, Peer):
            continue
        package, version = next(iter(cls.pins.items()))
        what = str(inspect.getdoc(inspect.getmodule(cls))).partition("\n\n")[0]
        cells = (f"`{name}`", f"{package} {version}", what, inspect.getdoc(cls) or "")
        rows.append(f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _count(runs: int) -> str:
    return "a run" if runs == 1 else f"{runs} runs"


def _tables(rows: Sequence[_Row]) -> list[str]:
    dense = [row for row in rows if row.first.role == "dense"]
    methods = [row for row in rows if row.first.role == "method"]
    parts = []
    for _, title in sorted({row.bits for row in methods}):
        own = [row for row in methods if row.bits[1] == title]
        quality = next(iter(qualities(row.first for row in own)), of_task(own[0].first.task))
        scored = [row for row in own if row.measure("accuracy", quality.value).value is not None]
        scored.sort(key=lambda row: row.measure("accuracy", quality.loss).value or 0.0)
        if scored:
            heads = ["compressor", "whose", quality.value, quality.loss.replace("_", " "), "over ours", "made in"]
            heads += ["of it, quantizing", "artifact", "blocks as saved"]
            parts.append(f"\n### {title}\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n")
            best = next((row for row in scored if row.ours), None)
            parts += [_line(row, quality.value, quality.loss, best) for row in [*dense, *scored]]
        parts += [
            f"\n`{row.first.compressor}`: {row.first.verdict}: {row.first.reason}\n" for row in own if row not in scored
        ]
    return parts


def _over(row: _Row, best: _Row | None, loss: str) -> str:
    """What it loses beyond the best of ours, as `loss` is told; none of ours, and none that the records do not show."""
    if best is None or row.ours or row.first.role != "method":
        return MISSING
    found = paired(best.first, row.first)
    return MISSING if found is None else number(loss, Measure(value=found.value, low=found.low, high=found.high))


def paired(one: CaseRecord, other: CaseRecord) -> Judgement | None:
    """What `other` loses beyond `one`, on the same examples; None where they are not the same, or their records do not
    hold what each example lost."""
    if (one.evidence.get("measured_on"), one.fingerprint) != (other.evidence.get("measured_on"), other.fingerprint):
        return None
    ours, theirs = losses(one), losses(other)
    if ours and theirs and "nll" in ours and ours["tokens"] == theirs.get("tokens"):
        return perplexity_rise(ours["nll"], theirs["nll"], ours["tokens"], None)
    right, also = correct(one), correct(other)
    if right and also and one.evidence["labels"] == other.evidence["labels"]:
        return accuracy_drop(right, also, None)
    return None


def _line(row: _Row, value: str, loss: str, best: _Row | None) -> str:
    record, told = row.first, row.told
    name = f"`{record.compressor}`" if record.role == "method" else record.compressor
    given = record.parameters
    more = any(given.get(key, 0) != 0 for key in ("embeddings", "embedding_bits", "head_bits"))
    even = given.get("symmetric") is True or given.get("grid") == "symmetric"
    notes = [note for note, holds in (("embeddings or head too", more), ("no zero points", even)) if holds]
    cells = (
        f"{name} ({', '.join(notes)})" if notes else name,
        "" if record.role != "method" else "ours" if row.ours else str(told["peer"]),
        number(value, row.measure("accuracy", value)),
        number(loss, row.measure("accuracy", loss)),
        _over(row, best, loss),
        seconds(row.measure("footprint", "compress_seconds").value),
        seconds(told["seconds"]) if "seconds" in told else MISSING,
        memory(row.measure("footprint", "disk_bytes").value),
        memory(told["bytes"]) if "bytes" in told else MISSING,
    )
    return f"| {' | '.join(cells)} |\n"


def _again(rows: Iterable[_Row]) -> str:
    methods = [row.first for row in rows if row.first.role == "method"]
    peers = sorted({str(r.parameters.get("compressor")) for r in methods if str(r.compressor).startswith("peer-")})
    options = " ".join(f"--compressor {name}" for name in dict.fromkeys(map(_named, methods)))
    return AGAIN.format(names=" ".join(peers) or "NAME", model=methods[0].model, options=options)


def _named(record: CaseRecord) -> str:
    """What `--compressor` takes for it: its id, or its class with parameters where those are of one's own."""
    given = dict(record.parameters)
    name = str(given.pop("compressor", ""))
    if name not in registry.compressor_classes() or record.compressor in registry.variants("full"):
        return record.compressor
    return shlex.quote(as_option(registry.build(name, given)))


def main() -> int:
    """Write the page; 1 and one line where it cannot be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="files of runs; of a case the last one counts"
    )
    parser.add_argument("--page", type=Path, default=DOCS, help="what to write (default: %(default)s)")
    options = parser.parse_args()
    try:
        runs = sorted((read_run(path) for path in options.runs), key=lambda run: run.header.started)
        options.page.write_text(page(runs), encoding="utf-8")
    except ResultsError as error:
        print(f"peers: {error}", file=sys.stderr)
        return 1
    print(f"peers: wrote {options.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
