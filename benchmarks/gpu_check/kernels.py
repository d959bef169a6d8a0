"""The check of one product: what it answers against what its codes stand for, and its seconds against bf16's."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.gpu_check.check import Findings, NotHere, Setting, one_line
from benchmarks.gpu_check.clock import device_seconds, waited_seconds
from benchmarks.gpu_check.products import PRODUCTS, Bf16, Product

ERROR = 2.0**-7
"""The most that answers may be away from what the codes stand for, of their length (Frobenius): twice the worst that
rounding to bf16 does to each of them, which leaves room for sums and scales in few bits."""
FEW = 16
"""Rows up to which it is the weight that takes the time, and bandwidth is what a product is held against."""


def error_of(found: Tensor, reference: Tensor) -> float:
    """|found − reference| / |reference|, Frobenius."""
    return float((found.double() - reference).norm() / reference.norm())


def check_kernel(setting: Setting, found: Findings, name: str) -> None:
    """All shapes of one product. One that cannot be computed is a fault, and the others go on."""
    for out, columns in setting.shapes.layers:
        made = torch.Generator().manual_seed(out)
        weight = (torch.randn(out, columns, generator=made) / columns**0.5).to(setting.device, torch.bfloat16)
        rows = torch.randn(max(setting.shapes.rows), columns, generator=made).to(setting.device, torch.bfloat16)
        found.step(f"{out}x{columns}")
        with torch.no_grad():
            product, plain = PRODUCTS[name](weight), Bf16(weight)
            for count in setting.shapes.rows:
                try:
                    _one(setting, found, product, plain, rows[:count].contiguous(), f"{out}x{columns}, {count} rows")
                except NotHere:
                    raise
                except Exception as error:
                    found.hold(False, f"{out}x{columns}, {count} rows: {one_line(error)}")


def _one(setting: Setting, found: Findings, product: Product, plain: Bf16, rows: Tensor, case: str) -> None:
    answer = product.call(rows)
    found.at_most(f"{case}: error", error_of(answer, product.reference(rows)), ERROR)
    found.add(f"{case}: error of bf16", error_of(plain.call(rows), plain.reference(rows)))
    repetitions = setting.shapes.repetitions
    own = device_seconds(lambda: product.call(rows), setting.device, repetitions)
    dense = device_seconds(lambda: plain.call(rows), setting.device, repetitions)
    found.add(f"{case}: seconds", own, "s")
    found.add(f"{case}: seconds with handing over", waited_seconds(lambda: product.call(rows), setting.device, 10), "s")
    found.add(f"{case}: seconds of bf16", dense, "s")
    found.add(f"{case}: over bf16", dense / own, "x")
    work = 2.0 * rows.shape[0] * rows.shape[1] * answer.shape[1]
    for label, which, seconds in (("", product, own), (" of bf16", plain, dense)):
        few = rows.shape[0] <= FEW
        ceiling = setting.ceilings.get("bandwidth_gb_s" if few else f"{which.operands}_gflop_s")
        if ceiling:
            reached = (which.bytes + rows.nbytes + answer.nbytes if few else work) / seconds / 1e9
            share = "share of measured bandwidth" if few else f"share of measured {which.operands} peak"
            found.add(f"{case}: {share}{label}", reached / ceiling)
