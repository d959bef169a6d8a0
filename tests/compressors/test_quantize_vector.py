"""Vector quantization: against brute force, numpy and scikit-learn; and the file, by a reader that shares no code."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.cluster import KMeans
from torch import Tensor, nn

from compressors import conformance, registry, surgery
from compressors.build import build
from compressors.interface import Examples, PressbenchError, Unsupported
from compressors.quantization import codes_openvino, kernels, vector_fit
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedLinear
from compressors.quantization.vector import QuantizeVector
from compressors.quantization.vector_weight import VectorWeight, decode, on_vectors

QUICK = {"code_bits": 4, "iterations": 1}
QUICKER = {"code_bits": 4, "iterations": 0}


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(rows: int = 48, columns: int = 64) -> tuple[Tensor, Tensor]:
    """A weight with rows of different size, and the moments of inputs that go together and differ in size, as those
    of a trained layer do: (rows, columns), (columns, columns)."""
    mixed = draws(400, columns, seed=1) + draws(400, 4, seed=2) @ draws(4, columns, seed=3)
    inputs = (
        mixed * torch.logspace(-1, 0.7, columns)[torch.randperm(columns, generator=torch.Generator().manual_seed(4))]
    )
    return draws(rows, columns) * torch.logspace(-2, 0, rows)[:, None], inputs.T @ inputs


def fit(weight: Tensor, moments: Tensor, width: int = 4, books: int = 1, bits: int = 4, iterations: int = 2) -> Tensor:
    """What is read back, (rows, columns)."""
    torch.manual_seed(0)
    return vector_fit.fit(weight, moments, width, books, bits, iterations, 0.01).dequantize()


def error(weight: Tensor, found: Tensor, moments: Tensor) -> float:
    """Of the layer's answers, squared, over these."""
    e, w, h = (weight - found).double(), weight.double(), moments.double()
    return float(((e @ h) * e).sum() / ((w @ h) * w).sum())


def damped(moments: Tensor) -> Tensor:
    hessian = moments / moments.diagonal().mean()
    return hessian + 0.01 * torch.eye(len(hessian))


# -- the parts, each against something else --------------------------------------------------------


def test_one_codebook_is_searched_through() -> None:
    vectors, table = draws(3000, 3), draws(1, 32, 3, seed=1)
    far = (vectors[:, None].double() - table[0].double()).square().sum(2)
    codes = vector_fit.nearest(vectors, table)
    assert codes.shape == (3000, 1)
    assert far.gather(1, codes).squeeze(1).numpy() == pytest.approx(far.amin(1).numpy(), abs=1e-5)


@pytest.mark.parametrize("books", [2, 3])
def test_a_wide_beam_finds_the_nearest_of_all_sums(books: int) -> None:
    vectors, tables = draws(200, 4), draws(books, 6, 4, seed=1)
    every = torch.tensor(list(itertools.product(range(6), repeat=books)))
    sums = torch.stack([tables[book][every[:, book]] for book in range(books)]).sum(0)
    far = (vectors[:, None] - sums).square().sum(2)
    wide = every[far.argmin(1)]
    assert (vector_fit.nearest(vectors, tables, beam=36) == wide).all(1).float().mean() > 0.99
    narrow = vector_fit.nearest(vectors, tables, beam=1)
    apart = [float((vectors - decode(codes, tables)).square().sum()) for codes in (wide, narrow)]
    assert apart[0] < apart[1] < 3 * apart[0]


def test_entries_of_two_heaps_by_hand() -> None:
    torch.manual_seed(0)
    vectors = torch.tensor([[0.0, 0.0], [1.0, 2.0], [100.0, 5.0], [102.0, 5.0]])
    importance = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    found = vector_fit.kmeans(vectors, importance, 2)
    assert sorted(found.tolist()) == [pytest.approx([0.75, 1.0]), pytest.approx([101.0, 5.0])]


def test_entries_are_about_as_good_as_those_of_scikit_learn() -> None:
    vectors, weight = draws(4000, 4), draws(4000, seed=1).exp()
    torch.manual_seed(0)
    found = vector_fit.kmeans(vectors, weight[:, None].expand(-1, 4), 32, rounds=40)
    own = float((weight * torch.cdist(vectors, found).square().amin(1)).sum())
    theirs = KMeans(32, n_init=3, random_state=0).fit(vectors.numpy(), sample_weight=weight.numpy())
    assert own < 1.04 * theirs.inertia_


@pytest.mark.parametrize("books", [1, 2])
def test_entries_are_those_of_numpys_least_squares(books: int) -> None:
    weight, moments = layer(12, 8)
    hessian, scale = damped(moments), draws(12, 1).abs() + 0.5
    codes = torch.randint(0, 4, (12, 4, books), generator=torch.Generator().manual_seed(2))
    begun = draws(books, 5, 2, seed=5)  # nothing stands for the last entry of each
    found = vector_fit.least_squares(weight, hessian, scale, codes, begun, steps=200)
    root = np.linalg.cholesky(hessian.double().numpy())
    design = np.zeros((12 * 8, books * 5 * 2))
    for at, (row, group, book, place) in enumerate(itertools.product(range(12), range(4), range(books), range(2))):
        cell, entry = row * 8 + group * 2 + place, (book * 5 + int(codes[row, group, book])) * 2 + place
        design[cell, entry] += float(scale[row])
        assert at < design.size
    seen = (design.reshape(12, 8, -1).transpose(0, 2, 1) @ root).transpose(0, 2, 1).reshape(96, -1)
    best, *_ = np.linalg.lstsq(seen, (weight.double().numpy() @ root).ravel(), rcond=None)
    assert design @ found.double().numpy().ravel() == pytest.approx(design @ best, abs=2e-3)
    assert torch.equal(found[:, 4], begun[:, 4])


def test_scales_are_those_of_least_squares_by_row() -> None:
    weight, moments = layer(6, 8)
    shape = weight + 0.3 * draws(6, 8, seed=9) * weight.abs().mean(1, keepdim=True)
    shape[2] = 0
    found = vector_fit.scales(weight, moments, shape, torch.full((6, 1), 7.0))
    root = np.linalg.cholesky(damped(moments).double().numpy() - 0.01 * np.eye(8) + 1e-9 * np.eye(8))
    for row in (0, 1, 3, 4, 5):
        one, other = shape[row].double().numpy() @ root, weight[row].double().numpy() @ root
        assert float(found[row]) == pytest.approx(float(one @ other / (one @ one)), rel=1e-3)
    assert float(found[2]) == 7.0


@pytest.mark.parametrize(("width", "books"), [(2, 1), (4, 2)])
def test_each_code_is_the_best_given_the_others(width: int, books: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last sub-vector of a row is chosen when all others are; what corrects columns in bulk has no say."""
    weight, moments = layer(10, 24)
    hessian, scale, tables = damped(moments), draws(10, 1).abs() + 0.2, draws(books, 4, width, seed=7)
    codes = torch.randint(0, 4, (10, 24 // width, books), generator=torch.Generator().manual_seed(2))

    def costs(codes: Tensor) -> Tensor:
        off = (weight - decode(codes, tables).flatten(1) * scale).double()
        return ((off @ hessian.double()) * off).sum(1)

    found = vector_fit.recode(weight, hessian, scale, codes, tables, beam=16)
    assert bool((costs(found) < costs(codes)).all())
    tried = []
    for choice in itertools.product(range(4), repeat=books):
        other = found.clone()
        other[:, -1] = torch.tensor(choice)
        tried.append(costs(other))
    best = torch.stack(tried).amin(0)
    assert torch.allclose(costs(found), best, rtol=1e-4)
    monkeypatch.setattr(vector_fit, "COLUMNS", 8)
    assert torch.equal(vector_fit.recode(weight, hessian, scale, codes, tables, beam=16), found)
    again = found
    for _ in range(3):
        again = vector_fit.recode(weight, hessian, scale, again, tables, beam=16)
        assert bool((costs(again) <= costs(found) * (1 + 1e-5)).all())


# -- a matrix as a whole ----------------------------------------------------------------------------


def test_the_error_falls_as_codes_grow() -> None:
    weight, moments = layer()
    by_bits = [error(weight, fit(weight, moments, bits=bits), moments) for bits in (1, 2, 4, 6)]
    by_books = [error(weight, fit(weight, moments, books=books), moments) for books in (1, 2, 3)]
    by_rounds = [error(weight, fit(weight, moments, iterations=count), moments) for count in (0, 1, 4)]
    for falling in (by_bits, by_books, by_rounds):
        assert all(later < 0.95 * before for before, later in itertools.pairwise(falling)), falling


def test_two_bits_lose_far_less_than_two_bits_rounded_to_nearest() -> None:
    weight, moments = layer(128, 128)
    torch.manual_seed(0)
    stored = vector_fit.fit(weight, moments, 4, 1, 8, 2, 0.01)
    vectors = error(weight, stored.dequantize(), moments)
    linear = nearest(LinearGrid(2, 32), weight).dequantize()
    assert vectors < 0.25 * error(weight, linear, moments)


def test_what_the_layer_answers_is_what_counts() -> None:
    weight, moments = layer()
    unseen = fit(weight, torch.eye(64))
    assert error(weight, fit(weight, moments), moments) < 0.6 * error(weight, unseen, moments)
    assert error(weight, unseen, torch.eye(64)) < error(weight, fit(weight, moments), torch.eye(64))


def test_entries_begin_where_an_error_counts() -> None:
    """The last eight columns hold six vectors only, and nearly all that the layer answers comes from them."""
    weight, few = draws(64, 64), draws(6, 4, seed=50)
    weight[:, 56:] = few[torch.randint(0, 6, (64, 2), generator=torch.Generator().manual_seed(1))].flatten(1)
    moments = torch.ones(64).index_fill(0, torch.arange(56, 64), 1e4).diag()
    assert error(weight, fit(weight, moments, iterations=0), moments) < 0.005


@pytest.mark.parametrize("case", ["dead inputs", "no inputs", "zero rows", "one value", "tiny", "odd width"])
def test_odd_weights_and_inputs_are_no_trap(case: str) -> None:
    weight, moments = layer()
    if case == "dead inputs":
        moments[8:20] = moments[:, 8:20] = 0
    elif case == "no inputs":
        moments = torch.zeros(64, 64)
    elif case == "zero rows":
        weight[3] = weight[7] = 0
    elif case == "one value":
        weight = torch.full((48, 64), -0.3)
    elif case == "tiny":
        weight = weight * 1e-7
    else:
        weight, moments = weight[:, :62], moments[:62, :62]
    found = fit(weight, moments, books=2)
    assert found.shape == weight.shape
    assert bool(found.isfinite().all())
    counted = moments if moments.any() else torch.eye(64)
    assert error(weight, found, counted) < (1e-6 if case == "one value" else 0.1)
    if case == "zero rows":
        assert not found[3].any() and not found[7].any()


def test_what_was_stored_is_on_vectors_and_trained_weights_are_not() -> None:
    weight, moments = layer()
    for books, bits in ((1, 4), (2, 3)):
        assert on_vectors(fit(weight, moments, books=books, bits=bits), 4, 2 ** (books * bits))
    assert not on_vectors(weight, 4, 256)
    assert not on_vectors(fit(weight, moments, bits=6), 4, 16)
    moved = fit(weight, moments)
    moved *= 1 + 0.1 * torch.arange(64)  # the same directions along a row no more
    assert not on_vectors(moved, 4, 16)


# -- the model, and the file ------------------------------------------------------------------------


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


def test_learning_nothing_changes_nothing() -> None:
    torch.manual_seed(0)
    weight, moments = layer()
    stored = vector_fit.fit(weight, moments, 4, 2, 4, 0, 0.01)
    before = stored.dequantize()
    stored.learn()
    assert torch.allclose(stored.dequantize(), before, rtol=1e-5, atol=1e-7)
    stored.dequantize().sum().backward()
    assert stored.codebook.grad is not None and stored.scale.grad is not None
    stored.settle()
    assert torch.allclose(stored.dequantize(), before, rtol=1e-3, atol=1e-6)


def test_kernels_of_single_codes_leave_it_alone() -> None:
    stored = vector_fit.fit(*layer(), 4, 1, 4, 0, 0.01)
    assert kernels.kernel_for(PackedLinear(stored, None)) == "codes of a table of values"
    assert codes_openvino.misfit(stored) == "codes of a table of values"


# -- what is refused --------------------------------------------------------------------------------


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
