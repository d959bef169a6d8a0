"""GPTQ: against optimal brain quantization written out in float64, and what it is for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.divergence import divergence
from compressors.interface import PressbenchError
from compressors.moments import refitted
from compressors.quantization.gptq import QuantizeGptq, feed_back
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed_layers import PackedLinear
from compressors.quantization.rounded_weights import GRIDS


def case(rows: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A weight, (rows, columns), and the moments of inputs that depend on each other and differ in size."""
    made = torch.Generator().manual_seed(seed)
    mixed = torch.randn(4 * columns, columns, generator=made) @ torch.randn(columns, columns, generator=made)
    inputs = mixed * torch.logspace(-1, 1, columns)[torch.randperm(columns, generator=made)]
    return torch.randn(rows, columns, generator=made), inputs.T @ inputs


def error(weight: Tensor, found: Tensor, moments: Tensor) -> float:
    """How far the answers of a layer are off, squared and summed over what it was given."""
    off = (found - weight).double()
    return float(((off @ moments.double()) * off).sum())


def brain_quantization(
    weight: Tensor, moments: Tensor, order: list[int], scale: np.ndarray, zero: np.ndarray, size: int, bits: int
) -> np.ndarray:
    """Frantar et al. 2022, equations 2 and 3, a column at a time, the inverse Hessian by elimination and not by
    Cholesky's factors: the codes. scale, zero: (rows, groups), the grid to round to."""
    w, hessian = weight.double().numpy().copy(), moments.double().numpy().copy()
    hessian += 0.01 * hessian.diagonal().mean() * np.eye(len(hessian))
    inverse, left, codes = np.linalg.inv(hessian), list(order), np.zeros(w.shape, np.uint8)
    for column in order:
        step, offset = scale[:, column // size], zero[:, column // size]
        code = np.clip(np.rint(w[:, column] / step) + offset, 0, 2**bits - 1)
        codes[:, column] = code
        off = (w[:, column] - (code - offset) * step) / inverse[column, column]
        left.remove(column)
        w[:, left] -= np.outer(off, inverse[column, left])
        inverse -= np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
    return codes


@pytest.mark.parametrize("size", [300, 64, 100])
@pytest.mark.parametrize("act_order", [True, False])
def test_is_optimal_brain_quantization(act_order: bool, size: int) -> None:
    weight, moments = case(12, 300)
    laid, codes = feed_back(weight, moments, LinearGrid(4, size), damping=0.01, act_order=act_order)
    assert laid.zero is not None
    order = np.argsort(-moments.diagonal().numpy(), kind="stable") if act_order else np.arange(300)
    scale, zero = laid.scale.double().numpy(), laid.zero.double().numpy()
    wanted = brain_quantization(weight, moments, order.tolist(), scale, zero, size, 4)
    same = (codes.numpy() == wanted).mean()
    assert same > 0.995  # in float32 a weight midway may go the other way, and those behind it in its row
    apart = np.abs(codes.numpy().astype(int) - wanted).max()
    assert apart <= 1


def test_groups_in_order_are_laid_over_what_the_columns_before_have_moved() -> None:
    weight, moments = case(12, 300)
    laid, codes = feed_back(weight, moments, LinearGrid(4, 64), damping=0.01, act_order=False)
    still, _ = feed_back(weight, moments, LinearGrid(4, 64), damping=0.01, act_order=True)
    first = LinearGrid(4, 64).lay(weight)
    assert torch.equal(laid.scale[:, 0], first.scale[:, 0])
    assert not torch.equal(laid.scale[:, 1:], first.scale[:, 1:])
    assert torch.equal(still.scale, first.scale)
    assert int(codes.max()) == 15 and int(codes.min()) == 0


@pytest.mark.parametrize("grid", list(GRIDS))
@pytest.mark.parametrize("act_order", [True, False])
def test_answers_change_less_than_rounding_to_nearest_changes_them(act_order: bool, grid: str) -> None:
    for seed in range(3):
        weight, moments = case(24, 96, seed)
        made = GRIDS[grid](3, 32)
        laid, codes = feed_back(weight, moments, made, damping=0.01, act_order=act_order)
        found, plain = laid.packed(codes).dequantize(), nearest(made, weight, moments.diagonal()).dequantize()
        assert error(weight, found, moments) < 0.8 * error(weight, plain, moments)


def test_an_input_that_is_always_zero_holds_nothing_up() -> None:
    weight, moments = case(8, 40)
    moments[7], moments[:, 7] = 0, 0
    laid, codes = feed_back(weight, moments, LinearGrid(4, 40), damping=0.01, act_order=True)
    found = laid.packed(codes).dequantize()
    assert bool(found.isfinite().all())
    step = laid.scale.float().amax()
    assert float((found - weight)[:, 7].abs().max()) <= float(step) / 2 + 1e-6  # to the nearest point, and no further


def test_every_layer_of_a_model_answers_better(tiny: conformance.Subject) -> None:
    """On what it is given in the dense model, against the same grid rounded to nearest."""
    from compressors.calibration import all_at_once
    from compressors.moments import second_moments

    method = QuantizeGptq(bits=3, group_size=16)
    context = tiny.context(method)
    dense, model = tiny.dense.model(), method.compress(tiny.dense.model(), context).model
    names = surgery.block_linears(dense)
    moments = second_moments(all_at_once(dense, context), names)
    better = 0
    for name in names:
        weight, packed = surgery.get(dense, name).weight.detach(), surgery.get(model, name)
        assert isinstance(packed, PackedLinear)
        plain = nearest(LinearGrid(3, 16), weight).dequantize()
        better += error(weight, packed.weight, moments[name]) < error(weight, plain, moments[name])
    # Fed by rounded blocks it fits what these answer, which in a model that small need not be the dense inputs' best.
    assert better >= 0.9 * len(names)


def test_the_file_holds_codes_that_another_reader_decodes(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    method = QuantizeGptq(bits=4, group_size=16)
    made = build([method], tiny_bert.dense, tiny_bert.context(method), tmp_path)
    name = surgery.block_linears(tiny_bert.dense.model())[0]
    with safe_open(made.directory / "model.safetensors", "np") as file:
        codes, scale = file.get_tensor(f"{name}.weight.codes"), file.get_tensor(f"{name}.weight.scale")
        zero = file.get_tensor(f"{name}.weight.zero")
    low_first = np.stack([codes & 15, codes >> 4], -1).reshape(len(codes), -1).astype(np.float64)
    zeros = np.stack([zero & 15, zero >> 4], -1).reshape(len(zero), -1)[:, : scale.shape[1]].astype(np.float64)
    values = (low_first - zeros.repeat(16, 1)) * scale.astype(np.float64).repeat(16, 1)
    dense = surgery.get(tiny_bert.dense.model(), name).weight.detach().double().numpy()
    assert np.abs(values - surgery.get(made.model(), name).weight.double().numpy()).max() < 1e-6
    assert np.corrcoef(values.ravel(), dense.ravel())[0, 1] > 0.98


def test_query_key_and_value_are_as_if_alone(tiny_bert: conformance.Subject) -> None:
    """They are gone through together, since they are given the same."""
    weights = [case(8, 32, seed)[0] for seed in range(3)]
    moments = case(8, 32)[1]
    method = QuantizeGptq(group_size=16)
    together = method.round(weights, moments)
    for weight, packed in zip(weights, together, strict=True):
        (alone,) = method.round([weight], moments)
        assert torch.equal(packed.dequantize(), alone.dequantize())


@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_damping_must_be_positive(damping: float) -> None:
    with pytest.raises(ValueError, match="damping"):
        QuantizeGptq(damping=damping)


def test_no_calibration_data_and_what_is_not_finite_are_told(tiny_bert: conformance.Subject) -> None:
    method = QuantizeGptq()
    context = tiny_bert.context(method)
    with pytest.raises(PressbenchError, match="calibration"):
        method.compress(tiny_bert.dense.model(), dataclasses.replace(context, calibration=context.calibration[:0]))  # type: ignore[index]
    model = tiny_bert.dense.model()
    norm = next(m for m in model.modules() if isinstance(m, nn.LayerNorm))
    with torch.no_grad():
        norm.weight.fill_(float("nan"))
    with pytest.raises(PressbenchError, match=r"quantize-gptq: what .*query is given .* not finite"):
        method.compress(model, context)


def test_what_fits_the_dense_answers_is_least_squares() -> None:
    """Against numpy's solver on the inputs themselves, with damping as further rows."""
    made = torch.Generator().manual_seed(0)
    dense = torch.randn(200, 12, generator=made)
    given = dense + 0.3 * torch.randn(200, 12, generator=made)
    given[:, 5] = 0  # what is no longer given anything
    weight = torch.randn(7, 12, generator=made)
    found = refitted(weight, given.T @ given, dense.T @ given, 0.02)
    pull = np.sqrt(0.02 * float((given.T @ given).diagonal().mean())) * np.eye(12)
    rows = np.concatenate([given.double().numpy(), pull])
    wanted = np.concatenate([(dense @ weight.T).double().numpy(), pull @ weight.T.double().numpy()])
    solved = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    keep = [i for i in range(12) if i != 5]
    assert np.abs(found.double().numpy() - solved)[:, keep].max() < 1e-4
    off = given @ found.T - dense @ weight.T
    assert float(off.square().sum()) < float((given @ weight.T - dense @ weight.T).square().sum())


@pytest.mark.parametrize("bits", [4, 2])
def test_what_fits_the_dense_answers_answers_more_like_it(bits: int, tiny: conformance.Subject) -> None:
    """On the calibration data, where least squares cannot do harm unless it is done twice: half as far, at most."""
    apart = []
    for dense_answers in (False, True):
        method = QuantizeGptq(bits=bits, group_size=16, dense_answers=dense_answers)
        context = tiny.context(method)
        made = method.compress(tiny.dense.model(), context).model
        apart.append(divergence(made.eval(), tiny.dense.model().eval(), context))
    assert apart[1] < 0.5 * apart[0]


def test_a_block_is_rounded_by_what_the_rounded_one_before_it_answers(tiny_bert: conformance.Subject) -> None:
    from compressors.calibration import all_at_once
    from compressors.moments import second_moments

    method = QuantizeGptq(bits=2, group_size=16)
    context, dense = tiny_bert.context(method), tiny_bert.dense.model()
    made = method.compress(tiny_bert.dense.model(), context).model
    names = surgery.block_linears(dense)
    first, later = (f"bert.encoder.layer.{number}." for number in (0, 1))
    name = next(n for n in names if n.startswith(later))

    def as_rounded_by(model: nn.Module) -> float:
        moments = second_moments(all_at_once(model, context), [name])[name]
        (packed,) = method.round([surgery.get(dense, name).weight.detach()], moments)
        return float((packed.dequantize() == surgery.get(made, name).weight).float().mean())

    before = as_rounded_by(dense)
    with torch.no_grad():
        for one in names:
            if one.startswith(first):
                surgery.get(dense, one).weight.copy_(surgery.get(made, one).weight)
    assert as_rounded_by(dense) > 0.99 > before
