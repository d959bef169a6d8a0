"""Whether weights lie on a grid already: a method that rounds to that very grid changes nothing, and its lossless
result would say nothing about it. Told from the weights, whatever the model is called."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 1e-3
"""How far from a point, in steps, a weight may lie that counts as on it: fp32 rounding is 1e-5 at 255 steps."""
_ROUNDING = 1e-5
"""The same of points at no common step, as a share of the point."""
_FIRST = 256
"""Weights looked at first: those that are on no grid show it there, and trying all of them would take seconds."""


def on_grid(weight: Tensor, bits: int, group_size: int, *, symmetric: bool, per_tensor: bool = False) -> bool:
    """Whether every group of `weight` already lies on some linear grid of 2**bits points with zero among them, to
    fp32 rounding. Arguments as for `quantize_linear`.

    Its own rounding does not show it: the symmetric grid puts the largest weight beyond the last point, so that
    weights on such a grid are moved when they are quantized again. Here every number of steps that the
    largest weight may be away from zero (the whole range, where not symmetric) is tried.
    """
    weight = weight.float()
    columns = weight.shape[1]
    grouped = F.pad(weight, (0, -columns % group_size)).unflatten(1, (-1, group_size))
    groups = grouped.reshape(1, -1) if per_tensor else grouped.flatten(0, 1)  # (groups, size)
    if symmetric:
        span, most = groups.abs().amax(1, keepdim=True), 2 ** (bits - 1)
    else:
        span, most = groups.amax(1, keepdim=True).clamp(min=0) - groups.amin(1, keepdim=True).clamp(max=0), 2**bits - 1
    # A model that is not on a grid shows it in its first weights: trying all of them would take seconds.
    return _multiples(groups[:1, :_FIRST], span[:1], most) and _multiples(groups, span, most)


def lies_on_offset_grid(weight: Tensor, bits: int, group_size: int) -> bool:
    """Whether every group of `weight`, (rows, columns), holds at most 2**bits evenly spaced values, wherever the first
    of them lies, to fp32 rounding. group_size must divide the columns."""
    groups = weight.float().unflatten(1, (-1, group_size)).flatten(0, 1)
    groups = groups - groups.amin(1, keepdim=True)
    span, most = groups.amax(1, keepdim=True), 2**bits - 1
    return _multiples(groups[:1, :_FIRST], span[:1], most) and _multiples(groups, span, most)


def lies_on_levels(weight: Tensor, levels: Tensor, group_size: int) -> bool:
    """Whether every group of `weight`, (rows, columns), holds nothing but its largest magnitude times some of `levels`,
    (levels,) ascending from -1 to 1 with 0 among them, to fp32 rounding."""
    groups = F.pad(weight.float(), (0, -weight.shape[1] % group_size)).unflatten(1, (-1, group_size)).flatten(0, 1)

    def on(groups: Tensor) -> bool:
        largest = groups.abs().amax(1, keepdim=True)
        groups = groups / largest.where(largest > 0, 1.0)
        nearest = levels[torch.searchsorted((levels[1:] + levels[:-1]) / 2, groups)]
        return bool(((groups - nearest).abs() <= _ROUNDING * nearest.abs()).all())

    return on(groups[:1]) and on(groups)


def _multiples(groups: Tensor, span: Tensor, most: int) -> bool:
    """Whether each group, (groups, size), holds multiples of its span / steps only, for one of 1 to `most` steps."""
    left = (span > 0).squeeze(1)  # a group of zeros lies on any grid
    groups, span = groups[left], span[left]
    for steps in range(1, most + 1):
        if not len(groups):
            break
        codes = groups * (steps / span)
        off = (codes - codes.round()).abs().amax(1) > TOLERANCE
        groups, span = groups[off], span[off]
    return not len(groups)
