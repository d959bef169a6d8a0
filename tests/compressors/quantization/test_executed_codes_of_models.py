"""A model on the kernels of ATen and OpenVINO answers as the packed one, with the codes that lie in its file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import Subject, make

sys.path.append(str(Path(__file__).parent))
from chained_codes import ATEN, NEAREST, OPENVINO, answers, chained, stored

from compressors import artifact, conformance, registry, surgery
from compressors.artifact import Artifact
from compressors.build import build
from compressors.interface import Context
from compressors.quantization.packed import Layout, PackedWeight
from compressors.quantization.packed_layers import PackedLinear
from compressors.runtimes.openvino import OpenvinoRuntime


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A head of its own and no bias; a tied head, biases and Conv1D."""
    torch.set_num_threads(1)
    return make(request.param, tmp_path_factory.mktemp(request.param))


def test_aten_answers_as_the_packed_model_with_the_codes_that_lie_in_its_file(tiny: Subject) -> None:
    rounded, made = chained(tiny, NEAREST), chained(tiny, NEAREST, ATEN)
    before, after = stored(rounded), stored(made)
    layers = made.recipe[-1]["structure"]["layers"]
    assert set(layers) == {n for n, m in rounded.model().named_modules() if isinstance(m, PackedLinear)}
    assert "lm_head" in layers and len(layers) > 12
    for name in layers:
        assert np.array_equal(before[f"{name}.weight.codes"], after[f"{name}.codes"]), name
    dense, wanted, found = answers(tiny, tiny.dense), answers(tiny, rounded), answers(tiny, made)
    loss, moved = np.abs(wanted - dense).max(), np.abs(found - wanted).max()
    assert moved < 0.03 * np.abs(wanted).max() and loss > 3 * moved
    few = {name: values[:4].numpy() for name, values in tiny.examples.inputs.items()}
    executed = made.executed(few)
    assert executed is not None and executed.narrower(16) > 0.8
    # The table of a tied head lies there once; of two matrices both are packed.
    assert made.disk_bytes < 1.15 * rounded.disk_bytes


def test_openvino_answers_as_the_packed_model_with_the_codes_that_lie_in_its_file(tiny: Subject) -> None:
    rounded, made = chained(tiny, NEAREST), chained(tiny, NEAREST, OPENVINO)
    graph = OpenvinoRuntime().read(made.directory, made.manifest)
    held = {n.get_data().tobytes() for n in graph.get_ops() if n.get_type_name() == "Constant"}
    codes = {name: values for name, values in stored(rounded).items() if name.endswith("weight.codes")}
    assert len(codes) > 12 and all(values.tobytes() in held for values in codes.values())
    wanted, found = answers(tiny, rounded), answers(tiny, made)
    assert found == pytest.approx(wanted, abs=1e-4)
    numbers = made.inventory().dtypes
    assert set(numbers) <= {"u4", "f32"} and numbers["u4"] == rounded.inventory().dtypes["uint4"]
    assert numbers.get("f32", 0) < rounded.inventory().dtypes["float32"] + 500
    assert (made.directory / "model.bin").stat().st_size < 1.1 * rounded.disk_bytes
    ids = tiny.examples.inputs["input_ids"][:1, :6].numpy()
    generator = made.generator(threads=1)
    first = generator.prefill(ids)
    whole = made.load(threads=1)({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert first == whole[:, -1].argmax(-1)


def executed(subject: Subject, source: Artifact, method: tuple[str, dict[str, Any]], folder: Path) -> Artifact:
    step = registry.build(*method)
    context = Context(model=subject.spec, hardware=conformance.HARDWARE, dense=subject.dense.model)
    return build([step], source, context, folder / step.name)


def test_a_column_scale_is_honoured_by_both(tiny: Subject, tmp_path: Path) -> None:
    rounded = chained(tiny, NEAREST)
    model, recipe = rounded.model(), json.loads(json.dumps(rounded.recipe))
    structure = recipe[-1]["structure"]
    for name, layout in structure["layers"].items():
        weight = surgery.get(model, name).packed
        scaled = PackedWeight(Layout(**layout | {"column_scale": True}), weight.rows, weight.columns)
        scaled.load_state_dict({**weight.state_dict(), "column_scale": torch.linspace(0.5, 2, weight.columns)})
        surgery.get(model, name)._modules["weight"] = scaled
        layout["column_scale"] = True
    for alias, owner in structure["shared"].items():
        surgery.get(model, alias)._modules["weight"] = surgery.get(model, owner).packed
    source = artifact.save(model, tmp_path / "scaled", tiny.spec, recipe=recipe)
    wanted = answers(tiny, source)
    size = np.abs(wanted).max()
    assert np.abs(answers(tiny, rounded) - wanted).max() > 0.3 * size
    assert np.abs(answers(tiny, executed(tiny, source, ATEN, tmp_path)) - wanted).max() < 0.03 * size
    assert np.abs(answers(tiny, executed(tiny, source, OPENVINO, tmp_path)) - wanted).max() < 1e-4 * size
