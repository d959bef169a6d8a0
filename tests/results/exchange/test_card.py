"""The section of a model card, read back by the parser of the Hugging Face hub's own library."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import RUN, case, nightly, three, write

from results.exchange.card import card
from results.store.record import CaseRecord
from results.store.store import Run
from results.store.strict_json import ResultsError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
NAME = "int8-minilm-bbc-cpu"
RECIPE = ({"compressor": "int8", "parameters": {"samples": 128}, "seconds": 14.4},)


def method(**changes: Any) -> list[CaseRecord]:
    found = three("int8", (0.968, 0.003, -0.002, 0.009), (2.61, 2.55, 2.70, 1.41), 0.254, artifact="ab" * 32,
                  recipe=RECIPE, family="quantization", effect="kernel", **changes)  # fmt: skip
    evidence = {"examples": 1063, "task_type": "text-classification", "minimum_detectable_drop": 0.0061}
    return [CaseRecord(**{**vars(r), "evidence": {**r.evidence, **evidence}}) if r.measure == "accuracy" else r
            for r in found]  # fmt: skip


def stored(folder: Path, records: list[CaseRecord]) -> Run:
    dense = [record for record in nightly() if record.compressor == "dense"]
    return write(folder, [*dense, *records])


def read(text: str) -> tuple[ModelCard, dict[str, EvalResult]]:
    found = ModelCard(text)
    return found, {result.metric_type: result for result in found.data.eval_results or []}


def test_the_hubs_parser_reads_name_task_and_numbers(tmp_path: Path) -> None:
    found, results = read(card(stored(tmp_path, method()), NAME, base_model="acme/minilm"))
    assert found.data.model_name == "minilm-int8"
    assert found.data.base_model == "acme/minilm"
    assert found.data.pipeline_tag == "text-classification"
    assert "quantization" in found.data.tags
    values = {kind: result.metric_value for kind, result in results.items()}
    assert values == {"accuracy": 0.968, "accuracy_drop": 0.003, "speedup": 2.61, "size_ratio": 0.254}
    assert {(r.task_type, r.dataset_type, r.dataset_split) for r in results.values()} == {
        ("text-classification", "bbc", "test")
    }
    assert results["speedup"].metric_name == (
        "Speed-up over dense torch fp32, 8x128, cpu-vnni (98 % interval 2.55 to 2.7)"
    )


def test_the_text_says_what_was_done_on_what_and_how_to_see_it_again(tmp_path: Path) -> None:
    text = card(stored(tmp_path, method()), NAME).replace("\\", "")
    for part in (
        "| <code>int8</code> | samples = 128 | 14 s |",
        "| accuracy on 1,063 test examples [95 %] | 96.8 % | 97.1 % |",
        "| +0.3 [−0.2, +0.9] |  | ≤ +1.0 |",
        "| speed-up, 8x128 [98 %], 24 pairs | 2.61× [2.55, 2.70] | 1 | ≥ 2.00× |",
        "Intel Xeon Platinum 8488C, 2 threads, 2026-11-21 22:15 UTC",
        "ab" * 32,
        f"    pytest 'benchmarks/test_accuracy.py::test_accuracy[{NAME}]' 'benchmarks/test_footprint.py::",
        "A loss of less than 0.6 points",
        "- speed at 8x128: **pass**",
    ):
        assert part in text, part


def test_what_was_compressed_elsewhere_is_not_called_ours(tmp_path: Path) -> None:
    sha = "cd" * 32
    step = {
        "compressor": "given", "parameters": {"path": "/models/theirs.onnx", "sha256": sha}, "seconds": 0.1,
        "told": {"given": "ONNX (onnx.quantize 0.1.0; ai.onnx 17)"},
    }  # fmt: skip
    records = [
        CaseRecord(**{**vars(record), "family": "given", "effect": None, "recipe": (step,),
                      "parameters": {"compressor": "given", **step["parameters"]}})
        for record in method()
    ]  # fmt: skip
    text = re.sub(r"</?code>", "", card(stored(tmp_path, records), NAME).replace("\\", ""))
    assert "int8, compressed elsewhere (/models/theirs.onnx, ONNX (onnx.quantize 0.1.0; ai.onnx 17)), judged by" in text
    assert "by pressbench." not in text and "It claims the effect" not in text
    assert sha[:40] in text


def test_every_workload_has_its_speed(tmp_path: Path) -> None:
    other = [r for r in method(workload="1x512") if r.measure == "speed"]
    other = [CaseRecord(**{**vars(r), "case": "int8-minilm-bbc-cpu-1x512"}) for r in other]
    found = card(stored(tmp_path, [*method(), *other]), NAME)
    names = [r.metric_name for r in ModelCard(found).data.eval_results or [] if r.metric_type == "speedup"]
    assert [name.split(", ")[1] for name in names] == ["8x128", "1x512"]


def test_a_number_that_does_not_count_is_not_in_the_metadata_and_is_said(tmp_path: Path) -> None:
    verdicts = ("fail", "unqualified", "pass")
    records = method(verdicts=verdicts, reasons=("lost too much", "load of others 31 %", ""))
    text = card(stored(tmp_path, records), NAME)
    _, results = read(text)
    assert set(results) == {"accuracy", "accuracy_drop", "size_ratio"}
    assert "speed at 8x128: **unqualified**: load of others 31 %" in text
    assert "accuracy: **fail**: lost too much" in text
    assert "its numbers are not to be quoted" in text


def test_a_run_from_before_task_types_takes_the_one_that_is_given(tmp_path: Path) -> None:
    records = [CaseRecord(**{**vars(record), "evidence": {}}) for record in method()]
    run = stored(tmp_path, records)
    assert read(card(run, NAME))[0].data.pipeline_tag is None
    found, results = read(card(run, NAME, task_type="image-classification"))
    assert (found.data.pipeline_tag, results["accuracy"].task_type) == ("image-classification",) * 2


HOSTILE = "x: y\n---\n# z <script>alert(1)</script> | [a](http://a.example) `b` \x00 \ud800"


def test_hostile_names_are_text_in_metadata_and_markdown(tmp_path: Path) -> None:
    records = [
        CaseRecord(**{**vars(record), "compressor": HOSTILE, "model": HOSTILE, "task": HOSTILE, "family": HOSTILE,
                      "reason": HOSTILE, "artifact": HOSTILE, "hardware_class": HOSTILE, "workload": HOSTILE,
                      "recipe": (HOSTILE, {"compressor": HOSTILE, "parameters": {HOSTILE: HOSTILE}, "seconds": "x"})})
        for record in method()
    ]  # fmt: skip
    text = card(write(tmp_path, records), NAME)
    text.encode()
    found, results = read(text)
    assert set(results) == {"accuracy", "accuracy_drop", "speedup", "size_ratio"}
    assert results["accuracy"].dataset_name.startswith("x: y --- # z <script>")
    assert "<script>" not in found.text and "](" not in found.text.replace("\\]", "")
    assert "\n---" not in found.text
    headings = [line for line in found.text.splitlines() if line.startswith("#")]
    assert headings == ["## Compression", "## Measured", "## Conditions", "## Limits"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("int8-minilm-bbc-cqu", f"no case 'int8-minilm-bbc-cqu' in run {RUN}; nearest: int8-minilm-bbc-cpu"),
        ("dense-minilm-bbc-cpu", "is the dense model itself"),
        ("gptq-4bit-minilm-bbc-cpu", "nothing was made in run 20261121T221530Z-3f2a: unsupported: needs gptqmodel"),
    ],
)
def test_what_has_no_card_is_one_line(tmp_path: Path, name: str, told: str) -> None:
    absent = case("gptq-4bit", verdict="unsupported", reason="needs gptqmodel")
    with pytest.raises(ResultsError) as error:
        card(stored(tmp_path, [*method(), absent]), name)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
