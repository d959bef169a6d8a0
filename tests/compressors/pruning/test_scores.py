"""Each score of single weights, found at once or learnt on the way, against something that shares no code with it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.append(str(Path(__file__).parent))
from pruned_models import ALONE, exact, pruned

from compressors import surgery
from compressors.conformance import Subject
from compressors.interface import Examples, Unsupported
from compressors.pruning.fisher import PruneFisher
from compressors.pruning.gradient import PruneGradient
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.movement import Moving, PruneMovement
from compressors.pruning.random import PruneRandom
from compressors.pruning.regularized import PruneRegularized, shrink
from compressors.pruning.threshold import PruneThreshold
from compressors.pruning.weights import covered


def loss_of(model: nn.Module, examples: Examples) -> Tensor:
    assert examples.labels is not None
    return nn.functional.cross_entropy(model(**examples.inputs).logits, examples.labels)


# -- found at once ---------------------------------------------------------------------------------


def test_random_is_drawn_from_the_seed(tiny: Subject) -> None:
    def zeros(seed: int) -> Tensor:
        weights = covered(pruned(tiny, PruneRandom(**ALONE), seed), embeddings=False)
        return torch.cat([(w == 0).flatten() for w in weights.values()])

    assert torch.equal(zeros(0), zeros(0))
    assert float((zeros(0) & zeros(1)).float().mean()) == pytest.approx(0.25, abs=0.01)


def test_a_threshold_by_hand(tiny: Subject) -> None:
    dense = covered(tiny.dense.model(), embeddings=False)
    for relative in ("deviation", "absolute"):
        compressor = PruneThreshold(threshold=0.4 if relative == "deviation" else 0.05, relative=relative, **ALONE)
        result = compressor.compress(tiny.dense.model(), tiny.context(compressor))
        gone = total = 0
        for name, weight in covered(result.model, embeddings=False).items():
            values = dense[name].double().numpy()
            limit = 0.4 * np.std(values, ddof=1) if relative == "deviation" else 0.05
            assert np.array_equal(weight.numpy() == 0, np.abs(values) < limit), name
            gone, total = gone + int((weight == 0).sum()), total + weight.numel()
        assert result.structure["sparsity"] == pytest.approx(gone / total, abs=1e-6)


def test_a_threshold_that_leaves_nothing_is_unsupported(tiny: Subject) -> None:
    with pytest.raises(Unsupported, match=r"prune-threshold: no weight of \S+ reaches 99, it would be empty"):
        pruned(tiny, PruneThreshold(threshold=99, relative="absolute", **ALONE))


def test_first_order_is_what_the_loss_changes_by(tiny: Subject) -> None:
    """Finite differences in float64, of the weights where it says most and some others."""
    context = exact(tiny, 8)
    model = tiny.dense.model()
    weights = covered(model, embeddings=False)
    found = PruneGradient().scores(model, weights, context)
    double = tiny.dense.model().double()
    name = list(weights)[1]
    examples = tiny.examples[:8]
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in examples.inputs.items()}
    examples = Examples(inputs, examples.labels)
    weight = surgery.get(double, name).weight
    at = found[name].flatten().sort(descending=True).indices[[0, 1, 2, 50, 500]].tolist()
    with torch.no_grad():
        for position in at:
            value = float(weight.flatten()[position])
            ends = []
            for step in (1e-4, -1e-4):  # of the weight's removal
                weight.view(-1)[position] = value * (1 + step)
                ends.append(float(loss_of(double, examples)))
            weight.view(-1)[position] = value
            assert float(found[name].flatten()[position]) == pytest.approx(abs(ends[0] - ends[1]) / 2e-4, rel=1e-2)


def test_fisher_is_a_mean_of_squares_over_examples(tiny: Subject) -> None:
    context = exact(tiny, 6)
    model = tiny.dense.model()
    weights = covered(model, embeddings=False)
    found = PruneFisher().scores(model, weights, context)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    double = tiny.dense.model().double()
    total = {name: torch.zeros(weight.shape, dtype=torch.float64) for name, weight in weights.items()}
    for i in range(6):
        one = tiny.examples[i : i + 1]
        inputs = {k: v.double() if v.is_floating_point() else v for k, v in one.inputs.items()}
        double.zero_grad()
        loss_of(double, Examples(inputs, one.labels)).backward()
        for name in total:
            total[name] += surgery.get(double, name).weight.grad.square() / 6
    for name, weight in weights.items():
        torch.testing.assert_close(found[name].double(), weight.double().square() * total[name], rtol=1e-3, atol=1e-12)


# -- learnt on the way -----------------------------------------------------------------------------


def test_movement_learns_from_what_is_masked_too() -> None:
    """By hand: of L = Σ c·(w·m)², the scores get dL/d(w·m) · w everywhere, the weights dL/d(w·m) where they stay."""
    weight = torch.tensor([2.0, -3.0, 0.5], requires_grad=True)
    moving = Moving(weight.detach())
    moving.mask.copy_(torch.tensor([1.0, 0.0, 1.0]))
    c = torch.tensor([1.0, 2.0, 3.0])
    (c * (moving(weight) + 1).square()).sum().backward()
    assert weight.grad is not None and moving.scores.grad is not None
    assert weight.grad.tolist() == [2 * 3.0, 0.0, 6 * 1.5]
    assert moving.scores.grad.tolist() == [2 * 3.0 * 2.0, 4 * 1.0 * -3.0, 6 * 1.5 * 0.5]


def test_movement_begins_with_the_smallest() -> None:
    """The fault: scores of nought, and first gradients of a student that is its teacher, which are noise."""
    assert Moving(torch.tensor([2.0, -3.0, 0.5])).scores.tolist() == [2.0, 3.0, 0.5]


def test_movement_takes_those_that_move_towards_zero(tiny_bert: Subject) -> None:
    """And it ends at its share, with nothing left of what it trained by."""
    compressor = PruneMovement(sparsity=0.8, recovery_epochs=0.6, learning_rate=1e-3)
    dense = covered(tiny_bert.dense.model(), embeddings=False)
    model = pruned(tiny_bert, compressor)
    found = covered(model, embeddings=False)
    assert {name: int((w == 0).sum()) for name, w in found.items()} == {
        name: round(0.8 * w.numel()) for name, w in dense.items()
    }
    assert set(model.state_dict()) == set(tiny_bert.dense.model().state_dict())
    magnitude = covered(pruned(tiny_bert, PruneMagnitude(sparsity=0.8, embeddings=False, **ALONE)), embeddings=False)
    assert all(not torch.equal(found[name] == 0, magnitude[name] == 0) for name in found)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_proximal_step_is_what_minimizes_its_part(penalty: str) -> None:
    """Against a search over a fine grid, in float64."""
    weight = torch.tensor([-1.3, -0.1, 0.0, 0.05, 0.7], dtype=torch.float64)
    got = weight.clone()
    shrink(got, penalty, 0.2)
    grid = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    for before, after in zip(weight, got, strict=True):
        own = 0.2 * grid.abs() if penalty == "l1" else 0.1 * grid.square()
        best = grid[(own + 0.5 * (grid - before).square()).argmin()]
        assert float(after) == pytest.approx(float(best), abs=1e-5)


def test_a_penalty_makes_small_what_is_not_held(tiny_bert: Subject) -> None:
    """More of it, and training without it does not: so that it is the penalty."""

    def small(pull: float) -> float:
        model = tiny_bert.dense.model()
        weights = covered(model, embeddings=False)
        compressor = PruneRegularized(pull=pull, penalty_epochs=0.6)
        scores = compressor.scores(model, weights, tiny_bert.context(compressor))
        return sum(float(s.mean()) for s in scores.values()) / len(scores)

    weak, strong = small(0.01), small(0.8)
    assert strong < 0.8 * weak
