"""Vector quantization of a model: the file, by a reader that shares no code, what it gains, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from compressors import conformance, registry, surgery
from compressors.build import build
from compressors.interface import Examples, PressbenchError, Unsupported
from compressors.quantization.vector import QuantizeVector
from compressors.quantization.vector_weight import VectorWeight

QUICK = {"code_bits": 4, "iterations": 1}
QUICKER = {"code_bits": 4, "iterations": 0}


# -- the model, and the file -----------------------------------------------------------------------


def read_by_hand(folder: Path, name: str, layout: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    """The weight of one layer in float64, bit by bit."""
    stored = load_file(folder / "model.safetensors")
    codes, table = stored[f"{name}.weight.codes"], stored[f"{name}.weight.codebook"].astype(np.float64)
    scale = stored[f"{name}.weight.scale"].astype(np.float64)
    values = np.zeros(shape)
    for row in range(shape[0]):
        bits = [int(byte) >> place & 1 for byte in codes[row] for place in range(8)]
        at = 0
        for start in range(0, shape[1], layout["width"]):
            for book in range(layout["codebooks"]):
                code = sum(bits[at + i] << i for i in range(layout["code_bits"]))
                at += layout["code_bits"]
                for i in range(min(layout["width"], shape[1] - start)):
                    values[row, start + i] += table[book, code, i] * scale[row, 0]
    return values


@pytest.mark.parametrize("parameters", [{}, {"codebooks": 2, "code_bits": 5}, {"width": 5, "code_bits": 3}], ids=str)
def test_the_file_says_what_the_model_computes_with(
    tiny: conformance.Subject, tmp_path: Path, parameters: dict[str, int]
) -> None:
    compressor = QuantizeVector(**{**QUICKER, **parameters})
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    model, dense = made.model(), tiny.dense.model()
    layers = made.recipe[-1]["structure"]["layers"]
    assert set(layers) == set(surgery.block_linears(dense))
    name = list(layers)[-1]
    shape = tuple(surgery.get(dense, name).weight.shape)
    found = read_by_hand(made.directory, name, json.loads(json.dumps(layers[name])), shape)
    assert surgery.get(model, name).weight.numpy() == pytest.approx(found, rel=1e-5, abs=1e-7)
    assert np.corrcoef(found.ravel(), surgery.get(dense, name).weight.detach().numpy().ravel())[0, 1] > 0.3


def test_bytes_claimed_are_bytes_on_disk(tiny: conformance.Subject, tmp_path: Path) -> None:
    compressor = QuantizeVector(codebooks=2, code_bits=5, iterations=0, calibrated=False)
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    inventory = made.inventory()
    assert inventory.parameters == tiny.dense.inventory().parameters
    stored = sum(values.nbytes for values in load_file(made.directory / "model.safetensors").values())
    assert inventory.claimed_bytes == pytest.approx(stored, rel=0.005)
    # 2.5 bits of codes; the tables, 512 bytes, are as much again on a matrix of 64 * 64
    assert {"vector3.75", "vector3.06"} & set(inventory.dtypes)


def test_a_seed_gives_one_artifact(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    compressor = QuantizeVector(**QUICKER)
    one, same, other = (
        build([compressor], tiny_bert.dense, tiny_bert.context(compressor, seed=seed), tmp_path / name).digest
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == same != other


def test_answers_are_nearer_by_calibration_and_by_recovery(tiny_bert: conformance.Subject) -> None:
    """And what is trained ends as it is stored."""
    inputs, dense = tiny_bert.examples.inputs, tiny_bert.examples.dense_logits
    far = {}
    for name, parameters in {
        "weights": {"calibrated": False},
        "answers": {},
        "recovered": {"recovery_epochs": 0.5, "learning_rate": 3e-3},
    }.items():
        compressor = QuantizeVector(**{**QUICK, "code_bits": 3, **parameters})
        torch.manual_seed(0)
        model = compressor.compress(tiny_bert.dense.model(), tiny_bert.context(compressor)).model
        with torch.inference_mode():
            far[name] = float((model(**inputs).logits - dense).norm() / dense.norm())
        packed = [m for m in model.modules() if isinstance(m, VectorWeight)]
        assert {m.codebook.dtype for m in packed} == {torch.float16}
        assert not any(isinstance(value, nn.Parameter) for m in packed for value in (m.codebook, m.scale))
    assert far["answers"] < 0.9 * far["weights"]
    assert far["recovered"] < 0.85 * far["answers"]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 1}, "width = 1: must be a whole number from 2 to 16"),
        ({"codebooks": 0}, "codebooks = 0: must be a whole number from 1 to 8"),
        ({"code_bits": 9}, "code_bits = 9: must be a whole number from 1 to 8"),
        ({"iterations": True}, "iterations = True"),
        ({"damping": 0.0}, r"damping = 0.0: must be above 0"),
        ({"recovery_epochs": -1.0}, "recovery_epochs"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeVector(**parameters)


def test_codebooks_larger_than_the_weights_are_refused(tiny_bert: conformance.Subject) -> None:
    reason = registry.unsupported_reason(QuantizeVector(codebooks=8), tiny_bert.spec, conformance.HARDWARE)
    assert reason == (
        "quantize-vector: codebooks of 16,384 bytes take more than a byte a weight in every layer of "
        "BertForSequenceClassification: fewer code_bits"
    )


def test_a_layer_smaller_than_its_codebooks_stays(tiny_bert: conformance.Subject) -> None:
    compressor = QuantizeVector(codebooks=4, iterations=0, calibrated=False)  # 8,192 bytes
    model = compressor.compress(tiny_bert.dense.model(), tiny_bert.context(compressor)).model
    block = model.bert.encoder.layer[0]
    assert type(block.attention.self.query) is nn.Linear  # 4,096 weights
    assert isinstance(block.intermediate.dense.packed, VectorWeight)  # 8,192


def test_a_weight_that_is_not_finite_is_named_before_any_work(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    with torch.no_grad():
        model.bert.encoder.layer[3].output.dense.weight[1, 1] = float("nan")
    with pytest.raises(PressbenchError, match=r"^bert.encoder.layer.3.output.dense: a weight is not finite"):
        QuantizeVector().compress(model, tiny_bert.context())  # without data: it does not come so far


def given(subject: conformance.Subject, inputs: dict[str, Tensor]) -> Any:
    compressor = QuantizeVector()
    examples = Examples(inputs, torch.zeros(len(next(iter(inputs.values()))), dtype=torch.int64))
    return dataclasses.replace(subject.context(compressor), calibration=examples)


def test_inputs_that_are_not_finite_are_named() -> None:
    vit = conformance.subject("vit")
    broken = torch.full((2, 1, 8, 8), float("nan"))
    with pytest.raises(PressbenchError, match=r"what vit\S+ is given by the calibration data is not finite"):
        QuantizeVector(**QUICK).compress(vit.dense.model(), given(vit, {"pixel_values": broken}))


def test_no_calibration_data_is_one_line() -> None:
    vit = conformance.subject("vit")
    with pytest.raises(PressbenchError, match="the calibration data never reaches"):
        QuantizeVector(**QUICK).compress(vit.dense.model(), given(vit, {"pixel_values": torch.zeros(0, 1, 8, 8)}))


def test_a_second_run_finds_nothing_to_do(tiny: conformance.Subject) -> None:
    compressor = QuantizeVector(**QUICKER)
    model = compressor.compress(tiny.dense.model(), tiny.context(compressor)).model
    again = tiny.dense.model()
    with torch.no_grad():
        for name in surgery.block_linears(again):
            surgery.get(again, name).weight.copy_(surgery.get(model, name).weight)
    with pytest.raises(
        Unsupported, match=r"are 1 \* 4 bits for each 4 of a row already: there is nothing to quantize$"
    ):
        compressor.compress(again, tiny.context(compressor))
    with pytest.raises(Unsupported, match="packed already, no layer is left to quantize"):
        compressor.compress(model, tiny.context(compressor))
