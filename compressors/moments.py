"""Sums over what layers are given, x: of squares, of x xᵀ; and what methods make of them: errors of answers, the fit to
other answers, the factor by which an error is fed back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compressors.calibration import Look
from compressors.interface import PressbenchError


def squares(look: Look, layers: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> for each of its inputs the sum of squares over what it is given, (inputs,) float32.
    Raises PressbenchError for a layer that is given nothing."""
    sums: dict[str, Tensor] = {}

    def add(name: str, rows: Tensor) -> None:
        found = rows.square().sum(0)
        sums[name] = sums[name] + found if name in sums else found

    look(layers, add)
    return _all_seen(sums, layers)


def second_moments(look: Look, layers: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> the sum of x xᵀ over what it is given, (inputs, inputs) float32: the Hessian of the error of its answers
    by each row of its weight, but for a factor. Raises PressbenchError for a layer that is given nothing."""
    sums: dict[str, Tensor] = {}
    last: tuple[Tensor, Tensor] | None = None  # query, key and value see one tensor: its product is computed once

    def add(name: str, rows: Tensor) -> None:
        nonlocal last
        if last is None or last[0] is not rows:
            last = (rows, gram(rows))
        sums[name] = sums[name].add_(last[1]) if name in sums else last[1].clone()

    look(layers, add)
    return {name: mirrored(values) for name, values in _all_seen(sums, layers).items()}


STRIPES = 4


def gram(rows: Tensor) -> Tensor:
    """Σ x xᵀ over `rows`, (positions, width), on and above the diagonal; what is below it is not to be read. Ten
    sixteenths of the work, as the matrix is symmetric."""
    width = rows.shape[1]
    found = rows.new_zeros(width, width)
    step = max(64, -(-width // STRIPES))
    for start in range(0, width, step):
        torch.mm(rows[:, start : start + step].T, rows[:, start:], out=found[start : start + step, start:])
    return found


def quadratic(rows: Tensor, moments: Tensor) -> float:
    """Σ xᵀ M x over `rows`, (n, width), M being `moments`, (width, width), symmetric: as `gram`, ten sixteenths of the
    work."""
    width = rows.shape[1]
    step = max(64, -(-width // STRIPES))
    total = 0.0
    for start in range(0, width, step):
        own, stop = rows[:, start : start + step], start + step
        total += float((own @ moments[start:stop, start:stop]).mul_(own).sum())
        if stop < width:
            total += 2 * float((own @ moments[start:stop, stop:]).mul_(rows[:, stop:]).sum())
    return total


def mirrored(upper: Tensor) -> Tensor:
    """The symmetric matrix with this upper triangle."""
    return upper.triu() + upper.triu(1).T


def cross_moments(look: Look, other: Look, layers: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """For each layer the sum of x xᵀ over what it is given in one model, and that of y xᵀ, y being what it is given at
    the same places in the `other`: (inputs, inputs) float32 each. Raises as `second_moments` does."""
    beside: dict[str, list[Tensor]] = {}
    other(layers, lambda name, rows: beside.setdefault(name, []).append(rows))
    own: dict[str, Tensor] = {}
    crossed: dict[str, Tensor] = {}
    last: tuple[Tensor, Tensor, Tensor] | None = None

    def add(name: str, rows: Tensor) -> None:
        nonlocal last
        theirs = beside[name].pop(0)
        if last is None or last[0] is not rows:
            last = (rows, mirrored(gram(rows)), theirs.T @ rows)
        for sums, found in ((own, last[1]), (crossed, last[2])):
            sums[name] = sums[name] + found if name in sums else found

    look(layers, add)
    return _all_seen(own, layers), crossed


def refitted(weight: Tensor, moments: Tensor, crossed: Tensor, damping: float) -> Tensor:
    """The weight, (outputs, inputs), whose answers to x are nearest to those of `weight` to y, by least squares.
    moments: Σ x xᵀ, crossed: Σ y xᵀ, (inputs, inputs). damping: of the mean diagonal, which pulls it to `weight`."""
    hold = damping * moments.diagonal().double().mean() * torch.eye(len(moments), dtype=torch.float64)
    dead = (moments.diagonal() == 0).double().diag()  # an input that is always zero keeps its weight
    wanted = weight.double() @ (crossed.double() + hold + dead)
    return torch.linalg.solve(moments.double() + hold + dead, wanted, left=False).to(weight.dtype)


def _all_seen(sums: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    for name in layers:
        if name not in sums:
            raise PressbenchError(f"the calibration data never reaches {name}: nothing can be said of its weights")
    return sums


def inverse_factor(moments: Tensor, damping: float) -> Tensor:
    """The upper triangular U of UᵀU = (H + damping · mean diagonal)⁻¹, (inputs, inputs) float64, by which methods that
    feed errors back go through the columns of a weight (Frantar et al. 2022). moments: H. An input that is always
    zero gets a diagonal of one: its weights do nothing, and hold nothing up."""
    hessian = moments.double().clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += damping * diagonal.mean()
    try:
        # H = R Rᵀ, R upper triangular: the factor of H with rows and columns reversed, put back. U is R's inverse.
        root = torch.linalg.cholesky(hessian.flip(0, 1)).flip(0, 1)
    except torch.linalg.LinAlgError:
        raise PressbenchError(f"damping = {damping!r}: too little for what this layer is given; raise it") from None
    identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root, identity, upper=True)
