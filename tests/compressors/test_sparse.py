"""Sparse storage: what is stored is what comes back, in no more bits than the pattern needs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressors.pruning import patterns
from compressors.runtimes.sparse import N_OF_M, Layout, decode, encode

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def again(tensor: Tensor) -> Tensor:
    layout, index, values = encode(tensor)
    return decode(Layout.from_json(layout.as_json()), index, values)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    dtype=st.sampled_from(DTYPES),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
@example(shape=[3, 3], dtype=torch.bfloat16, density=0.0, seed=0)
@example(shape=[13], dtype=torch.float32, density=0.5, seed=0)
@example(shape=[8], dtype=torch.float16, density=1.0, seed=0)
@settings(deadline=None)
def test_sparse_storage_is_exact(shape: list[int], dtype: torch.dtype, density: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)
    tensor = tensor.to(dtype)
    _, index, values = encode(tensor)
    assert index.numel() <= -(-tensor.numel() // 8)
    bits = 8 * tensor.element_size()
    assert 8 * index.numel() + bits * values.numel() < tensor.numel() + 8 + bits * int(tensor.count_nonzero())
    found = again(tensor)
    assert found.dtype == dtype and torch.equal(found, tensor)


@pytest.mark.parametrize(
    ("pattern", "sparsity", "bits"),
    [
        ("weights", 0.5, 1), ("2:4", 0.5, 3 / 4), ("4:8", 0.5, 7 / 8), ("1:4", 0.25, 2 / 4), ("4x4", 0.5, 1 / 16),
        ("1x32", 0.5, 1 / 32), ("16x1", 0.75, 1 / 16), ("3x5", 0.5, 1 / 15), ("32x32", 0.9, 1 / 1024),
    ],
)  # fmt: skip
def test_a_pattern_takes_the_bits_that_it_needs(pattern: str, sparsity: float, bits: float) -> None:
    tensor = torch.randn(480, 480, generator=torch.Generator().manual_seed(1))
    tensor = tensor * patterns.masks({"": tensor.abs()}, sparsity, pattern)[""]
    _, index, values = encode(tensor)
    assert index.numel() == math.ceil(bits * tensor.numel() / 8)
    assert values.numel() == int(tensor.count_nonzero())
    assert torch.equal(again(tensor), tensor)


@pytest.mark.parametrize(("zeros", "group"), N_OF_M)
def test_every_case_of_a_group_comes_back(zeros: int, group: int) -> None:
    cases = [[i not in gone for i in range(group)] for gone in itertools.combinations(range(group), zeros)]
    tensor = torch.tensor(cases).float() * torch.arange(1, group + 1)
    layout, _, _ = encode(tensor)
    assert layout.groups == (zeros, group) and torch.equal(again(tensor), tensor)


def test_a_weight_that_was_zero_before_does_not_cost_the_pattern() -> None:
    """As in models whose weights lay on a grid: some groups have more zeros than N."""
    tensor = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    tensor = tensor * patterns.masks({"": tensor.abs()}, 0.5, "2:4")[""]
    for at in range(0, 4096, 97):
        tensor.view(-1)[at] = 0
    layout, index, _ = encode(tensor)
    assert layout.groups == (2, 4) and index.numel() == 4096 * 3 // 32 and torch.equal(again(tensor), tensor)


def test_files_outlive_the_code_that_wrote_them() -> None:
    """The first element is the lowest bit; weights by themselves are stored as their shape alone, as they always were;
    cases are counted in ascending order of their bits."""
    layout, index, values = encode(torch.tensor([5.0, 0, 0, 0, 0, 0, 0, 0, 0, 7.0]))
    assert (layout.as_json(), index.tolist(), values.tolist()) == ([10], [0b1, 0b10], [5.0, 7.0])
    layout, index, values = encode(torch.tensor([[1.0, 2, 0, 0, 0, 3, 0, 4, 5, 0, 0, 6]]))
    assert layout.as_json() == {"shape": [1, 12], "groups": [2, 4]}
    ranks = [0, 4, 3]  # of 0011 0101 0110 1001 1010 1100
    assert index.tolist() == [ranks[0] | ranks[1] << 3 | (ranks[2] << 6) & 255, ranks[2] >> 2]
    layout, index, values = encode(torch.tensor([[0.0, 0, 1, 2], [0, 0, 3, 4]]))
    assert (layout.as_json(), index.tolist()) == ({"shape": [2, 4], "blocks": [2, 2]}, [0b10])


def test_nan_and_infinity_survive() -> None:
    tensor = torch.tensor([0.0, float("nan"), float("inf"), 0.0, -1.0])
    torch.testing.assert_close(again(tensor), tensor, equal_nan=True)


def test_parts_that_do_not_fit_are_refused() -> None:
    layout, index, values = encode(torch.tensor([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="mask has 2 bits set for 1 values"):
        decode(layout, index, values[:1])
    layout, index, values = encode(torch.tensor([[1.0, 2, 0, 0, 0, 3, 0, 4]]))
    with pytest.raises(ValueError, match="a group of 4 has 6 cases"):
        decode(layout, torch.from_numpy(np.array([0b111111], dtype=np.uint8)), values)
    for odd in ({"shape": [2]}, {"shape": [2], "more": 1}, "2", None):
        with pytest.raises(ValueError, match="no layout of a sparse tensor"):
            Layout.from_json(odd)
