"""k-means of weights: how near to the exact least it comes, few distinct values, and what an error counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.interface import Unsupported
from compressors.quantization.codebook import QuantizeCodebook
from compressors.quantization.grids.codebook import CodebookGrid, k_means
from compressors.quantization.laid_grid import nearest


def least(values: np.ndarray, weight: np.ndarray, count: int) -> float:
    """The least weighted squared error that `count` points can have, by dynamic programming over all clusters."""
    order = np.argsort(values)
    values, weight = values[order], weight[order]
    n = len(values)
    cost = np.zeros((n + 1, n + 1))
    for start in range(n):
        w, x = weight[start:], values[start:]
        total, first, second = np.cumsum(w), np.cumsum(w * x), np.cumsum(w * x * x)
        cost[start, start + 1 :] = second - first**2 / total
    cost[np.tril_indices(n + 1, -1)] = np.inf
    best = cost[0]
    for _ in range(count - 1):
        best = (best[:, None] + cost).min(0)
    return float(best[n])


def error(values: np.ndarray, weight: np.ndarray, points: np.ndarray) -> float:
    return float((weight * np.abs(values[:, None] - points).min(1) ** 2).sum())


def rows(kind: str, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    values, weight = torch.randn(8, n, generator=generator), torch.ones(8, n)
    if kind == "heavy tails":
        values = values**3
    elif kind == "two heaps":
        values = values / 10 + torch.randint(0, 2, (8, n), generator=generator)
    elif kind == "uneven weights":
        weight = torch.rand(8, n, generator=generator) ** 6 * 100 + 1e-3
    elif kind == "repeated":
        values = (values * 8).round() / 8
    return values, weight


@pytest.mark.parametrize("count", [4, 8, 16])
@pytest.mark.parametrize("n", [40, 150])
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "two heaps", "uneven weights", "repeated"])
def test_it_comes_within_two_percent_of_the_exact_least(kind: str, n: int, count: int) -> None:
    values, weight = rows(kind, n)
    points = k_means(values, weight, count)
    assert bool((points.diff(dim=1) >= 0).all()) and points.shape == (8, count)
    for x, w, p in zip(values.double().numpy(), weight.double().numpy(), points.numpy(), strict=True):
        assert error(x, w, p) <= 1.02 * least(x, w, count) + 1e-12


@pytest.mark.parametrize("count", [64, 256])
def test_many_points_are_found_too_and_are_better_than_even_ones(count: int) -> None:
    values, weight = rows("normal", 400)
    points = k_means(values, weight, count)
    assert bool(points.isfinite().all())
    for x, w, p in zip(values.double().numpy(), weight.double().numpy(), points.numpy(), strict=True):
        assert error(x, w, p) < 0.8 * error(x, w, np.linspace(x.min(), x.max(), count))


@pytest.mark.parametrize("distinct", [1, 2, 7, 16])
def test_a_row_of_few_distinct_values_keeps_them(distinct: int) -> None:
    """Beside rows of many, and in an order that is none."""
    generator = torch.Generator().manual_seed(distinct)
    values = torch.randn(3, 60, generator=generator)
    few = torch.randn(distinct, generator=generator)
    values[1] = few[torch.randint(0, distinct, (60,), generator=generator)]
    decoded = nearest(CodebookGrid(4, 60), values).dequantize()
    assert torch.allclose(decoded[1], values[1], rtol=1e-3)
    assert not torch.allclose(decoded[0], values[0], rtol=1e-3)
    narrow = values[:, :9]  # fewer columns than codes
    assert torch.allclose(nearest(CodebookGrid(4, 9), narrow).dequantize(), narrow, rtol=1e-3)
    assert nearest(CodebookGrid(4, 1), values[:, :1]).dequantize().shape == (3, 1)


def test_columns_that_count_nothing_and_rows_that_count_nothing_are_no_trap() -> None:
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    cost = torch.ones(4, 64)
    cost[:, :40], cost[2] = 0, 0
    decoded = nearest(CodebookGrid(3, 64), weight, cost).dequantize()
    assert bool(decoded.isfinite().all())
    other = nearest(CodebookGrid(3, 64), weight).dequantize()
    off, rest = (decoded - weight).square(), (other - weight).square()
    assert float(off[:2, 40:].sum()) < 0.7 * float(rest[:2, 40:].sum())
    assert float(off[2].sum()) <= 1.05 * float(rest[2].sum())


@pytest.mark.parametrize("per_tensor", [False, True])
def test_an_error_counts_by_importance_and_by_the_scale_of_its_group(per_tensor: bool) -> None:
    """Against all weights counted alike, and against the scale left out of the account."""
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(6, 64, generator=generator) ** 3
    weight[:, 32:] /= 50
    cost = torch.rand(64, generator=generator) ** 5
    grid = CodebookGrid(3, 32, per_tensor=per_tensor)
    found = nearest(grid, weight, cost).dequantize()
    scale = weight.unflatten(1, (2, 32)).abs().amax(2).repeat_interleave(32, 1)

    def lost(decoded: Tensor) -> float:
        return float(((decoded - weight).square() * cost).sum())

    assert lost(found) < 0.9 * lost(nearest(grid, weight).dequantize())
    assert lost(found) < 0.97 * lost(nearest(grid, weight, cost / scale.square()).dequantize())


def test_a_table_a_row_is_stored_as_float16_and_one_a_tensor_once() -> None:
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    row, tensor = (nearest(CodebookGrid(3, 32, per_tensor=shared), weight) for shared in (False, True))
    assert row.levels.shape == (6, 8) and row.levels.dtype == torch.float16
    assert tensor.levels.shape == (8,)
    assert float((row.dequantize() - weight).norm()) < float((tensor.dequantize() - weight).norm())


# -- the method ------------------------------------------------------------------------------------


def second_derivatives(subject: conformance.Subject, name: str) -> Tensor:
    """The sum of squared gradients of one example's mean loss after the other, by autograd's own function."""
    model, total = subject.dense.model(), torch.zeros(())
    for i in range(16):
        one = subject.examples[i : i + 1]
        logits = model(**one.inputs).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, -2), one.labels.flatten(), ignore_index=-100)
        [gradient] = torch.autograd.grad(loss, surgery.get(model, name).weight)
        total = total + gradient.square()
    return total


def mean_squares(subject: conformance.Subject, name: str) -> Tensor:
    """Of what the layer is given, padding left out."""
    model, seen = subject.dense.model(), []
    surgery.get(model, name).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    few = subject.examples[:16]
    with torch.no_grad():
        model(**few.inputs)
    return seen[0][few.inputs["attention_mask"].bool()].double().square().mean(0).float()


@pytest.mark.parametrize("importance,truth", [("inputs", mean_squares), ("gradient", second_derivatives)])
def test_importance_is_what_it_says(importance: str, truth) -> None:
    subject, name = conformance.subject("llama"), "model.layers.1.mlp.down_proj"
    method = QuantizeCodebook(bits=3, importance=importance)
    made = method.compress(subject.dense.model(), subject.context(method)).model
    weight = surgery.get(subject.dense.model(), name).weight.detach()
    expected = nearest(CodebookGrid(3, 64), weight, truth(subject, name))
    found = surgery.get(made, name).packed
    plain = nearest(CodebookGrid(3, 64), weight)
    # Sums in another order may end in another of two tables that are as good as each other, here and there.
    same, other = (
        float(torch.isclose(found.levels.float(), one.levels.float(), atol=2e-3).float().mean())
        for one in (expected, plain)
    )
    assert same > 0.9 and other < 0.5


def test_without_labels_the_gradient_is_unsupported_and_the_inputs_are_not() -> None:
    subject = conformance.subject("llama")
    method = QuantizeCodebook(importance="gradient")
    context = subject.context(method)
    blind = dataclasses.replace(context, calibration=dataclasses.replace(context.calibration, labels=None))
    with pytest.raises(Unsupported, match="no labels"):
        method.compress(subject.dense.model(), blind)
    QuantizeCodebook().compress(subject.dense.model(), blind)


@pytest.mark.parametrize("parameters,message", [
    ({"table": "column"}, "table = 'column': must be one of row, tensor"),
    ({"importance": "fisher"}, "importance = 'fisher': must be one of inputs, gradient, none"),
])  # fmt: skip
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantizeCodebook(**parameters)
