"""Did perplexity rise by more than the bound? Paired non-inferiority by document.

Tokens of one document are not independent, so documents are resampled whole. Nothing here notices documents
that are not independent of one another (chapters of one book, say): the caller owes that.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.verdicts.judgement import Judgement, Verdict, check_fraction, finite_list, points
from benchmarks.verdicts.whole_examples import ratio_bounds

FEWEST_DOCUMENTS = 50  # below, a bootstrap has too few to show the tail it must bound


@dataclass(frozen=True)
class PerplexityJudgement(Judgement):
    """Rise of perplexity, compressed / dense - 1, as a fraction (0.01 is 1 % more); negative is a gain."""

    documents: int
    tokens: int
    dense_perplexity: float
    compressed_perplexity: float
    minimum_detectable: float  # the rise told from none in four of five cases
    method: str  # "BCa bootstrap" or "constant", where every token costs the same more
    confidence: float  # of [low, high], half of the rest on each side


def perplexity_rise(
    dense_nll: ArrayLike,
    compressed_nll: ArrayLike,
    tokens: ArrayLike,
    bound: float | None,
    *,
    alpha: float = 0.05,
    seed: int = 0,
) -> PerplexityJudgement:
    """Paired non-inferiority: did perplexity rise by less than `bound` (0.02 allows 2 % more)?

    All three are one number a document, shape (documents,), in the same order: the negative
    log-likelihood summed over its scored tokens, in nats, of dense and of compressed, and how many
    tokens were scored. R = sum(l_comp - l_dense) / sum(tokens) estimates ln(perplexity ratio); pass if
    its one-sided 1 - alpha upper bound is below ln(1 + bound), fail if the lower bound is above, else
    inconclusive. Reported as rises, exp(R) - 1: pass is high < bound, fail is low > bound.

    Bounds: `whole_examples.ratio_bounds`, the BCa bootstrap of that ratio over documents. Assumes independent
    documents, and that the tail which matters is among them: with log-normal effects false passes are 12 % with
    50 documents, 8 % with 200, 6 % with 500 (docs/statistics.md); a smaller `alpha` buys them back.
    `seed` fixes the resampling. ValueError on fewer than 50 documents, mismatched lengths, values that
    are not finite, tokens that are not whole numbers of at least 1, a bound that is not a positive
    number, alpha outside (0, 0.5). With bound None the rise is measured and not judged.
    """
    check_fraction("alpha", alpha, 0.5)
    if bound is not None and not 0 < bound < math.inf:
        raise ValueError(f"bound must be a positive rise of perplexity, got {bound}")
    dense = finite_list("dense negative log-likelihoods", dense_nll)
    compressed = finite_list("compressed negative log-likelihoods", compressed_nll)
    counts = finite_list("token counts", tokens)
    if not dense.size == compressed.size == counts.size:
        sizes = f"{dense.size} dense, {compressed.size} compressed, {counts.size} token counts"
        raise ValueError(f"numbers of documents differ: {sizes}")
    if (counts < 1).any() or (counts % 1).any():
        raise ValueError("token counts must be whole numbers of at least 1")
    if (too_few := resolves_perplexity(dense.size)) is not None:
        raise ValueError(too_few)
    n, total = dense.size, counts.sum()
    found = ratio_bounds(compressed - dense, counts, max(np.abs(dense).max(), np.abs(compressed).max()), alpha, seed)
    value, low, high = math.expm1(found.value), math.expm1(found.low), math.expm1(found.high)
    detectable = math.expm1(found.detectable(alpha))
    verdict = None
    if bound is not None:
        verdict = Verdict.PASS if high < bound else Verdict.FAIL if low > bound else Verdict.INCONCLUSIVE
    before, after = math.exp(dense.sum() / total), math.exp(compressed.sum() / total)
    reason = (
        f"perplexity rise {points(value)} % [{points(low)}, {points(high)}]"
        + (f", bound {points(bound)} %" if bound is not None else "")
        + f"; {before:.5g} to {after:.5g} over {n} documents, {int(total)} tokens; detectable {points(detectable)} %"
    )
    return PerplexityJudgement(
        value, low, high, bound, verdict, reason, n, int(total), before, after, detectable, found.method, 1 - 2 * alpha,
    )  # fmt: skip


def resolves_perplexity(documents: int) -> str | None:
    """None if so many documents can carry a perplexity verdict, else why not, in one line.

    ValueError on a negative number.
    """
    if documents < 0:
        raise ValueError(f"documents must not be negative, got {documents}")
    if documents >= FEWEST_DOCUMENTS:
        return None
    return f"{documents} documents cannot carry a verdict on perplexity: needs {FEWEST_DOCUMENTS}"
