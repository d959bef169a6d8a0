"""Low rank: the factors are the best there are, by measures computed another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, surgery, units
from compressors.build import build
from compressors.calibration import all_at_once
from compressors.interface import Hardware
from compressors.low_rank.factors import LowRankLinear, factorise
from compressors.low_rank.ranks import rank_for
from compressors.low_rank.svd import LowRankSvd
from compressors.moments import second_moments

GENERATOR = torch.Generator().manual_seed(5)
WEIGHT = torch.randn(24, 16, generator=GENERATOR)
# Inputs that are large in a few directions, as a Transformer's are, and never vary in one.
INPUTS = (torch.randn(400, 16, generator=GENERATOR) * torch.logspace(1, -1, 16)) @ torch.linalg.qr(
    torch.randn(16, 16, generator=GENERATOR)
).Q


def product(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[0] @ pair[1]


@pytest.mark.parametrize("rank", [1, 4, 9, 15])
def test_plain_error_is_the_tail_of_the_spectrum(rank: int) -> None:
    """Eckart and Young: no matrix of that rank is nearer."""
    tail = np.linalg.svd(WEIGHT.numpy().astype("float64"), compute_uv=False)[rank:]
    error = float((WEIGHT - product(factorise(WEIGHT, rank))).double().norm())
    assert error == pytest.approx(float(np.sqrt((tail**2).sum())), rel=1e-5)


@pytest.mark.parametrize("rank", [1, 4, 9, 15])
def test_activation_aware_error_is_the_tail_of_the_outputs(rank: int) -> None:
    """The same theorem for W X: the outputs on the data are as near as that rank allows."""
    outputs = INPUTS.double().numpy() @ WEIGHT.double().numpy().T
    tail = np.linalg.svd(outputs, compute_uv=False)[rank:]
    found = product(factorise(WEIGHT, rank, INPUTS.T @ INPUTS))
    error = float((INPUTS @ (WEIGHT - found).T).double().norm())
    assert error == pytest.approx(float(np.sqrt((tail**2).sum())), rel=1e-3)


def test_activation_aware_is_better_on_outputs_and_worse_on_weights() -> None:
    plain, aware = product(factorise(WEIGHT, 4)), product(factorise(WEIGHT, 4, INPUTS.T @ INPUTS))
    assert float((INPUTS @ (WEIGHT - aware).T).norm()) < 0.6 * float((INPUTS @ (WEIGHT - plain).T).norm())
    assert float((WEIGHT - aware).norm()) > float((WEIGHT - plain).norm())


def test_full_rank_changes_nothing() -> None:
    assert torch.allclose(product(factorise(WEIGHT, 16)), WEIGHT, atol=1e-5)
    assert torch.allclose(product(factorise(WEIGHT, 16, INPUTS.T @ INPUTS)), WEIGHT, atol=1e-4)


def test_inputs_that_never_vary_do_no_harm() -> None:
    inputs = INPUTS.clone()
    inputs[:, 3:7] = 0
    found = product(factorise(WEIGHT, 12, inputs.T @ inputs))
    assert bool(found.isfinite().all())
    assert float((inputs @ (WEIGHT - found).T).norm()) < 1e-3 * float((inputs @ WEIGHT.T).norm())


@pytest.mark.parametrize("bias", [True, False])
def test_two_thin_layers_stand_for_one(bias: bool) -> None:
    layer = nn.Linear(16, 24, bias=bias)
    thin = LowRankLinear.of(layer, *factorise(layer.weight.detach(), 16))
    assert torch.allclose(thin(INPUTS), layer(INPUTS), atol=1e-3)
    assert (thin.second.bias is not None) == bias


@pytest.mark.parametrize("width,height,ratio,rank", [(384, 384, 0.33, 128), (384, 1536, 0.33, 128), (64, 64, 0.05, 3)])
def test_rank_is_a_share_of_the_narrower_side(width: int, height: int, ratio: float, rank: int) -> None:
    assert rank_for((height, width), ratio) == rank


@pytest.mark.parametrize("width,height,ratio", [(384, 384, 0.5), (64, 64, 0.7), (384, 1536, 0.81)])
def test_factors_that_would_not_be_smaller_are_refused(width: int, height: int, ratio: float) -> None:
    assert rank_for((height, width), ratio) is None


def test_padding_does_not_count(tiny: conformance.Subject) -> None:
    """The moments are those of the tokens that are real, computed here from what the layers saw."""
    model = tiny.dense.model()
    context = replace(tiny.context(LowRankSvd()), hardware=Hardware("cpu", "cpu-generic"))  # float32 throughout
    names = [name for block in units.blocks(model) for name in block.linears]
    found = second_moments(all_at_once(model, context), names)
    for name in (names[0], names[-1]):
        seen: list[Tensor] = []
        hook = surgery.get(model, name).register_forward_pre_hook(lambda _m, args, seen=seen: seen.append(args[0]))
        with torch.inference_mode():
            model(**context.calibration.inputs)
        hook.remove()
        mask = context.calibration.inputs.get("attention_mask", torch.ones(seen[0].shape[:2])).bool()
        rows = torch.stack([v for values, kept in zip(seen[0], mask, strict=True) for v in values[kept]])
        assert torch.allclose(found[name], rows.T @ rows, rtol=1e-3, atol=1e-2)


def test_the_method_is_nearer_to_the_dense_answers_with_activations(tiny: conformance.Subject) -> None:
    def distance(aware: bool) -> float:
        compressor = LowRankSvd(activation_aware=aware, recovery_epochs=0)
        model = compressor.compress(tiny.dense.model(), tiny.context(compressor)).model
        with torch.inference_mode():
            return float((model(**tiny.examples.inputs).logits - tiny.examples.dense_logits).norm())

    assert distance(True) < distance(False)


def test_layers_that_would_not_shrink_are_left_and_the_rest_is_rebuilt(
    tiny: conformance.Subject, tmp_path: Path
) -> None:
    compressor = LowRankSvd(rank_ratio=0.6, recovery_epochs=0)  # too much for 64 × 64, not for 64 × 128
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    model = made.model()
    stack = surgery.get(model, surgery.layer_list(model))
    thin = [name for name, module in stack.named_modules() if isinstance(module, LowRankLinear)]
    assert len(thin) == 2 * len(stack)
    assert set(made.recipe[0]["structure"]["ranks"].values()) == {40}
    assert made.inventory().parameters < tiny.dense.inventory().parameters


def test_a_rank_that_shrinks_nothing_is_unsupported(tiny: conformance.Subject) -> None:
    reason = LowRankSvd(rank_ratio=0.9).supports(tiny.spec, conformance.HARDWARE)
    assert reason and "makes no layer" in reason
    assert LowRankSvd().supports(tiny.spec, conformance.HARDWARE) is None


@pytest.mark.parametrize("ratio", [0.0, 1.0, 128, float("nan")])
def test_a_wrong_parameter_is_named(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"rank_ratio = {ratio}: must lie between 0 and 1"):
        LowRankSvd(rank_ratio=ratio)
