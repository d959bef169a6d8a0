"""Codes and codebooks of one weight: against brute force, numpy and scikit-learn, and what the error depends on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from compressors.quantization import codes_openvino, kernels, vector_fit
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed_layers import PackedLinear
from compressors.quantization.vector_weight import decode, on_vectors


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


# -- a matrix as a whole ---------------------------------------------------------------------------


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
