"""Codes and codebooks for one matrix: which entries stand for its sub-vectors, and what the entries are.

All is measured by what a layer answers: for the error E of a weight that is tr(E H Eᵀ), H the second moments of what
the layer is given. k-means over some sub-vectors, weighted by H's diagonal, gives the entries to begin with (of several
codebooks each from what the ones before left over). Then, in turn, neither of which can make it worse:

- entries and scales by least squares for the codes as they are;
- codes, sub-vector after sub-vector along a row, for the entries as they are: the best one given all the others,
  so that what one got wrong the next make up for (as AQLM, Egiazarian et al. 2024, and GPTVQ, van Baalen et al. 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.quantization.vector_weight import VectorWeight, decode

SAMPLE = 2**14
"""Sub-vectors that k-means sees."""
ROUNDS = 12
"""Rounds of k-means."""
STEPS = 4
"""Conjugate gradients of a least squares problem: on MiniLM twice as many gain nothing."""
BEAM = 8
"""Sums of entries that are held while those of several codebooks are chosen."""
COLUMNS = 128
"""Columns that are corrected at once for what was changed."""
_ROWS = 1024
"""Sub-vectors compared with all entries at once: the table fits a cache."""


def nearest(vectors: Tensor, codebook: Tensor, beam: int = BEAM) -> Tensor:
    """The codes of the sums of entries nearest to `vectors`, (n, width): (n, codebooks) int64. codebook: (codebooks,
    entries, width). Exact for one codebook, for several by beam search."""
    half = codebook.square().sum(2) / 2
    # One table of scores for all: to ask for the memory anew each time takes longer than to fill it.
    table = vectors.new_empty(_ROWS * (1 if len(codebook) == 1 else beam) * codebook.shape[1])
    codes = [_beam(some, codebook, half, beam, table) for some in vectors.split(_ROWS)]
    return torch.cat(codes)


def _beam(vectors: Tensor, codebook: Tensor, half: Tensor, beam: int, table: Tensor) -> Tensor:
    books, entries, width = codebook.shape
    left, cost = vectors.unsqueeze(1), vectors.new_zeros(len(vectors), 1)
    codes = torch.zeros(len(vectors), 1, 0, dtype=torch.int64)
    for book in range(books):
        # Half the squared distance to what is left, but for a part that is the same for all.
        scores = table[: left.shape[0] * left.shape[1] * entries].view(-1, entries)
        torch.mm(left.reshape(-1, width), codebook[book].T, out=scores)
        torch.sub(half[book], scores, out=scores)
        scores = scores.view(len(vectors), -1, entries)
        if book:
            scores += cost.unsqueeze(2)
        if book == books - 1:
            came, code = _least(scores)
        else:
            flat = scores.flatten(1)
            cost, best = flat.topk(min(beam, flat.shape[1]), 1, largest=False)
            came, code = best // entries, best % entries
        codes = torch.cat([codes.gather(1, came.unsqueeze(2).expand(-1, -1, book)), code.unsqueeze(2)], 2)
        if book < books - 1:
            left = left.gather(1, came.unsqueeze(2).expand(-1, -1, width)) - codebook[book][code]
    return codes[:, 0]


def _least(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Where the least of each of `scores`, (n, sums, entries), is: (n, 1) int64 each. First the sum, by its least,
    which takes a twentieth of the time that looking for a place takes."""
    came = scores.amin(2).argmin(1, keepdim=True)
    return came, scores[torch.arange(len(scores)), came[:, 0]].argmin(1, keepdim=True)


def kmeans(vectors: Tensor, importance: Tensor, entries: int, rounds: int = ROUNDS) -> Tensor:
    """Entries, (entries, width), by Lloyd's rounds from `vectors`, (n, width), drawn by what they weigh. importance:
    (n, width), how much an error of each number counts."""
    weighed = importance * vectors
    chance = importance.mean(1).double().clamp(min=1e-300)
    found = vectors[torch.multinomial(chance, entries, replacement=entries > len(vectors))].clone()
    table = torch.cat([weighed, importance], 1)
    for _ in range(rounds):
        sums = table.new_zeros(entries, table.shape[1]).index_add_(0, _weighed(table, found), table)
        values, weight = sums.chunk(2, 1)
        found = torch.where(weight > 0, values / weight, found)  # an entry that nothing is near stays
    return found


def _weighed(table: Tensor, entries: Tensor) -> Tensor:
    """The nearest of `entries`, (entries, width), where each number of each vector has a weight of its own: (n,) int64.
    table: (n, 2 * width), the weights times the vectors, and the weights."""
    against = torch.cat([-2 * entries, entries.square()], 1).T
    return torch.cat([(some @ against).argmin(1) for some in table.split(_ROWS)])


def least_squares(
    weight: Tensor, hessian: Tensor, scale: Tensor, codes: Tensor, codebook: Tensor, steps: int = STEPS
) -> Tensor:
    """The codebook moved towards the one of least tr(E H Eᵀ) for these codes, by preconditioned conjugate gradients.
    What the codes leave open stays as it was.

    weight: (rows, columns). scale: (rows, 1). codes: (rows, sub-vectors, codebooks)."""
    width, flat = codebook.shape[2], codes.flatten(0, 1)

    def gathered(values: Tensor) -> Tensor:
        """(rows, columns) summed up over what stands for each entry."""
        parts = values.reshape(-1, width)
        return torch.stack(
            [torch.zeros_like(c).index_add_(0, own, parts) for c, own in zip(codebook, flat.T, strict=True)]
        )

    found = codebook.clone()
    left = gathered((weight - decode(codes, found).flatten(1) * scale) @ hessian * scale)
    curvature = gathered(hessian.diagonal() * scale.square())
    inverse = torch.where(curvature > 0, 1 / curvature, 0.0)
    ahead = inverse * left
    direction, size = ahead, (left * ahead).sum()
    begun = size
    for _ in range(steps):
        if not size > 1e-12 * begun:
            break
        bent = gathered(decode(codes, direction).flatten(1) * scale @ hessian * scale)
        step = size / (direction * bent).sum()
        found, left = found + step * direction, left - step * bent
        ahead = inverse * left
        before, size = size, (left * ahead).sum()
        direction = ahead + size / before * direction
    return found


def scales(weight: Tensor, hessian: Tensor, shape: Tensor, scale: Tensor) -> Tensor:
    """The best scale of each row for what is scaled, `shape`: (rows, 1). A row keeps its own where that is none."""
    seen = shape @ hessian
    found = (seen * weight).sum(1, keepdim=True) / (seen * shape).sum(1, keepdim=True)
    return torch.where(found.isfinite() & (found > 0), found, scale)


def recode(weight: Tensor, hessian: Tensor, scale: Tensor, codes: Tensor, codebook: Tensor, beam: int = BEAM) -> Tensor:
    """New codes, chosen sub-vector after sub-vector: each the nearest, as H sees it, to what is best given all the
    others as they now are."""
    width, columns = codebook.shape[2], weight.shape[1]
    codes, stored = codes.clone(), decode(codes, codebook).flatten(1) * scale
    pull = (weight - stored) @ hessian
    for start in range(0, columns, COLUMNS - COLUMNS % width):
        part = slice(start, min(start + COLUMNS - COLUMNS % width, columns))
        near, own = hessian[part, part], pull[:, part].clone()
        changed = torch.empty_like(own)
        for at in range(0, own.shape[1], width):
            here, there = slice(at, at + width), slice(start + at, start + at + width)
            root = torch.linalg.cholesky(near[here, here])
            wanted = stored[:, there] + torch.cholesky_solve(own[:, here].T, root).T
            codes[:, there.start // width] = found = nearest(_unscaled(wanted, scale) @ root, codebook @ root, beam)
            new = decode(found, codebook) * scale
            changed[:, here] = new - stored[:, there]
            stored[:, there] = new
            own -= changed[:, here] @ near[here]
        pull -= changed @ hessian[part]
    return codes


def _unscaled(values: Tensor, scale: Tensor) -> Tensor:
    """values: (rows, columns) over their rows' scales; a row of zeros has none, and its codes count nothing."""
    return values / torch.where(scale > 0, scale, 1.0)


def fit(
    weight: Tensor, moments: Tensor, width: int, books: int, code_bits: int, iterations: int, damping: float
) -> VectorWeight:
    """weight: (rows, columns). moments: (columns, columns), the sum of x xᵀ. damping: of its mean diagonal, added to
    its diagonal. iterations: how often entries and codes are chosen anew. Draws from torch's random state."""
    columns = weight.shape[1]
    weight = F.pad(weight.float(), (0, -columns % width))
    hessian = F.pad(moments.float(), (0, -columns % width, 0, -columns % width))
    mean = hessian.diagonal().mean()
    hessian = hessian / mean if mean > 0 else torch.zeros_like(hessian)
    hessian.diagonal().add_(damping if mean > 0 else 1.0)
    scale = weight.square().mean(1, keepdim=True).sqrt()
    vectors = _unscaled(weight, scale).unflatten(1, (-1, width))
    diagonal = hessian.diagonal().unflatten(0, (-1, width))
    importance = (diagonal * scale.square().unsqueeze(2)).flatten(0, 1)
    picked = torch.randperm(len(importance))[:SAMPLE]
    left, importance = vectors.flatten(0, 1)[picked], importance[picked]
    tables: list[Tensor] = []
    for _ in range(books):
        tables.append(kmeans(left, importance, 2**code_bits))
        left = left - tables[-1][_weighed(torch.cat([importance * left, importance], 1), tables[-1])]
    codebook = torch.stack(tables)
    codes = torch.stack(
        [nearest(v * h.sqrt(), codebook * h.sqrt()) for v, h in zip(vectors.unbind(1), diagonal, strict=True)], 1
    )
    for _ in range(iterations):
        codebook = least_squares(weight, hessian, scale, codes, codebook)
        scale = scales(weight, hessian, decode(codes, codebook).flatten(1), scale)
        codes = recode(weight, hessian, scale, codes, codebook)
    codebook = least_squares(weight, hessian, scale, codes, codebook)
    scale = scales(weight, hessian, decode(codes, codebook).flatten(1), scale)
    return VectorWeight.from_vectors(codes, codebook, scale, columns)
