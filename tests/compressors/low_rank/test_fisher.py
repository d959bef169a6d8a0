"""low-rank-fisher: against FWSVD written out in float64, and what its papers leave open: rows nothing is known of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from compressors import conformance, surgery
from compressors.interface import Context, Hardware, PressbenchError, Unsupported
from compressors.low_rank.factors import factorise_by_rows
from compressors.low_rank.fisher import LowRankFisher

GENERATOR = torch.Generator().manual_seed(3)
WEIGHT = torch.randn(20, 16, generator=GENERATOR)
IMPORTANCE = torch.logspace(-3, 2, 20)[torch.randperm(20, generator=GENERATOR)]


def fwsvd(weight: Tensor, rank: int, importance: Tensor) -> np.ndarray:
    """Hsu et al. 2022 as they write it, D inverted."""
    root = np.sqrt(importance.double().numpy())
    left, values, right = np.linalg.svd(root[:, None] * weight.double().numpy(), full_matrices=False)
    return np.asarray((left[:, :rank] * values[:rank]) @ right[:rank] / root[:, None])


def error(found: np.ndarray, importance: Tensor, weight: Tensor = WEIGHT) -> float:
    return float((importance.double().numpy()[:, None] * np.square(weight.double().numpy() - found)).sum())


def product(pair: tuple[Tensor, Tensor]) -> np.ndarray:
    return np.asarray(pair[0].double().numpy() @ pair[1].double().numpy())


@pytest.mark.parametrize("rank", [1, 5, 12])
@pytest.mark.parametrize("turned", [False, True])
def test_is_fwsvd(rank: int, turned: bool) -> None:
    weight = WEIGHT.T if turned else WEIGHT  # wider than high, and higher than wide
    importance = IMPORTANCE[: len(weight)]
    pair = factorise_by_rows(weight, rank, importance)
    assert pair[0].shape == (len(weight), rank) and pair[1].shape == (rank, weight.shape[1])
    assert np.abs(product(pair) - fwsvd(weight, rank, importance)).max() < 1e-5


def test_no_other_pair_of_that_rank_is_nearer() -> None:
    second, first = factorise_by_rows(WEIGHT, 5, IMPORTANCE)
    best, coin = error(product((second, first)), IMPORTANCE), np.random.default_rng(0)
    for size in (1.0, 0.1, 0.01, 0.001):
        for _ in range(50):
            moved = [m.double().numpy() + size * coin.normal(size=m.shape) for m in (second, first)]
            assert error(moved[0] @ moved[1], IMPORTANCE) > best * (1 - 1e-6)
    plain = torch.linalg.svd(WEIGHT.double())
    other = (plain.U[:, :5] * plain.S[:5]) @ plain.Vh[:5]
    assert best < 0.8 * error(other.numpy(), IMPORTANCE)


def test_rows_that_count_nothing_get_the_rank_that_is_left() -> None:
    importance = IMPORTANCE.clone()
    dead = torch.arange(20) % 5 < 3  # of 20 rows 8 are felt
    importance[dead] = 0
    found = product(factorise_by_rows(WEIGHT, 10, importance))
    whole = WEIGHT.double().numpy()
    assert np.isfinite(found).all()
    assert np.abs(found - whole)[~dead.numpy()].max() < 1e-3  # 8 rows in a rank of 10
    span = np.linalg.svd(whole[~dead.numpy()], full_matrices=False)[2]
    rest = whole[dead.numpy()] - whole[dead.numpy()] @ span.T @ span
    tail = np.square(np.linalg.svd(rest, compute_uv=False)[2:]).sum()
    assert np.square(found - whole)[dead.numpy()].sum() == pytest.approx(tail, rel=1e-2)


def test_where_nothing_is_felt_it_is_the_plain_truncation() -> None:
    found = product(factorise_by_rows(WEIGHT, 6, torch.zeros(20)))
    assert np.abs(found - fwsvd(WEIGHT, 6, torch.ones(20))).max() < 1e-5


def exact(subject: conformance.Subject, method: LowRankFisher) -> Context:
    """What it would be handed on a machine that computes in float32 throughout."""
    return dataclasses.replace(subject.context(method), hardware=Hardware("cpu", "cpu-generic"))


def test_the_method_is_that_with_each_examples_own_gradient(tiny: conformance.Subject) -> None:
    method = LowRankFisher(rank_ratio=0.3, recovery_epochs=0, allocation="uniform")
    context = exact(tiny, method)
    found = method.find(tiny.dense.model(), context)
    model = tiny.dense.model().double()
    names = surgery.block_linears(model)
    assert set(names) <= set(found)
    sums = {name: torch.zeros(surgery.get(model, name).out_features, dtype=torch.float64) for name in names}
    calibration = context.require_calibration()
    for at in range(len(calibration)):
        one = {n: v[at : at + 1].double() if v.is_floating_point() else v[at : at + 1]
               for n, v in calibration.inputs.items()}  # fmt: skip
        loss = F.cross_entropy(model(**one).logits, calibration.labels[at : at + 1])
        weights = [surgery.get(model, name).weight for name in names]
        for name, gradient in zip(names, torch.autograd.grad(loss, weights), strict=True):
            sums[name] += (gradient**2).sum(dim=1) / len(calibration)
    for name in names:
        assert torch.allclose(found[name].double(), sums[name], rtol=1e-3, atol=1e-9 * float(sums[name].max())), name
    made = method.compress(tiny.dense.model(), context).model
    for name in (names[0], names[-1]):
        thin, weight = surgery.get(made, name), surgery.get(model, name).weight.detach()
        assert thin.first.out_features == 16
        wanted = fwsvd(weight, 16, sums[name])
        least = error(wanted, sums[name], weight)
        assert error(product((thin.second.weight.detach(), thin.first.weight.detach())), sums[name], weight) == (
            pytest.approx(least, rel=1e-3)
        )
        assert np.abs(wanted).max() < 100  # numbers, not what a division by nothing gives


def test_what_has_no_loss_is_refused(tiny_bert: conformance.Subject) -> None:
    method = LowRankFisher(recovery_epochs=0)
    embedder = dataclasses.replace(tiny_bert.spec, output="last_hidden_state")
    assert "hidden states" in str(method.supports(embedder, conformance.HARDWARE))
    context = tiny_bert.context(method)
    bare = dataclasses.replace(context.require_calibration(), labels=None)
    with pytest.raises(Unsupported, match="no labels"):
        method.compress(tiny_bert.dense.model(), dataclasses.replace(context, calibration=bare))
    model = tiny_bert.dense.model()
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(PressbenchError, match=r"low-rank-fisher: the gradient, .* is not finite"):
        method.compress(model, context)
