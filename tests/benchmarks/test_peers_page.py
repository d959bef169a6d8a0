"""docs/peers.md: what is set beside what, from records alone."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers
from benchmarks.matrix.selection import parse_compressors
from compressors import registry
from compressors.peers.base import Peer
from results.store.record import CaseRecord, Measure, RunHeader
from results.store.run_writer import RunWriter


def record(compressor: str, rise: float | None, measure: str = "accuracy", **more: Any) -> CaseRecord:
    numbers = {} if rise is None else {"perplexity": 38.0 * (1 + rise), "perplexity_rise": rise}
    if measure == "footprint":
        numbers = {"disk_bytes": 3 * 2**20, "compress_seconds": 21.0}
    given: dict[str, Any] = {
        "run": "r", "case": f"{compressor}-m-cpu", "model": "m", "hardware": "cpu", "task": "causal-lm",
        "verdict": "measured", "family": "quantization",
        "parameters": {"compressor": compressor.partition("-4bit")[0], "bits": 4},
        "measures": {n: Measure(value=v, low=v - 0.001, high=v + 0.001) for n, v in numbers.items()},
    }  # fmt: skip
    return CaseRecord(compressor=compressor, measure=measure, **{**given, **more})


def run(path: Path, *records: CaseRecord, started: str = "2026-11-28T10:00:00+00:00") -> Path:
    header = RunHeader(run="r", started=started, machine={"name": "A CPU"})
    with RunWriter(path, header) as writer:
        for one in records:
            writer.write(one)
        writer.finish()
    return next(path.glob("*.jsonl"))


TOLD = ({"compressor": "peer-a", "told": {"peer": "a 1.2", "seconds": 4.5, "bytes": 2**20}},)
RECORDS = (
    record("dense", 0.0, role="dense", family="dense", parameters={"compressor": "dense"}),
    record("peer-a-4bit", 0.2, recipe=TOLD),
    record("peer-a-4bit", None, "footprint", recipe=TOLD),
    record("ours-4bit", 0.1),
    record("ours-3bit", 0.5, parameters={"compressor": "ours", "bits": 3}),
    record("peer-b-nf4", 0.15, parameters={"compressor": "peer-b-nf4"}),
    record("all-of-it", 0.3, parameters={"compressor": "ours", "bits": 4, "embedding_bits": None}),
    record("blocks", 0.4, parameters={"compressor": "ours", "bits": 4, "embedding_bits": 0, "embeddings": False}),
    record("peer-c-4bit", None, verdict="unsupported", reason="peer-c: needs an environment of its own"),
    record("even", 0.35, parameters={"compressor": "ours", "bits": 4, "symmetric": True}),
    record("pruned", 0.01, family="pruning"),
    record("bf16", 0.01, role="control", family="control"),
)


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *runs: Path) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["peers", *map(str, runs), "--page", str(tmp_path / "page.md")])
    code = peers.main()
    return code, (tmp_path / "page.md").read_text() if code == 0 else ""


def test_equal_bits_stand_together_by_what_they_lose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, page = written(tmp_path, monkeypatch, run(tmp_path / "a", *RECORDS))
    three, _, four = page.partition("### 3 bits a weight")[2].partition("### 4 bits a weight")
    names = [
        [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("|")][2:] for part in (three, four)
    ]
    assert names[0] == ["dense", "`ours-3bit`"]
    assert names[1] == [
        "dense", "`ours-4bit`", "`peer-b-nf4`", "`peer-a-4bit`", "`all-of-it` (embeddings or head too)",
        "`even` (no zero points)", "`blocks`"
    ]  # fmt: skip
    assert "pruned" not in page and "bf16" not in page
    assert "`peer-c-4bit`: unsupported: peer-c: needs an environment of its own" in page
    (line,) = [line for line in page.splitlines() if line.startswith("| `peer-a-4bit` |")]
    assert [cell.strip() for cell in line.split("|")][2:-1] == [
        "a 1.2", "45.60 ppl [45.60, 45.60]", "+20.0 % [+19.9, +20.1]", "–", "21 s", "4.50 s", "3.00 MiB", "1.00 MiB"
    ]  # fmt: skip
    (line,) = [line for line in page.splitlines() if line.startswith("| `ours-4bit` |")]
    assert [cell.strip() for cell in line.split("|")][2] == "ours" and line.count("–") == 5
    assert "a run of 2026-11-28 on A CPU" in page
    assert "pressbench peers install peer-a peer-b-nf4 peer-c\n" in page


def by_document(compressor: str, rise: float, **more: Any) -> CaseRecord:
    """Of 60 documents of 10 tokens, each a little more or less than `rise`."""
    nll = [10 * (3 + 0.01 * (number % 7) + rise + (0.002 if number % 2 else -0.002)) for number in range(60)]
    evidence = {"nll": nll, "tokens": [10] * 60, "measured_on": {"examples": "1"}, **more.pop("evidence", {})}
    return record(compressor, rise, evidence=evidence, **more)


def test_theirs_are_set_beside_the_best_of_ours_on_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = (
        by_document("ours-4bit", 0.1), by_document("ours-too-4bit", 0.2), by_document("peer-a-4bit", 0.15, recipe=TOLD),
        by_document("peer-b-4bit", 0.05, recipe=TOLD),
        by_document("peer-c-4bit", 0.3, recipe=TOLD, evidence={"measured_on": {"examples": "2"}}),
        by_document("peer-d-4bit", 0.3, recipe=TOLD, evidence={"tokens": [11] * 60}),
        by_document("peer-e-4bit", 0.3, recipe=TOLD, fingerprint="another machine"),
    )  # fmt: skip
    _, page = written(tmp_path, monkeypatch, run(tmp_path / "a", RECORDS[0], *records))
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| ")]
    over = {row[1]: row[5] for row in rows if len(row) > 8}
    assert over["`peer-a-4bit`"] == "+5.1 % [+5.1, +5.1]"  # e ** 0.05, the documents' own differences cancel
    assert over["`peer-b-4bit`"] == "−4.9 % [−4.9, −4.9]"
    others = ("dense", "`ours-4bit`", "`ours-too-4bit`", "`peer-c-4bit`", "`peer-d-4bit`", "`peer-e-4bit`")
    assert {over[name] for name in others} == {"–"}


def test_theirs_are_set_beside_ours_by_which_examples_are_right() -> None:
    truth = [number % 3 for number in range(300)]
    evidence = {"labels": truth, "predictions": truth}
    wrong = [1 - label if number < 30 else label for number, label in enumerate(truth)]
    one = record("ours", 0.0, evidence=evidence)
    found = peers.paired(one, record("peer", 0.1, evidence={**evidence, "predictions": wrong}))
    assert found is not None and found.value == pytest.approx(0.1) and found.low > 0.05
    turned = {"labels": truth[::-1], "predictions": truth[::-1]}
    assert peers.paired(one, record("peer", 0.1, evidence=turned)) is None


def test_the_command_to_do_it_again_names_what_the_options_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [("quantize-gptq", {"bits": 3, "grid": "fitted"}), ("quantize-gptq", {"bits": 4, "group_size": 32})]
    records = [
        record(f"{name}-of-ours", 0.1, parameters={"compressor": name, **registry.build(name, more).parameters})
        for name, more in given
    ]
    records[1] = dataclasses.replace(records[1], compressor="quantize-gptq-group_size=32")
    _, page = written(tmp_path, monkeypatch, run(tmp_path / "a", *records, record("quantize-nf4-4bit-g64", 0.2)))
    (line,) = [line for line in page.splitlines() if line.startswith("    pytest benchmarks")]
    said = shlex.split(line)[shlex.split(line).index("--compressor") :]
    options = [value for option, value in itertools.pairwise(said) if option == "--compressor"]
    assert options[1:] == ["quantize-gptq:group_size=32", "quantize-nf4-4bit-g64"]
    assert [one.parameters for one in parse_compressors(options[:2], "full").values()] == [
        registry.build(name, more).parameters for name, more in given
    ]


def test_of_a_case_the_newest_record_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = run(tmp_path / "new", record("ours-4bit", 0.7), started="2026-11-29T10:00:00+00:00")
    old = run(tmp_path / "old", record("ours-4bit", 0.1))
    _, page = written(tmp_path, monkeypatch, new, old)
    assert "+70.0 %" in page and "+10.0 %" not in page
    assert "2 runs of 2026-11-28 and 2026-11-29" in page


def test_without_a_record_of_a_quantization_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = written(tmp_path, monkeypatch, run(tmp_path / "a", RECORDS[0], RECORDS[-1]))
    assert code == 1 and not (tmp_path / "page.md").exists()
    assert capsys.readouterr().err.startswith("peers: no record of a quantization in these runs")
    assert written(tmp_path, monkeypatch, tmp_path / "none.jsonl")[0] == 1


def test_every_peer_is_told_of_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, page = written(tmp_path, monkeypatch, run(tmp_path, *RECORDS))
    lines = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `peer-") and "bits" in line}
    known = {name for name, cls in registry.compressor_classes().items() if issubclass(cls, Peer)}
    assert known and known <= set(lines)
    assert "torchao" in lines["peer-torchao"] and all(
        line.count(" | ") == 3 for name, line in lines.items() if name in known
    )
