"""Scores by what a layer is given, block by block: against direct loops and least squares."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parent))
from pruned_models import ALONE, exact

from compressors import surgery
from compressors.calibration import in_turn
from compressors.conformance import Subject
from compressors.moments import second_moments
from compressors.pruning.sparsegpt import PruneSparsegpt
from compressors.pruning.wanda import PruneWanda
from compressors.pruning.weights import covered


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
