"""low-rank-whitened: its fit against least squares of numpy, and its layers on what they are really given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.block_by_block import Given
from compressors.interface import Context, Hardware, PressbenchError
from compressors.low_rank.factors import factorise
from compressors.low_rank.whitened import LowRankWhitened, fitted, updated


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, (10, 14); what its layer was given, (300, 14), and what it is given now that others have changed."""
    coin = torch.Generator().manual_seed(seed)
    dense = torch.randn(300, 14, generator=coin) @ torch.randn(14, 14, generator=coin) * torch.logspace(0.5, -0.5, 14)
    given = dense + 0.5 * torch.randn(300, 14, generator=coin) @ torch.randn(14, 14, generator=coin)
    return torch.randn(10, 14, generator=coin), dense, given


def sums(dense: Tensor, given: Tensor) -> Given:
    return Given(given.T @ given, dense.T @ given)


def off(weight: Tensor, dense: Tensor, given: Tensor, product: Tensor) -> float:
    return float((given.double() @ product.double().T - dense.double() @ weight.double().T).square().sum())


def best(weight: Tensor, dense: Tensor, given: Tensor, rank: int) -> float:
    """The least that any weight of that rank leaves: what no weight reaches, and the tail of what one does."""
    wanted, seen = dense.double().numpy() @ weight.double().numpy().T, given.double().numpy()
    near = seen @ np.linalg.lstsq(seen, wanted, rcond=None)[0]
    tail = np.linalg.svd(near, compute_uv=False)[rank:]
    return float(np.square(wanted - near).sum() + np.square(tail).sum())


@pytest.mark.parametrize("rank", [1, 4, 8])
def test_no_weight_of_that_rank_answers_nearer(rank: int) -> None:
    weight, dense, given = data()
    second, first = fitted(weight, rank, sums(dense, given), 1e-9)
    found, least = off(weight, dense, given, second @ first), best(weight, dense, given, rank)
    assert found == pytest.approx(least, rel=1e-4)
    coin = torch.Generator().manual_seed(1)
    for size in (0.3, 0.03, 0.003):
        for _ in range(30):
            moved = [m + size * torch.randn(m.shape, generator=coin) for m in (second, first)]
            assert off(weight, dense, given, moved[0] @ moved[1]) > found * (1 - 1e-5)


def test_the_second_factor_is_least_squares() -> None:
    """Against numpy's solver on the data, beside a factor that nothing was fitted to and one that damping moved."""
    weight, dense, given = data()
    first = torch.randn(5, 14, generator=torch.Generator().manual_seed(2))
    found = updated(torch.zeros(10, 5), first, weight, sums(dense, given))
    seen = given.double().numpy() @ first.double().numpy().T
    wanted = np.linalg.lstsq(seen, dense.double().numpy() @ weight.double().numpy().T, rcond=None)[0].T
    assert np.abs(found.numpy() - wanted).max() < 1e-3 * np.abs(wanted).max()
    second, first = fitted(weight, 5, sums(dense, given), 0.3)
    seen = given.double().numpy() @ first.double().numpy().T
    wanted = np.linalg.lstsq(seen, dense.double().numpy() @ weight.double().numpy().T, rcond=None)[0].T
    assert np.abs(second.numpy() - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_damping_costs_little_as_the_update_makes_up_for_it() -> None:
    weight, dense, given = data()
    second, first = fitted(weight, 4, sums(dense, given), 0.01)
    assert off(weight, dense, given, second @ first) < 1.01 * best(weight, dense, given, 4)
    plain, aware = (factorise(weight, 4, moment) for moment in (None, given.T @ given))
    for other in (plain, aware):
        assert off(weight, dense, given, second @ first) < off(weight, dense, given, other[0] @ other[1])


def test_inputs_that_are_always_zero_or_the_same_do_no_harm() -> None:
    weight, dense, given = data()
    given[:, 3], dense[:, 3] = 0, 0
    given[:, 5] = given[:, 6]
    few = sums(dense[:6], given[:6])  # fewer positions than inputs
    for one in (sums(dense, given), few):
        second, first = fitted(weight, 8, one, 0.01)
        assert bool(second.isfinite().all() and first.isfinite().all())
        assert float((second @ first).norm()) < 3 * float(weight.norm())


def test_given_the_same_it_is_the_truncation_on_the_inputs() -> None:
    weight, dense, _ = data()
    moments = dense.T @ dense
    alone, beside = (fitted(weight, 4, Given(moments, crossed), 1e-9) for crossed in (None, moments))
    assert torch.allclose(alone[0] @ alone[1], beside[0] @ beside[1], atol=1e-3)


def seen_by(model: nn.Module, name: str, context: Context) -> Tensor:
    """What the layer is given on the calibration data, padding left out: (positions, width)."""
    inputs = context.require_calibration().inputs
    seen: list[Tensor] = []
    handle = surgery.get(model, name).register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    real = inputs.get("attention_mask", torch.ones(seen[0].shape[:2])).bool()
    return seen[0][real]


def exact(subject: conformance.Subject, method: LowRankWhitened) -> Context:
    return dataclasses.replace(subject.context(method), hardware=Hardware("cpu", "cpu-generic"))


def test_a_layer_makes_up_for_the_blocks_before_it(tiny: conformance.Subject) -> None:
    """The first of each block, which is given what the factorised blocks before it answer: no weight of its rank is
    nearer to the dense answers, and so none of the other methods'."""
    method = LowRankWhitened(rank_ratio=0.3, allocation="uniform", recovery_epochs=0, damping=1e-4)
    context, dense = exact(tiny, method), tiny.dense.model()
    made = method.compress(tiny.dense.model(), context).model
    stack = surgery.layer_list(dense)
    names = surgery.block_linears(dense)
    for block in range(len(surgery.get(dense, stack))):
        name = next(n for n in names if n.startswith(f"{stack}.{block}."))
        thin, weight = surgery.get(made, name), surgery.get(dense, name).weight.detach()
        rank = thin.first.out_features
        before, now = seen_by(dense, name, context), seen_by(made, name, context)
        found = off(weight, before, now, (thin.second.weight @ thin.first.weight).detach())
        assert found < 1.02 * best(weight, before, now, rank)
        for moment in (None, before.T @ before, now.T @ now):
            second, first = factorise(weight, rank, moment)
            assert found <= 1.001 * off(weight, before, now, second @ first)


def test_without_the_dense_answers_it_fits_its_own(tiny_bert: conformance.Subject) -> None:
    method = LowRankWhitened(rank_ratio=0.3, allocation="uniform", recovery_epochs=0, dense_answers=False)
    context, dense = exact(tiny_bert, method), tiny_bert.dense.model()
    made = method.compress(tiny_bert.dense.model(), context).model
    name = [n for n in surgery.block_linears(dense) if n.endswith("query")][-1]
    thin, weight, now = surgery.get(made, name), surgery.get(dense, name).weight.detach(), seen_by(made, name, context)
    found = off(weight, now, now, (thin.second.weight @ thin.first.weight).detach())
    assert found < 1.001 * best(weight, now, now, thin.first.out_features)


def test_a_pruned_model_is_fitted_to_its_own_answers(tiny_bert: conformance.Subject) -> None:
    """In a chain the layers before have other shapes than the dense model's."""
    from compressors.pruning.structured import PruneStructured

    first, then = PruneStructured(recovery_epochs=0), LowRankWhitened(recovery_epochs=0)
    model = first.compress(tiny_bert.dense.model(), tiny_bert.context(first)).model
    made = then.compress(model, tiny_bert.context(then)).model
    with torch.no_grad():
        assert bool(made(**tiny_bert.examples.inputs).logits.isfinite().all())


@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_damping_must_be_positive(damping: float) -> None:
    with pytest.raises(ValueError, match="damping"):
        LowRankWhitened(damping=damping)


def test_what_is_not_finite_is_told(tiny_bert: conformance.Subject) -> None:
    method, model = LowRankWhitened(recovery_epochs=0), tiny_bert.dense.model()
    norm = next(m for m in model.modules() if isinstance(m, nn.LayerNorm))
    with torch.no_grad():
        norm.weight.fill_(float("nan"))
    with pytest.raises(PressbenchError, match=r"low-rank-whitened: what .*query is given .* not finite"):
        method.compress(model, tiny_bert.context(method))
