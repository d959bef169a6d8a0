"""Each score against something that shares no code with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, registry, surgery
from compressors.build import find
from compressors.calibration import in_turn, second_moments
from compressors.conformance import Subject, subject
from compressors.interface import Context, Examples, PressbenchError, Unsupported
from compressors.pruning.fisher import PruneFisher
from compressors.pruning.gradient import PruneGradient
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.movement import Moving, PruneMovement
from compressors.pruning.random import PruneRandom
from compressors.pruning.regularized import PruneRegularized, shrink
from compressors.pruning.sparsegpt import PruneSparsegpt
from compressors.pruning.threshold import PruneThreshold
from compressors.pruning.wanda import PruneWanda
from compressors.pruning.weights import MaskedWeights, PruneWeights, covered, cubic
from compressors.registry import unsupported_reason

ALONE: dict[str, Any] = {"recovery_epochs": 0.0}
SCORES = [PruneRandom, PruneMagnitude, PruneGradient, PruneFisher, PruneWanda, PruneSparsegpt, PruneRegularized]


def pruned(tiny: Subject, compressor: MaskedWeights, seed: int = 0) -> nn.Module:
    return compressor.compress(tiny.dense.model(), tiny.context(compressor, seed=seed)).model


def exact(tiny: Subject, count: int) -> Context:
    """The first examples, on a machine that computes in fp32."""
    plain = dataclasses.replace(conformance.HARDWARE, features=frozenset())
    return dataclasses.replace(tiny.context(PruneGradient()), calibration=tiny.examples[:count], hardware=plain)


def loss_of(model: nn.Module, examples: Examples) -> Tensor:
    assert examples.labels is not None
    return nn.functional.cross_entropy(model(**examples.inputs).logits, examples.labels)


# -- what all of them keep -------------------------------------------------------------------------


@pytest.mark.parametrize("score", [s for s in SCORES if s is not PruneRegularized], ids=lambda cls: cls.name)
def test_the_share_is_exact_and_what_stays_out_stays(score: type[PruneWeights], tiny: Subject) -> None:
    compressor = score(sparsity=0.6, embeddings=False, **ALONE)
    before = tiny.dense.model()
    result = compressor.compress(tiny.dense.model(), tiny.context(compressor))
    weights = covered(result.model, embeddings=False)
    for name, weight in weights.items():
        rows = round(0.6 * weight.shape[1]) * weight.shape[0]
        want = rows if compressor.scope == "row" else round(0.6 * weight.numel())
        assert int((weight == 0).sum()) == want, name
    assert result.structure["sparsity"] == pytest.approx(0.6, abs=0.02)
    names = {f"{name}.weight" for name in weights}
    for name, value in before.state_dict().items():
        assert (name in names) != torch.equal(result.model.state_dict()[name], value), name


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "4x4"])
@pytest.mark.parametrize("score", SCORES, ids=lambda cls: cls.name)
def test_every_pattern_of_every_score(score: type[PruneWeights], pattern: str, tiny_bert: Subject) -> None:
    scope = "layer" if "x" in pattern else score().scope
    if score is PruneSparsegpt and "x" in pattern:
        with pytest.raises(ValueError, match="chooses column by column"):
            score(pattern=pattern, scope=scope)
        return
    compressor = score(pattern=pattern, scope=scope, embeddings=False, **ALONE)
    for name, weight in covered(pruned(tiny_bert, compressor), embeddings=False).items():
        zeros = weight == 0
        if "x" in pattern:
            blocks = zeros.unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).sum((1, 3))
            assert set(blocks.flatten().tolist()) == {0, 16}, name
        else:
            gone, group = map(int, pattern.split(":"))
            assert (zeros.reshape(-1, group).sum(1) == gone).all(), name


@pytest.mark.parametrize("score", [PruneMagnitude, PruneWanda, PruneFisher], ids=lambda cls: cls.name)
def test_gradual_ends_at_its_share_and_held_it_while_it_trained(score: type[PruneWeights], tiny_bert: Subject) -> None:
    compressor = score(sparsity=0.7, schedule="gradual", recovery_epochs=0.6, learning_rate=1e-3, embeddings=False)
    dense = covered(tiny_bert.dense.model(), embeddings=False)
    for name, weight in covered(pruned(tiny_bert, compressor), embeddings=False).items():
        assert int((weight == 0).sum()) / weight.numel() == pytest.approx(0.7, abs=0.01), name
        assert not torch.equal(weight[weight != 0], dense[name][weight != 0])


def test_the_ramp_is_cubic() -> None:
    assert [cubic(0.8, x) for x in (0, 0.5, 1, 1.4)] == pytest.approx([0, 0.7, 0.8, 0.8])


# -- each by itself --------------------------------------------------------------------------------


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


def test_wanda_is_a_direct_loop(tiny: Subject) -> None:
    """Block by block in float64, each fed by the pruned ones before it; rows compared with themselves."""
    compressor = PruneWanda(sparsity=0.5, **ALONE)
    context = exact(tiny, 16)
    found = covered(compressor.compress(tiny.dense.model(), context).model, embeddings=False)
    model = tiny.dense.model().double()
    examples = context.require_calibration()
    real = examples.inputs.get("attention_mask")
    stack = surgery.layer_list(model)
    for number in range(len(surgery.get(model, stack))):
        own = [n for n in found if n.startswith(f"{stack}.{number}.")]
        given: dict[str, Tensor] = {}
        keep = given.__setitem__
        hooks = [
            surgery.get(model, n).register_forward_pre_hook(lambda _m, a, n=n, keep=keep: keep(n, a[0])) for n in own
        ]
        inputs = {k: v.double() if v.is_floating_point() else v for k, v in examples.inputs.items()}
        with torch.inference_mode():
            model(**inputs)
        for hook in hooks:
            hook.remove()
        for name in own:
            rows = given[name].flatten(0, -2)
            if real is not None:
                rows = rows[real.flatten().bool()]
            weight = surgery.get(model, name).weight.detach()
            score = weight.abs().numpy() * np.sqrt((rows.numpy() ** 2).sum(0))
            for row in range(len(score)):
                gone = np.argsort(score[row], kind="stable")[: round(0.5 * score.shape[1])]
                assert int((found[name][row] == 0).sum()) == len(gone)
                assert len(set(gone) - set(np.flatnonzero(found[name][row] == 0))) <= 1, (name, row)  # near ties
                weight[row, torch.from_numpy(gone.copy())] = 0


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_one_removed_weight_is_made_up_for_exactly(gone: int) -> None:
    """The best that the weights to its right can do, by least squares."""
    generator = torch.Generator().manual_seed(gone)
    x = torch.randn(50, 3, generator=generator) @ torch.tensor([[1.0, 0.7, 0.2], [0, 1, 0.5], [0, 0, 1]])
    weight = torch.ones(1, 3)
    weight[0, gone] = 1e-3  # so that it is this one that goes
    got, keep = PruneSparsegpt(sparsity=1 / 3, damping=1e-9, **ALONE).prune(weight, x.T @ x)
    assert keep.tolist() == [[i != gone for i in range(3)]]
    left = [i for i in range(3) if i < gone]
    right = [i for i in range(3) if i > gone]
    target = x.double() @ weight[0].double() - x[:, left].double() @ weight[0, left].double()
    want = torch.zeros(3, dtype=torch.float64)
    want[left] = weight[0, left].double()
    if right:
        want[right] = torch.linalg.lstsq(x[:, right].double(), target[:, None]).solution[:, 0]
    assert got[0].double().tolist() == pytest.approx(want.tolist(), abs=1e-5)


@pytest.mark.parametrize("pattern", ["weights", "2:4"])
def test_the_error_of_every_layer_is_below_wandas(tiny: Subject, pattern: str) -> None:
    model = tiny.dense.model()
    context = tiny.context(PruneSparsegpt())
    weights = covered(model, embeddings=False)
    compared = 0
    for block, look in in_turn(model, context):
        own = {name: weight for name, weight in weights.items() if name.startswith(f"{block}.")}
        for name, moments in second_moments(look, list(own)).items():
            weight = own[name]
            ours, _ = PruneSparsegpt(pattern=pattern, **ALONE).prune(weight, moments)
            score = weight.abs() * moments.diagonal().sqrt()
            wanda = weight * PruneWanda(pattern=pattern, **ALONE).choose({"": score}, 1.0)[""]

            def error(other: Tensor, weight: Tensor = weight, moments: Tensor = moments) -> float:
                change = (weight - other).double()
                return float((change @ moments.double() * change).sum())

            assert error(ours) < error(wanda), name
            compared += 1
    assert compared == len(weights)


def test_more_inputs_than_one_turn_are_as_if_there_were_no_turns() -> None:
    """Against the plain loop of optimal brain surgery over all columns, each update at once on all to its right."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(900, 300, generator=generator) @ torch.randn(300, 300, generator=generator)
    weight = torch.randn(6, 300, generator=generator)
    moments = x.T @ x
    got, keep = PruneSparsegpt(pattern="2:4", **ALONE).prune(weight, moments)
    hessian = moments.double().numpy()
    hessian = hessian + 0.01 * hessian.diagonal().mean() * np.eye(300)
    w, gone = weight.double().numpy(), np.zeros((6, 300), dtype=bool)
    for i in range(300):
        inverse = np.linalg.inv(hessian[i:, i:])  # of what is not settled yet
        if i % 4 == 0:
            # What a column's own removal will cost when its turn comes: those before it in the group are settled then.
            cost = np.stack([w[:, i + k] ** 2 / np.linalg.inv(hessian[i + k :, i + k :])[0, 0] for k in range(4)], 1)
            for row in range(6):
                gone[row, i + np.argsort(cost[row], kind="stable")[:2]] = True
        error = np.where(gone[:, i], w[:, i], 0) / inverse[0, 0]
        w[:, i:] -= np.outer(error, inverse[0])
        w[gone[:, i], i] = 0
    assert np.array_equal(~keep.numpy(), gone)
    np.testing.assert_allclose(got.double().numpy(), w, rtol=1e-3, atol=1e-3 * float(np.abs(w).max()))


def test_an_input_that_is_always_zero_holds_nothing_up() -> None:
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(3))
    x[:, 2] = 0
    got, keep = PruneSparsegpt(**ALONE).prune(torch.randn(5, 8), x.T @ x)
    assert bool(got.isfinite().all()) and int((~keep).sum()) == 20


def test_answers_that_are_not_finite_are_said(tiny: Subject) -> None:
    model = tiny.dense.model()
    with torch.no_grad():
        surgery.get(model, next(iter(covered(model, embeddings=False)))).weight[0, 0] = torch.inf
    with pytest.raises(Exception, match=r"prune-sparsegpt: what \S+ is given by the calibration data is not finite"):
        PruneSparsegpt(**ALONE).compress(model, tiny.context(PruneSparsegpt()))


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


# -- what does not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PruneWanda(embeddings=True), "embeddings = True: a table that is looked up in multiplies nothing"),
        (lambda: PruneWanda(scope="global"), "scope = 'global': goes block by block"),
        (lambda: PruneSparsegpt(schedule="gradual"), "schedule = 'gradual': what is left is changed at once too"),
        (lambda: PruneSparsegpt(pattern="3:5", sparsity=0.6), "pattern = '3:5': 5 must divide the 128 inputs"),
        (lambda: PruneSparsegpt(damping=0), "damping = 0: must be above 0"),
        (lambda: PruneFisher(schedule="slowly"), "schedule = 'slowly': must be one of at-once, gradual"),
        (lambda: PruneFisher(schedule="gradual", recovery_epochs=0), "schedule = 'gradual': prunes while it recovers"),
        (lambda: PruneRandom(schedule="gradual", pattern="2:4"), "schedule = 'gradual': 2:4 is all or nothing"),
        (lambda: PruneMovement(schedule="at-once"), "schedule = 'at-once': the scores are learnt on the way"),
        (lambda: PruneRegularized(penalty="l0"), "penalty = 'l0': must be one of l1, l2"),
        (lambda: PruneRegularized(pull=0), "pull = 0: must be above 0, at most 2"),
        (lambda: PruneRegularized(schedule="gradual"), "schedule = 'gradual': the penalty is what prunes"),
        (lambda: PruneThreshold(threshold=0), "threshold = 0: must be above 0"),
        (lambda: PruneThreshold(relative="share"), "relative = 'share': must be one of deviation, absolute"),
    ],
)
def test_what_does_not_fit_is_one_line(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError) as found:
        make()
    assert str(found.value).startswith(told) and "\n" not in str(found.value)


@pytest.mark.parametrize("score", [PruneGradient, PruneFisher], ids=lambda cls: cls.name)
def test_a_score_without_labels_says_so(score: type[PruneWeights], tiny_bert: Subject) -> None:
    embedding = dataclasses.replace(tiny_bert.spec, output="last_hidden_state")
    assert "needs labels and a loss" in str(unsupported_reason(score(), embedding, conformance.HARDWARE))
    context = tiny_bert.context(score())
    blind = dataclasses.replace(context, calibration=Examples(tiny_bert.examples.inputs))
    with pytest.raises(Unsupported, match="no labels"):
        score(**ALONE).compress(tiny_bert.dense.model(), blind)


def test_a_block_that_does_not_divide_is_unsupported_before_any_work() -> None:
    reason = unsupported_reason(PruneMagnitude(pattern="5x4"), subject("bert").spec, conformance.HARDWARE)
    assert reason and reason.endswith("is 64 x 64: pattern '5x4' does not divide it")


def test_what_a_score_of_ones_own_depends_on_is_part_of_what_is_kept() -> None:
    """The fault: a subclass with a field of its own shared what its first value had found."""

    @dataclass(frozen=True)
    class Powered(PruneGradient):
        power: float = 1.0

    assert Powered(power=1.0).finds_by != Powered(power=3.0).finds_by
    assert Powered(sparsity=0.3).finds_by == Powered(sparsity=0.7).finds_by
    assert Powered(schedule="gradual", recovery_epochs=1.0).finds_by is None


def test_a_model_of_another_runtime_is_refused_before_anything_is_looked_for(
    tiny_bert: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PruneGradient, "takes", "onnxruntime")
    with pytest.raises(PressbenchError, match="prune-gradient takes a onnxruntime model and cannot follow the dense"):
        find(PruneGradient(), tiny_bert.dense, tiny_bert.context(PruneGradient()))


@pytest.mark.parametrize("label", ["prune-regularized", "prune-group-lasso"])
def test_a_pull_that_would_be_rounded_away_is_refused(label: str, tiny_bert: Subject) -> None:
    compressor = registry.build(label)
    model = tiny_bert.dense.model().bfloat16()
    with pytest.raises(Unsupported, match=f"{label}: its weights are torch.bfloat16, which a small pull does not move"):
        compressor.compress(model, tiny_bert.context(compressor))
