"""Masks: exactly as many as asked, the least important ones, and nothing that the pattern does not allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compressors.pruning.patterns import check_pattern, masks, misfit


def scores(rows: int, columns: int, seed: int = 0) -> Tensor:
    """With many ties, as real scores have them at zero."""
    return torch.randint(0, 7, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()


@given(
    rows=st.integers(1, 9), columns=st.integers(2, 31), sparsity=st.floats(0.01, 0.99), seed=st.integers(0, 99),
    scope=st.sampled_from(["layer", "row", "global"]),
)  # fmt: skip
def test_the_least_important_go_and_exactly_as_many_as_asked(
    rows: int, columns: int, sparsity: float, seed: int, scope: str
) -> None:
    given = {"a": scores(rows, columns, seed), "b": scores(rows + 1, columns, seed + 1)}
    found = masks(given, sparsity, scope=scope)
    together = {
        "layer": [(given[n].flatten(), found[n].flatten()) for n in given],
        "row": [pair for n in given for pair in zip(given[n], found[n], strict=True)],
        "global": [
            (torch.cat([g.flatten() for g in given.values()]), torch.cat([f.flatten() for f in found.values()]))
        ],
    }[scope]
    for values, keep in together:
        assert int((~keep).sum()) == round(sparsity * len(values))
        if keep.any() and not keep.all():
            assert float(values[~keep].max()) <= float(values[keep].min())


@pytest.mark.parametrize(("pattern", "gone", "group"), [("2:4", 2, 4), ("4:8", 4, 8), ("1:4", 1, 4)])
def test_n_of_m_takes_n_of_every_m_along_the_inputs(pattern: str, gone: int, group: int) -> None:
    given = scores(5, 24)
    keep = masks({"a": given}, gone / group, pattern)["a"]
    for row in range(5):
        for start in range(0, 24, group):
            values, kept = given[row, start : start + group], keep[row, start : start + group]
            assert int((~kept).sum()) == gone
            assert float(values[~kept].max()) <= float(values[kept].min())


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_blocks_go_whole_by_the_sum_of_their_scores(scope: str) -> None:
    given = {"a": torch.rand(8, 12), "b": torch.rand(4, 12) * 3}
    found = masks(given, 0.25, "4x3", scope)
    sums, kept = {}, {}
    for name, values in given.items():
        for i in range(0, values.shape[0], 4):
            for j in range(0, 12, 3):
                block = found[name][i : i + 4, j : j + 3]
                assert bool(block.all()) or not bool(block.any())
                sums[name, i, j] = float(np.float64(values[i : i + 4, j : j + 3].numpy()).sum())
                kept[name, i, j] = bool(block.all())
    for names in [["a"], ["b"]] if scope == "layer" else [["a", "b"]]:
        own = [key for key in sums if key[0] in names]
        gone = sorted(own, key=lambda key: sums[key])[: round(0.25 * len(own))]
        assert {key for key in own if not kept[key]} == set(gone)


@pytest.mark.parametrize(
    ("pattern", "scope", "sparsity", "told"),
    [
        ("weights", "tensor", 0.5, "scope = 'tensor': must be one of layer, global, row"),
        ("2:4", "layer", 0.6, "pattern = '2:4': removes 0.5 of all weights; sparsity is 0.6"),
        ("4:4", "layer", 0.5, "pattern = '4:4': of 4 weights, 1 to 3 can go"),
        ("0:4", "layer", 0.5, "pattern = '0:4': of 4 weights"),
        ("1x1", "layer", 0.5, "pattern = '1x1': a block has more than one weight"),
        ("0x4", "layer", 0.5, "pattern = '0x4': a block has more than one weight"),
        ("4x4", "row", 0.5, "pattern = '4x4': a block of 4 rows: scope must be"),
        ("heads", "layer", 0.5, "pattern = 'heads': must be 'weights', N:M"),
    ],
)
def test_a_pattern_that_does_not_fit_is_one_line(pattern: str, scope: str, sparsity: float, told: str) -> None:
    with pytest.raises(ValueError) as found:
        check_pattern(pattern, scope, sparsity)
    assert str(found.value).startswith(told) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("pattern", "scope", "sparsity", "shape", "told"),
    [
        ("2:4", "layer", 0.5, (3, 10), "x is 3 x 10: pattern '2:4' does not divide it"),
        ("4x4", "layer", 0.5, (6, 8), "x is 6 x 8: pattern '4x4' does not divide it"),
        ("weights", "row", 0.96, (64, 8), "x would be empty: sparsity 0.96 of a row of 8 is all of it"),
        ("4x4", "layer", 0.9, (8, 8), "x would be empty: sparsity 0.9 of 4 is all of it"),
        ("4x4", "layer", 0.5, (8, 8), None),
        ("weights", "layer", 0.96, (64, 8), None),
    ],
)
def test_a_layer_that_cannot_take_it_is_named(
    pattern: str, scope: str, sparsity: float, shape: tuple[int, int], told: str | None
) -> None:
    assert misfit(pattern, scope, sparsity, torch.Size(shape), "x") == told
