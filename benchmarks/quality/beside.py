"""What is told beside an average, each with a bound where targets state one: parts that the different ways to score
have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import verdicts
from benchmarks.verdicts import Judgement, Verdict
from benchmarks.verdicts.judged import measure_of
from results.store.record import Measure

Bounds = Mapping[str, float]
"""Name of a number -> what targets state of it."""


@dataclass(frozen=True)
class Beside:
    """More of an accuracy record. reasons: of those that have a bound, a few words each."""

    measures: Mapping[str, Measure] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def agreement(dense: np.ndarray, compressed: np.ndarray, bounds: Bounds) -> Beside:
    """The share of answers that are the dense model's, right or wrong. dense, compressed: (answers,), whatever they
    are.

    Against a bound by the ends of its exact interval, 95 %."""
    same, count = int((dense == compressed).sum()), len(dense)
    low, high = verdicts.proportion_interval(same, count)
    bound, value = bounds.get("agreement"), same / count
    verdict = None
    if bound is not None:
        verdict = Verdict.PASS if low > bound else Verdict.FAIL if high < bound else Verdict.INCONCLUSIVE
    limit = "" if bound is None else f", at least {100 * bound:.4g} %"
    reason = f"agrees with the dense model on {100 * value:.4g} % [{100 * low:.4g}, {100 * high:.4g}] of {count}{limit}"
    judged = Judgement(value, low, high, bound, verdict, reason)
    return Beside({"agreement": measure_of(judged, bound)}, {}, (reason,) if bound is not None else ())


def joined(parts: Sequence[Beside]) -> Beside:
    """Several as one."""
    return Beside(
        {name: measure for part in parts for name, measure in part.measures.items()},
        {name: value for part in parts for name, value in part.evidence.items()},
        tuple(reason for part in parts for reason in part.reasons),
    )


def repetition(ids: np.ndarray, said: np.ndarray, scored: np.ndarray) -> float:
    """Of the tokens that a language model finds likeliest, the share that stands in the text before them already
    (rep/l of Welleck et al. 2020, over the whole context). ids, said, scored: (documents, positions); said[:, i] is
    what follows ids[:, :i + 1]."""
    found = total = 0
    for text, answers, wanted in zip(ids, said, scored, strict=True):
        before: set[int] = set()
        for token, answer, counts in zip(text.tolist(), answers.tolist(), wanted.tolist(), strict=True):
            before.add(token)
            if counts:
                total += 1
                found += answer in before
    return found / max(1, total)


def repeated_pieces(texts: Sequence[Sequence[int]], size: int = 4) -> float:
    """Of all pieces of `size` tokens in these texts, the share that came before in the same text (seq-rep-4 of
    Welleck et al. 2020)."""
    pieces = repeated = 0
    for text in texts:
        found = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
        pieces += len(found)
        repeated += len(found) - len(set(found))
    return repeated / max(1, pieces)


def worst(verdict: str, measures: Mapping[str, Measure]) -> str:
    """The verdict of a record whose numbers have verdicts of their own: the worst of them; without any, its own."""
    order = [str(Verdict.FAIL), str(Verdict.INCONCLUSIVE), str(Verdict.PASS)]
    found = {verdict, *(measure.verdict for measure in measures.values() if measure.verdict)}
    return next((one for one in order if one in found), verdict)
