"""Which weights go together: single ones, N of M, blocks; and among which they are compared.

A pattern turns scores into masks. "weights": each by itself. "2:4", "4:8": of every M neighbours along the inputs of an
output N go, whatever the scope (Mishra et al. 2021: what sparse tensor cores take). "4x4", "1x32": blocks of rows x
columns, by the sum of their scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

SCOPES = ("layer", "global", "row")
"""Among which weights the least important are looked for: of one layer, of all layers together, or of what one output
is computed from."""
SINGLE = "weights"


def check_pattern(pattern: str, scope: str, sparsity: float) -> None:
    """Raises ValueError for a pattern that is none, or that does not go with the scope or the sparsity."""
    if scope not in SCOPES:
        raise ValueError(f"scope = {scope!r}: must be one of {', '.join(SCOPES)}")
    if found := n_of_m(pattern):
        gone, group = found
        if not 0 < gone < group:
            raise ValueError(f"pattern = {pattern!r}: of {group} weights, 1 to {group - 1} can go")
        if sparsity != gone / group:
            raise ValueError(
                f"pattern = {pattern!r}: removes {gone / group:g} of all weights; sparsity is {sparsity!r}"
            )
    elif shape := block_shape(pattern):
        if min(shape) < 1 or shape == (1, 1):
            raise ValueError(f"pattern = {pattern!r}: a block has more than one weight")
        if scope == "row" and shape[0] > 1:
            raise ValueError(f"pattern = {pattern!r}: a block of {shape[0]} rows: scope must be 'layer' or 'global'")
    elif pattern != SINGLE:
        raise ValueError(f"pattern = {pattern!r}: must be 'weights', N:M as '2:4', or rows x columns as '4x4'")


def misfit(pattern: str, scope: str, sparsity: float, shape: torch.Size, name: str) -> str | None:
    """Why a layer of that shape, (outputs, inputs), cannot take the pattern; None where it can."""
    group = n_of_m(pattern)
    block = (1, group[1]) if group else block_shape(pattern) or (1, 1)
    if shape[0] % block[0] or shape[1] % block[1]:
        return f"{name} is {shape[0]} x {shape[1]}: pattern {pattern!r} does not divide it"
    units = (shape[1] if scope == "row" else shape.numel()) // (block[0] * block[1])
    if not group and round(sparsity * units) >= units:
        left = f"a row of {units}" if scope == "row" else f"{units}"
        return f"{name} would be empty: sparsity {sparsity:g} of {left} is all of it"
    return None


def masks(
    scores: Mapping[str, Tensor], sparsity: float, pattern: str = SINGLE, scope: str = "layer"
) -> dict[str, Tensor]:
    """Name -> mask of the scores' shape, True where a weight stays.

    scores: name -> (outputs, inputs), higher is more important. Exactly round(sparsity * n) of the n units that are
    compared with each other go, of equal ones the first.
    """
    if found := n_of_m(pattern):
        return {name: _groups(values, *found) for name, values in scores.items()}
    shape = block_shape(pattern)
    units = {name: _pooled(values, shape) if shape else values for name, values in scores.items()}
    if scope == "global":
        chosen = dict(zip(units, lowest(list(units.values()), sparsity), strict=True))
    elif scope == "row":
        chosen = {name: _rows(values, sparsity) for name, values in units.items()}
    else:
        chosen = {name: lowest([values], sparsity)[0] for name, values in units.items()}
    if not shape:
        return chosen
    return {name: m.repeat_interleave(shape[0], 0).repeat_interleave(shape[1], 1) for name, m in chosen.items()}


def lowest(scores: list[Tensor], share: float) -> list[Tensor]:
    """Masks, True where a unit stays: round(share * n) of the n units in all, those of the lowest scores, are False, of
    equal ones the first. Exact where a threshold would not be: many scores may tie, above all zeros."""
    together = torch.cat([s.flatten() for s in scores])
    keep = torch.ones(len(together), dtype=torch.bool, device=together.device)
    count = round(share * len(together))
    if count:
        limit = together.kthvalue(count).values
        keep[together < limit] = False
        ties = (together == limit).nonzero().flatten()
        keep[ties[: count - int((~keep).sum())]] = False
    return [m.view(s.shape) for m, s in zip(keep.split([s.numel() for s in scores]), scores, strict=True)]


def _rows(scores: Tensor, share: float) -> Tensor:
    """The same in every row by itself."""
    count = round(share * scores.shape[1])
    gone = scores.sort(dim=1, stable=True).indices[:, :count]
    return torch.ones_like(scores, dtype=torch.bool).scatter_(1, gone, False)


def _groups(scores: Tensor, gone: int, group: int) -> Tensor:
    return _rows(scores.reshape(-1, group), gone / group).view(scores.shape)


def _pooled(scores: Tensor, shape: tuple[int, int]) -> Tensor:
    """(outputs, inputs) -> the sums of the blocks, (outputs / rows, inputs / columns)."""
    rows, columns = shape
    return scores.unflatten(1, (-1, columns)).unflatten(0, (-1, rows)).sum((1, 3))


def n_of_m(pattern: str) -> tuple[int, int] | None:
    """(N, M) of a pattern of N of M."""
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", pattern)
    return (int(found[1]), int(found[2])) if found else None


def block_shape(pattern: str) -> tuple[int, int] | None:
    """(rows, columns) of a pattern of blocks."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", pattern)
    return (int(found[1]), int(found[2])) if found else None
