"""The check of a product holds what it is, and a product with a fault fails it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.gpu_check import kernels, products
from benchmarks.gpu_check.check import Check, Result, Setting, outcome
from benchmarks.gpu_check.generating import GAP
from benchmarks.gpu_check.kernels import check_kernel
from benchmarks.gpu_check.models import gaps, language_model, prompts
from benchmarks.gpu_check.shapes import SMALL
from benchmarks.gpu_check.static_cache import StaticDecoder
from compressors.interface import Hardware
from compressors.quantization.fp8_kernels import Fp8Linear
from compressors.quantization.kernels import Int4Linear

CPU = Setting(Hardware("cpu", "cpu-generic", threads=1), ceilings={"bandwidth_gb_s": 20.0, "bf16_gflop_s": 100.0})
HERE = ["int8", "fp8 by row", "fp8 by tensor", "int4"]


def checked(name: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    for clock in ("device_seconds", "waited_seconds"):  # what is asked is whether it is right
        monkeypatch.setattr(kernels, clock, lambda call, *_: call() is None or 1e-3)
    return outcome(Check(name, "", partial(check_kernel, name=name)), CPU)


@pytest.mark.parametrize("name", HERE)
def test_a_product_that_is_right_holds_on_every_shape(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = checked(name, monkeypatch)
    assert (result.kind, result.reason) == ("held", "")
    errors = [n.value for n in result.numbers if n.name.endswith("rows: error")]
    assert len(errors) == len(SMALL.layers) * len(SMALL.rows)
    assert any("share of measured bandwidth" in n.name for n in result.numbers)


def int8_without_scale(self: products.Int8, rows: Tensor) -> Tensor:
    codes, scale = self.coded(rows)
    return (torch._int_mm(codes, self.codes.t()).float() * scale).bfloat16()


def fp8_without_scale(self: Fp8Linear) -> None:
    self.laid_scale = torch.ones_like(self.scale)[None] if self.by_row else torch.ones_like(self.scale)


def int4_in_another_order(self: Int4Linear, rows: Tensor) -> Tensor:
    swapped = ((self.codes << 4) | (self.codes >> 4)).int()
    codes = torch.stack([swapped & 15, (swapped >> 4) & 15], -1).flatten(1)
    step, offset = (part.T[..., None].float() for part in self.grid.unbind(-1))
    return (rows.float() @ ((codes.float().unflatten(1, (-1, 128)) - 8) * step + offset).flatten(1).t()).bfloat16()


FAULTS: list[tuple[str, Any, str, Any]] = [
    ("int8", products.Int8, "call", int8_without_scale),
    ("fp8 by row", Fp8Linear, "_lay_out", fp8_without_scale),
    ("fp8 by tensor", Fp8Linear, "_lay_out", fp8_without_scale),
    ("int4", Int4Linear, "product", int4_in_another_order),
]


@pytest.mark.parametrize(("name", "owner", "method", "fault"), FAULTS, ids=HERE)
def test_a_product_with_a_fault_fails(
    name: str, owner: Any, method: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, fault)
    result = checked(name, monkeypatch)
    assert result.kind == "failed"
    assert "error: " in result.reason and "at most 0.0078125" in result.reason


def test_a_shape_that_cannot_be_computed_is_a_fault_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    right = products.Int8.call

    def refuses(self: products.Int8, rows: Tensor) -> Tensor:
        if len(rows) == 1:
            raise RuntimeError("self.size(0) needs to be greater than 16,\nbut got 1")
        return right(self, rows)

    monkeypatch.setattr(products.Int8, "call", refuses)
    result = checked("int8", monkeypatch)
    assert result.kind == "failed"
    assert result.reason.startswith(
        "384x256, 1 rows: RuntimeError: self.size(0) needs to be greater than 16, but got 1;"
    )
    assert sum(n.name.endswith("rows: error") for n in result.numbers) == 4


def test_what_needs_a_gpu_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    result = checked("2:4", monkeypatch)
    assert result.kind == "not here" and "needs CUDA" in result.reason


def test_of_four_weights_the_two_largest_are_left() -> None:
    weight = torch.tensor([[3.0, -4.0, 1.0, 2.0, 0.1, 0.2, -0.3, 0.4]])
    assert products.two_of_four(weight).tolist()[0] == pytest.approx([3.0, -4.0, 0, 0, 0, 0, -0.3, 0.4])


# -- tokens ----------------------------------------------------------------------------------------


def test_tokens_of_another_text_are_far_from_the_likeliest() -> None:
    config = SMALL.models["1B"]
    model, ids = language_model(config, "cpu", torch.float32), prompts(config, 1, 12)
    decoder = StaticDecoder(model, "cpu", 12 + 6)
    tokens = np.concatenate([[decoder.prefill(ids)], decoder.decode(4)])
    assert gaps(model, ids, tokens, "cpu").max() <= GAP["fp32"]
    assert gaps(model, ids, (tokens + 1) % config["vocab_size"], "cpu").max() > 1
    again = np.concatenate([[decoder.prefill(ids)], decoder.decode(4)])
    assert (again == tokens).all(), "a prompt is read into an empty cache"
