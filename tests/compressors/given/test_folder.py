"""A folder that save_pretrained wrote runs as from_pretrained makes it, and what is wrong with it is told by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from compressors import conformance
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.interface import Context, Hardware, PressbenchError, Unsupported
from compressors.runtimes.folder import _telling
from compressors.tiny_specs import TINY_SPECS

sys.path.append(str(Path(__file__).parents[2]))
from tiny_architectures import make

CPU = Hardware("cpu", "cpu-other")
BERT = TINY_SPECS["bert"]


def config(**more: Any) -> transformers.BertConfig:
    settings = {key: value for key, value in BERT.config.items() if key not in ("model_type", "architectures")}
    return transformers.BertConfig(**{**settings, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    transformers.BertForSequenceClassification(config(num_hidden_layers=2)).save_pretrained(tmp_path / "given")
    return tmp_path / "given"


def taken(path: Path, into: Path, spec: Any = None, dense: Artifact | None = None) -> Artifact:
    dense = dense or conformance.subject("bert").dense
    spec = spec or dense.spec
    given = Given(str(path))
    looked = given.looked()
    given.fit(looked, spec)
    return build_step(replace(given, sha256=looked.sha256), dense, Context(spec, CPU, dense.model), into)


def inputs(rows: int = 4) -> dict[str, np.ndarray]:
    return {name: values.numpy()[:rows] for name, values in conformance.subject("bert").examples.inputs.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_answers_as_transformers_does_in_the_type_it_is_stored_in(
    tmp_path: Path, folder: Path, dtype: torch.dtype
) -> None:
    model = transformers.BertForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
    model.save_pretrained(tmp_path / "stored")
    made = taken(tmp_path / "stored", tmp_path / "made")
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(a) for name, a in inputs().items()}).logits.float().numpy()
    np.testing.assert_allclose(made.load()(inputs()), expected, atol=1e-6)
    assert set(made.inventory().dtypes) == {str(dtype).removeprefix("torch.")}
    stored = (tmp_path / "stored" / "model.safetensors").stat().st_size
    assert made.manifest["files"]["model.safetensors"]["bytes"] == stored, "its size is that of the file it came in"
    executed, dense = made.executed(inputs()), conformance.subject("bert").dense.executed(inputs())
    assert executed and dense and executed.total < 0.7 * dense.total, "two layers of four"


def test_files_in_parts_come_along(tmp_path: Path, folder: Path) -> None:
    model = transformers.BertForSequenceClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    made = taken(tmp_path / "parts", tmp_path / "made")
    assert sum(name.endswith(".safetensors") for name in made.manifest["files"]) > 1
    np.testing.assert_array_equal(made.load()(inputs()), taken(folder, tmp_path / "one").load()(inputs()))


def test_a_language_model_reads_and_writes(tmp_path: Path) -> None:
    subject = make("llama", tmp_path / "llama")
    subject.model.save_pretrained(tmp_path / "given")
    made = taken(tmp_path / "given", tmp_path / "made", subject.spec, subject.dense)
    ids = np.arange(4, 12, dtype=np.int64)[None]
    ours, theirs = subject.dense.generator(), made.generator()
    first = ours.prefill(ids)
    np.testing.assert_array_equal(theirs.prefill(ids), first)
    np.testing.assert_array_equal(theirs.decode(first, 5), ours.decode(first, 5))


# -- what is wrong -----------------------------------------------------------------------------------


def _tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


def _config(**more: Any) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))

    return changed


def _indexed(text: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        (folder / "model.safetensors.index.json").write_text(text)

    return changed


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _led_out(name: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        elsewhere = folder.parent / f"elsewhere-{name}"
        (folder / name).rename(elsewhere) if (folder / name).exists() else elsewhere.write_text("{}")
        (folder / name).symlink_to(elsewhere)

    return changed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_tensors(lambda t: [t.pop(n) for n in list(t) if n.startswith("classifier")]), "the first classifier.bias"),
        (_tensors(lambda t: t.update({"bert.encoder.layer.0.more": torch.ones(2)})), "not taken by .*layer.0.more"),
        (_tensors(lambda t: t.update({"classifier.weight": torch.ones(5, 64)})), "shape"),
        (_config(architectures=["BertForTokenClassification"]), "has another head than the dense model, BertForSeq"),
        (_config(architectures=["BertOfMine"], auto_map={}), "BertOfMine is no class of .*its code is its own"),
        (_config(architectures=None), "config.json: not readable as JSON with architectures"),
        (_config(quantization_config={"quant_method": "mine"}), "names the quantization .mine., which is not"),
        (_cut, "model.safetensors: damaged or truncated"),
        (lambda folder: (folder / "model.safetensors.index.json").write_text("{}"), "index.json: damaged"),
        (_indexed('{"weight_map": {"a": "../b"}}'), "names a file outside the folder: '../b'"),
        (_indexed('{"weight_map": {"a": "b.safetensors"}}'), "two sets of weights in one folder"),
        (_indexed('{"weight_map": {"a": 5}}'), "index.json: damaged"),
        (_led_out("model.safetensors"), "model.safetensors leads out of its folder"),
        (_led_out("config.json"), "config.json leads out of its folder"),
        (_led_out("tokenizer.json"), "tokenizer.json leads out of its folder"),
        (_config(quantization_config="int8"), "a quantization_config that is no table"),
        (_config(id2label={str(n): f"c{n}" for n in range(7)}), "it has 7 outputs, the dense model 3"),
    ],
)  # fmt: skip
def test_it_is_one_line(tmp_path: Path, folder: Path, change: Callable[[Path], Any], told: str) -> None:
    change(folder)
    with pytest.raises(PressbenchError, match=told) as error:
        given = Given(str(folder))
        _ = given.requires
        taken(folder, tmp_path / "made")
    assert "\n" not in str(error.value)


def test_a_library_that_is_not_there_is_asked_for(folder: Path) -> None:
    _config(quantization_config={"quant_method": "gptq", "bits": 4})(folder)
    assert Given(str(folder)).requires["gptqmodel"] == "gptqmodel"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (AssertionError("N must be divisible by block_n"), False), (NotImplementedError("int4 on the CPU"), False),
        (MemoryError(), True), (IndexError("index out of range in self"), True), (OSError(28, "full"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
    ],
)  # fmt: skip
def test_what_a_quantizers_kernel_refuses_is_its_reason_and_what_is_the_machines_is_not(
    error: Exception, kept: bool
) -> None:
    class Kernel(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            raise error

    model = Kernel(2, 2)
    _telling(model, "bitsandbytes")
    with pytest.raises(type(error) if kept else Unsupported) as told:
        model(torch.ones(2))
    assert kept or str(told.value) == f"bitsandbytes does not run it here: {error}"


def test_ports_are_said_of_graphs_alone(folder: Path) -> None:
    given = Given(str(folder), output="logits")
    with pytest.raises(GivenError, match="a folder has those of transformers"):
        given.fit(given.looked(), BERT)


def test_weights_that_a_library_packed_are_counted_as_the_model_has_them(tmp_path: Path) -> None:
    """Eight codes of 4 bits lie in a number of 32: counted as they lie they would be an eighth as many."""
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config())
    folder = tmp_path / "given"
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [n for n in tensors if n.endswith("query.weight")]:
        rows, columns = tensors.pop(name).shape
        tensors[name.replace("weight", "qweight")] = torch.zeros(columns // 8, rows, dtype=torch.int32)
        tensors[name.replace("weight", "scales")] = torch.ones(1, rows, dtype=torch.float16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _config(quantization_config={"quant_method": "gptq", "bits": 4})(folder)
    dense = conformance.subject("bert").dense
    looked = Given(str(folder)).looked()
    given = Given(str(folder), looked.sha256)
    made = build_step(given, dense, Context(dense.spec, CPU, dense.model), tmp_path / "made")
    found = made.inventory()
    assert found.parameters == sum(values.numel() for values in model.parameters())
    assert found.nonzero is None
    assert found.dtypes["i32"] == 4 * 64 * 64 // 8
    stored = sum(layer.bytes for layer in found.layers.values())
    assert stored == sum(values.numel() * values.element_size() for values in tensors.values())
