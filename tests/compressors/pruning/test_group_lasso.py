"""A penalty on whole heads and neurons: its step against a search, and what it makes small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from compressors import surgery
from compressors.conformance import Subject, subject
from compressors.pruning.group_lasso import PruneGroupLasso, heads, shrink
from compressors.pruning.unit_weights import UnitWeights, of_neurons
from compressors.units import blocks


@pytest.mark.parametrize("amount", [0.3, 1.0, 2.5])
def test_a_step_is_what_minimizes_its_part(amount: float) -> None:
    """Of three units in two layers; the last is shorter than the longest step, and is zero after it."""
    coin = torch.Generator().manual_seed(5)
    rows, columns = torch.randn(6, 4, generator=coin), torch.randn(5, 3, generator=coin)
    rows[4:], columns[:, 2] = rows[4:] * 0.3, columns[:, 2] * 0.3
    numbers = torch.arange(6).view(3, 2)
    before = [torch.cat([rows[numbers[unit]].flatten(), columns[:, unit]]).double().numpy() for unit in range(3)]
    shrink(UnitWeights(((rows, numbers),), columns, 3), amount)
    for unit, was in enumerate(before):
        found = torch.cat([rows[numbers[unit]].flatten(), columns[:, unit]]).double().numpy()

        def own(weights: np.ndarray, was: np.ndarray = was) -> float:
            return float(amount * np.linalg.norm(weights) + 0.5 * np.square(weights - was).sum())

        searched = minimize(own, 0.5 * was, method="Powell", options={"xtol": 1e-8, "ftol": 1e-12})
        assert own(found) <= searched.fun + 1e-6
        assert np.abs(found - searched.x).max() < 5e-3
        assert (np.linalg.norm(was) <= amount) == (not found.any())
    assert amount < 2 or not columns[:, 2].any()


def test_a_unit_of_length_zero_stays_zero() -> None:
    columns = torch.zeros(2, 2)
    shrink(UnitWeights((), columns, 2), 0.0)
    assert torch.equal(columns, torch.zeros(2, 2))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_step_touches_what_is_a_units_and_nothing_else(kind: str) -> None:
    """By how much each row and column of a layer is changed. llama: heads that share a value, a gate."""
    tiny = subject(kind)
    model, dense = tiny.dense.model(), tiny.dense.model()
    block = blocks(model)[0]
    of_heads, neurons = heads(model, block.attention), of_neurons(model, block.feed_forward)
    lengths = of_heads.norms(), neurons.norms()
    shrink(of_heads, 0.5)
    shrink(neurons, 0.5)
    one, part = block.attention, block.feed_forward
    each = {one.output: (1 - 0.5 / lengths[0]).repeat_interleave(16), part.contract: 1 - 0.5 / lengths[1]}
    down: dict[str, Tensor] = {layer: each[part.contract] for layer, _ in part.expand}
    if kind == "bert":
        down[one.value.layer] = each[one.output]
    for name, module in dense.named_modules():
        if isinstance(module, nn.Linear):
            wanted = module.weight * each.get(name, torch.ones(1)) * down.get(name, torch.ones(1))[:, None]
            torch.testing.assert_close(surgery.get(model, name).weight, wanted, rtol=1e-5, atol=1e-7)
    assert of_heads.norms().tolist() == pytest.approx((lengths[0] - 0.5).tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_units_that_nothing_holds_get_small_as_a_whole(kind: str) -> None:
    """More than by training without a penalty, and some more than others."""
    tiny = subject(kind)

    def lengths(pull: float) -> Tensor:
        compressor = PruneGroupLasso(pull=pull, penalty_epochs=0.6)
        found = compressor.importance(tiny.dense.model(), tiny.context(compressor))
        return torch.cat([torch.cat([*one.heads, one.neurons]) for one in found])

    weak, strong = lengths(0.01), lengths(0.9)
    assert float(strong.mean()) < 0.6 * float(weak.mean())
    assert float(strong.std() / strong.mean()) > 1.2 * float(weak.std() / weak.mean())


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_unit_loses_its_pull_in_all_whatever_the_number_of_steps(kind: str) -> None:
    """Where training moves nothing: that share of its layer's mean length, or all it has."""
    tiny = subject(kind)
    for epochs in (0.05, 0.3):
        compressor = PruneGroupLasso(pull=0.9, penalty_epochs=epochs, learning_rate=1e-12)
        found = compressor.importance(tiny.dense.model(), tiny.context(compressor))
        model = tiny.dense.model()
        for block, own in zip(blocks(model), found, strict=True):
            for weights, left in (
                (heads(model, block.attention), own.heads[0]),
                (of_neurons(model, block.feed_forward), own.neurons),
            ):
                wanted = (weights.norms() - 0.9 * weights.norms().mean()).clamp(min=0)
                torch.testing.assert_close(left, wanted, rtol=1e-3, atol=1e-4)


def test_what_is_not_to_go_is_not_drawn_to_zero(tiny_bert: Subject) -> None:
    def lengths(heads_removed: float) -> tuple[float, float]:
        compressor = PruneGroupLasso(heads_removed=heads_removed, pull=0.9, penalty_epochs=0.6)
        found = compressor.importance(tiny_bert.dense.model(), tiny_bert.context(compressor))
        return float(torch.cat([one.heads[0] for one in found]).mean()), float(found[0].neurons.mean())

    drawn, left = lengths(0.5), lengths(0.0)
    assert drawn[0] < 0.6 * left[0]
    assert drawn[1] == pytest.approx(left[1], rel=0.1)


def test_the_shortest_go(tiny: Subject) -> None:
    """Of the trained model, by lengths that are counted here."""
    compressor = PruneGroupLasso(penalty_epochs=0.3, recovery_epochs=0, neurons_removed=0.75)
    trained = tiny.dense.model()
    compressor.importance(trained, tiny.context(compressor))
    smaller = compressor.compress(tiny.dense.model(), tiny.context(compressor)).model
    for before, after in zip(blocks(trained), blocks(smaller), strict=True):
        ((expand, _),) = before.feed_forward.expand
        rows = surgery.get(trained, expand).weight.detach()
        columns = surgery.get(trained, before.feed_forward.contract).weight.detach()
        length = torch.cat([rows.T, columns]).norm(dim=0)
        left = length.topk(32).indices.sort().values
        torch.testing.assert_close(surgery.get(smaller, after.feed_forward.contract).weight.detach(), columns[:, left])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PruneGroupLasso(pull=0), "pull = 0: must be above 0, at most 2"),
        (lambda: PruneGroupLasso(penalty_epochs=0), "penalty_epochs = 0: must be above 0"),
        (lambda: PruneGroupLasso(heads_removed=1.0), "heads_removed = 1.0"),
    ],
)
def test_what_does_not_fit_is_one_line(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError) as found:
        make()
    assert str(found.value).startswith(told) and "\n" not in str(found.value)
