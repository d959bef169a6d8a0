"""Runs to report on: with samples, predictions and comparisons, and one whose every text is hostile."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
from table_runs import case, three

from results.store.record import CaseRecord, Measure, RunEnd, RunHeader
from results.store.run_writer import RunWriter
from results.store.store import Run, read_run

PRINT = "ab" * 32
LABELS = ("business", "entertainment", "politics", "sports", "tech")
DIGIT = [[255 * (x in (2, 5) or y in (0, 7)) for x in range(8)] for y in range(8)]
LAYERS = {"classifier": 1925, "bert.pooler": 147_840, "bert.embeddings": 11_917_824} | {
    f"bert.encoder.layer.{i}": 1_774_464 for i in range(6)
}
HOSTILE = [
    "<script>document.title = 'pwned'</script>",
    "</script><script>document.title = 'pwned'</script>",
    "<img src=x onerror=\"document.title = 'pwned'\">",
    '"><svg onload="document.title = \'pwned\'">',
    "javascript:document.title='pwned'",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "<!-- <style>*{display:none}</style>",
    "datum['a'] && toString.constructor('x')()",
    "\u202eevil\u2066\u200b",
    "\ud800lone",
    "\x00\x1b[31mred\x07\u2028\u2029",
    "two\r\nlines & <b>bold</b>",
    "日本語モデル 🧪 e\u0301",
]


LONG = "a very long text without an end " * 3000


def samples(ratio: float, pairs: int, seed: int = 0) -> dict[str, Any]:
    """The evidence of a speed record: slots of 10 ms, spread by 8 %, `ratio` times as fast when compressed."""
    draw = random.Random(seed)
    return {
        "pairs": pairs, "alpha": 0.01, "tau": 0.0, "control": "openvino-fp32", "decided_at": min(12, pairs),
        "dense_seconds": [0.01 * draw.lognormvariate(0, 0.08) for _ in range(pairs)],
        "compressed_seconds": [0.01 / ratio * draw.lognormvariate(0, 0.08) for _ in range(pairs)],
        "control_seconds": [0.006 * draw.lognormvariate(0, 0.08) for _ in range(pairs)],
        "orders": [draw.choice(["dbc", "cbd", "bdc"]) for _ in range(pairs)],
    }  # fmt: skip


def method(name: str, speedup: float, drop: float, size: float, pairs: int = 24, **changes: Any) -> list[CaseRecord]:
    """Accuracy, speed and footprint of one method with the evidence that a real one has."""
    interval = (speedup, speedup * 0.95, speedup * 1.05, speedup / 1.85)
    records = three(name, (0.97 - drop, drop, drop - 0.004, drop + 0.004), interval, size, **changes)
    labels = [i % 5 for i in range(200)]
    dense = [label if i % 30 else (label + 1) % 5 for i, label in enumerate(labels)]
    found = [answer if i % 25 else (answer + 1) % 5 for i, answer in enumerate(dense)]
    evidence: list[dict[str, Any]] = [
        {"predictions": found, "dense_predictions": dense, "labels": labels, "label_names": list(LABELS),
         "flipped": {"total": sum(a != b for a, b in zip(dense, found, strict=True)), "examples": [
             {"row": i, "label": LABELS[labels[i]], "dense": LABELS[dense[i]], "compressed": LABELS[found[i]],
              **({"image": DIGIT} if i % 50 else {"text": f"Document {i}: shares rose again. " * 10})}
             for i in range(200) if dense[i] != found[i]]}},
        samples(speedup, pairs),
        {"files": {"model.onnx": {"bytes": 23_000_000, "sha256": "0" * 64}}, "dtypes": {"int8": 22_000_000},
         "operators": {"MatMul": 12}, "witness": ["bytes on disk 0.254×"],
         "dense_layers": {name: {"bytes": 4 * count, "parameters": count} for name, count in LAYERS.items()},
         "layers": {name: {"bytes": int(4 * size * count), "parameters": count} for name, count in LAYERS.items()}},
    ]  # fmt: skip
    steps = ({"compressor": name, "parameters": {"bits": 8}, "seconds": 12.5},)
    return [
        replace(
            record,
            parameters={"compressor": name, "bits": 8},
            evidence=kept,
            recipe=steps,
            artifact="a" * 64,
            fingerprint=PRINT,
            seconds={"case": 1.5},
        )
        for record, kept in zip(records, evidence, strict=True)
    ]


def store(folder: Path, run: str, records: list[CaseRecord], *, end: bool = True, **header: Any) -> Run:
    """A run file with `records` in it, read back."""
    about: dict[str, Any] = {
        "started": f"2026-11-{10 + len(list(folder.glob('*.jsonl'))):02d}T22:15:30+00:00",
        "pressbench": "0.1.0",
        "options": {"tier": "nightly", "seed": 3, "model": ["minilm"], "compressor": None},
        "machine": {"name": "Some CPU", "threads": 2, "hash": PRINT, "key": {"libraries": {"torch": "2.13.0"}}},
        "expected": tuple(record.case for record in records),
    }
    with RunWriter(folder, RunHeader(run=run, **about | header)) as writer:
        for record in records:
            writer.write(replace(record, run=run))
        if end:
            writer.finish({"compress": 812.4, "speed": 604, "accuracy": 388.1}, {"compress": 301.2, "speed": 502.0})
    return read_run(writer.path)


def usual(**compared: Any) -> list[CaseRecord]:
    """A dense model, a control and three methods. compared: compressor -> the comparison of its speed."""
    found = [
        *method("dense", 1.0, 0.0, 1.0, role="dense", verdicts=("measured",) * 3),
        *method("openvino-fp32", 1.85, 0.0, 1.003, role="control", verdicts=("measured",) * 3),
        *method("int8", 2.6, 0.003, 0.254, family="quantization"),
        *method("distil", 2.8, 0.001, 0.69, family="distillation"),
        *method("prune", 1.2, 0.02, 0.54, family="pruning", verdicts=("fail", "inconclusive", "pass"),
                reasons=("drop 2.0 points, allowed 1.0", "24 pairs cannot decide it", "")),
    ]  # fmt: skip
    return [
        replace(r, comparison=compared[r.compressor]) if r.measure == "speed" and r.compressor in compared else r
        for r in found
    ]


def hostile(folder: Path) -> Run:
    """A run in which every text that a record may hold is hostile."""
    header = RunHeader(
        run="hostile", started=HOSTILE[1], pressbench=HOSTILE[0],
        options={"tier": HOSTILE[2], "model": HOSTILE, "compressor": HOSTILE[1], "tau": HOSTILE[0], "seed": [1]},
        machine={"name": HOSTILE[0], "hash": HOSTILE[1], "gpu": HOSTILE[2], "key": {t: {t: [t]} for t in HOSTILE},
                 "noted": {t: t for t in HOSTILE}},
        expected=(*HOSTILE, "</script>"),
        extra={"models": {text: _understood(text) for text in HOSTILE} | {"odd": {"hub": 3, "rows": ["x"]}}},
    )  # fmt: skip
    with RunWriter(folder, header) as writer:
        for i, text in enumerate(HOSTILE):
            for record in three(text, (0.9, 0.01 + i / 500, 0.0, 0.1), (1.5 + i / 10, 1.4, 3.2, 1.0), 0.2 + i / 30):
                writer.write(_hostile(record, text))
        for odd in ({"orders": "x", "dense_seconds": ["1"], "compressed_seconds": [1]}, {"dense_seconds": {"a": 1}},
                    {"predictions": 3, "labels": [1]}, {"conditions": 5, "files": [1], "witness": {"a": 1}, "tau": "x",
                     "dense_seconds": [1.0, -1.0], "compressed_seconds": [1.0, 1.0]}):  # fmt: skip
            for measure in ("accuracy", "speed", "footprint"):
                name, measures = f"odd {len(odd)} {next(iter(odd))}", {"speedup": Measure(value=-2.0, low=-3, bound=-1)}
                writer.write(case(name, measure, run="hostile", evidence=odd, verdict="pass", measures=measures))
        writer.write(
            RunEnd(
                run="hostile",
                ended="",
                expected=9,
                executed=9,
                counts={},
                seconds={HOSTILE[0]: 1, "x": 2},
                least={HOSTILE[0]: 1, "x": -2, "y": 3},
            )
        )
    return read_run(writer.path)


def _understood(text: str) -> dict[str, Any]:
    """What is said of a declared model, all of it hostile."""
    facts = {"name": text, "revision": text, "commit": text, "note": text, "files": {text: [text, LONG]}}
    return {
        **dict.fromkeys(("where", "model", "architecture", "data", "task", "split"), text),
        "columns": {text: text}, "labels": [text, 3], "rows": {text: 3, LONG: text}, "training_examples": text,
        "test_examples": 10**400, "settings": {"tokens": text, "metric": text}, "notes": [text, None, LONG],
        "hub": {"model": facts, "data": facts, "test_data": facts, text: facts, "none": text},
        "published": [{"method": text, "value": 0.5, "source": text}, {"method": LONG, "value": 1e300, "source": LONG}],
    }  # fmt: skip


def _hostile(record: CaseRecord, text: str) -> CaseRecord:
    texts: dict[str, Any] = dict.fromkeys(
        ("case", "compressor", "model", "task", "hardware", "hardware_class", "family", "reason", "artifact"), text
    )
    kept = {
        "accuracy": {"predictions": [text, 1], "dense_predictions": [2, text], "labels": [text, text], "detail": text,
                     "label_names": [text], "flipped": {"total": text, "examples": [
                         {"row": 0, "text": text * 2 + LONG, "image": [[text, 300], [1]]},
                         {"row": 1, "text": [text], "image": text}, {"row": text, "text": text}, text]}},
        "speed": samples(2.0, 20) | {"orders": [text] * 20, "control": text, "detail": f"{text}\n{text}"},
        "footprint": {"files": {text: {"bytes": 5, "sha256": text}}, "witness": [text], "dtypes": {text: 3},
                      "operators": {text: 2}, "layers": {text: {"bytes": 5, "parameters": text}, "b": text},
                      "dense_layers": {text: {"bytes": 10, "parameters": 3}, "odd": {"bytes": -1}}},
    }  # fmt: skip
    return replace(
        record, run="hostile", **texts, workload=text if record.measure == "speed" else None,
        evidence=kept[record.measure], recipe=({"compressor": text, "parameters": {text: [text]}}, text),
        fingerprint=text, ended=text, parameters={text: text},
        measures={name: replace(m, reason=text) for name, m in record.measures.items()},
        comparison={"outcome": "regression" if len(text) % 2 else text, "reason": text, "against": text, "before": 2.0,
                    "now": 1.0},
        expected={"reason": text},
    )  # fmt: skip
