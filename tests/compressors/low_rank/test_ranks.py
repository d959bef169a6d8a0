"""Ranks under a budget: as good as trying all of them, and never more weights or a worse sum than the same share."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_architectures import make

from compressors import conformance, registry, surgery
from compressors.build import build
from compressors.conformance import HARDWARE
from compressors.interface import Context, PressbenchError
from compressors.low_rank.ranks import by_budget, rank_for
from compressors.low_rank.svd import LowRankSvd

Shapes = dict[str, tuple[int, int]]


def decaying(coin: np.random.Generator, shape: tuple[int, int], power: float) -> np.ndarray:
    """Squared singular values, largest first."""
    values = np.arange(1, min(shape) + 1) ** -power * np.exp(0.2 * coin.normal(size=min(shape)))
    return np.sort(values**2)[::-1]


def weights(shapes: Shapes, ranks: dict[str, int]) -> int:
    return sum(ranks[n] * (h + w) if n in ranks else h * w for n, (h, w) in shapes.items())


def loss(squares: dict[str, np.ndarray], ranks: dict[str, int]) -> float:
    return sum(float(squares[name][rank:].sum() / squares[name].sum()) for name, rank in ranks.items())


def chosen(shapes: Shapes, squares: dict[str, np.ndarray], uniform: dict[str, int]) -> dict[str, int]:
    return by_budget(shapes, {n: torch.from_numpy(s.copy()) for n, s in squares.items()}, uniform)


def uniform_ranks(shapes: Shapes, ratio: float) -> dict[str, int]:
    return {name: rank for name, shape in shapes.items() if (rank := rank_for(shape, ratio))}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [0.15, 0.3, 0.45, 0.6])
def test_no_choice_of_ranks_is_better(seed: int, ratio: float) -> None:
    coin = np.random.default_rng(seed)
    shapes = {"a": (40, 40), "b": (64, 48), "c": (32, 96)}
    squares = {name: decaying(coin, shape, coin.uniform(0, 2)) for name, shape in shapes.items()}
    uniform = uniform_ranks(shapes, ratio)
    budget, best = weights(shapes, uniform), np.inf
    for picked in itertools.product(*([0, *range(8, min(shape), 8)] for shape in shapes.values())):
        ranks = {name: rank for name, rank in zip(shapes, picked, strict=True) if rank}  # 0: whole
        if weights(shapes, ranks) <= budget:
            best = min(best, loss(squares, ranks))
    found = chosen(shapes, squares, uniform)
    assert weights(shapes, found) <= budget
    assert loss(squares, found) == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert all(rank % 8 == 0 and rank * sum(shapes[n]) < np.prod(shapes[n]) for n, rank in found.items())


def test_never_more_weights_and_never_a_worse_sum() -> None:
    coin = np.random.default_rng(0)
    for _ in range(12):
        sides = [(int(h), int(w)) for h, w in coin.integers(6, 90, size=(int(coin.integers(1, 9)), 2))]
        shapes = {str(number): side for number, side in enumerate(sides)}
        squares = {name: decaying(coin, shape, coin.uniform(0, 3)) for name, shape in shapes.items()}
        uniform = uniform_ranks(shapes, coin.uniform(0.05, 0.7))
        found = chosen(shapes, squares, uniform)
        assert weights(shapes, found) <= weights(shapes, uniform)
        assert loss(squares, found) <= loss(squares, uniform)


def test_a_layer_with_no_direction_to_spare_stays_whole() -> None:
    """Where the others have so many that its jump, the last step to no loss, is worth all of them."""
    shapes: Shapes = {"flat": (64, 64), **{f"thin {i}": (64, 64) for i in range(4)}}
    thin = np.array([1.0] * 8 + [1e-6] * 56)
    squares = {name: np.ones(64) if name == "flat" else thin for name in shapes}
    uniform = uniform_ranks(shapes, 0.35)
    found = chosen(shapes, squares, uniform)
    assert "flat" not in found and loss(squares, found) < 1e-4 < 0.6 < loss(squares, uniform)


def test_a_layer_of_zeros_loses_nothing() -> None:
    shapes: Shapes = {"zero": (64, 64), "other": (64, 64)}
    found = chosen(shapes, {"zero": np.zeros(64), "other": np.ones(64)}, uniform_ranks(shapes, 0.3))
    assert found == {"zero": 8, "other": 24}


def product(model: torch.nn.Module, name: str) -> np.ndarray:
    layer = surgery.get(model, name)
    whole = layer.weight if isinstance(layer, torch.nn.Linear) else layer.second.weight @ layer.first.weight
    return whole.detach().double().numpy()


def test_the_model_has_no_more_weights_and_its_layers_lose_less(tiny: conformance.Subject) -> None:
    dense = tiny.dense.model()
    sizes, losses = {}, {}
    for allocation in ("uniform", "budget"):
        method = LowRankSvd(rank_ratio=0.3, activation_aware=False, recovery_epochs=0, allocation=allocation)
        model = method.compress(tiny.dense.model(), tiny.context(method)).model
        sizes[allocation] = sum(values.numel() for values in model.parameters())
        losses[allocation] = sum(
            np.square(product(model, name) - product(dense, name)).sum() / np.square(product(dense, name)).sum()
            for name in surgery.block_linears(dense)
        )
    assert sizes["budget"] <= sizes["uniform"]
    assert losses["budget"] < 0.999 * losses["uniform"]


@pytest.mark.parametrize("name", ["svd", "whitened", "fisher"])
def test_layers_that_hold_their_weight_transposed_share_the_budget(name: str, tmp_path: Path) -> None:
    subject = make("gpt2", tmp_path)
    fields = {"rank_ratio": 0.3, "recovery_epochs": 0, "allocation": "budget"}
    method, examples = registry.build(f"low-rank-{name}", fields), subject.examples
    context = Context(subject.spec, HARDWARE, subject.dense.model, calibration=examples[:16], training=examples)
    made = build([method], subject.dense, context, tmp_path / "made")
    with torch.no_grad():
        assert bool(made.model()(**examples.inputs).logits.isfinite().all())
    assert len(made.recipe[0]["structure"]["ranks"]) > 6  # of 12


def test_a_broken_weight_and_a_wrong_word_are_told(tiny_bert: conformance.Subject) -> None:
    with pytest.raises(ValueError, match=r"allocation = 'greedy': must be one of uniform, budget"):
        LowRankSvd(allocation="greedy")  # type: ignore[arg-type]
    for part, told in (("weight", "the weight of"), ("bias", "what the calibration data gives the inputs of")):
        model = tiny_bert.dense.model()
        with torch.no_grad():
            getattr(surgery.get(model, surgery.block_linears(model)[0]), part)[:] = float("nan")
        for allocation in ("uniform", "budget"):
            method = LowRankSvd(allocation=allocation, recovery_epochs=0)
            with pytest.raises(PressbenchError, match=f"low-rank-svd: {told} .* is not finite"):
                method.compress(model, tiny_bert.context(method))
