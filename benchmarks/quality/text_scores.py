"""How close a text is to the reference, as a fraction of 1, by the libraries that published numbers are made with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Metric = Literal["chrf", "rougeL"]
MOSTLY = 0.8
"""The share of letters that a metric must see of references to say anything of them."""


@dataclass(frozen=True)
class Package:
    """title: what people call the metric; module, pip: the package that has it; task: of model hubs."""

    title: str
    module: str
    pip: str
    task: str


PACKAGES: Mapping[Metric, Package] = {
    "chrf": Package("chrF", "sacrebleu", "sacrebleu", "translation"),
    "rougeL": Package("ROUGE-L", "rouge_score", "rouge-score", "summarization"),
}


def unseen(metric: Metric, references: Sequence[str]) -> str | None:
    """Why a metric cannot see these references, and what can; None where it sees most of them. ROUGE-L keeps a–z and
    digits, and nothing of any other script."""
    if metric != "rougeL":
        return None
    letters = [character for text in references for character in text.casefold() if character.isalpha()]
    kept = sum(character.isascii() for character in letters)
    empty = sum(not re.search("[a-z0-9]", text.casefold()) for text in references)
    if letters and kept >= MOSTLY * len(letters) and empty <= (1 - MOSTLY) * len(references):
        return None
    return (
        f"ROUGE-L keeps a–z and digits alone: {kept / max(1, len(letters)):.0%} of the letters of these references, "
        "and "
        f'nothing of {empty:,} of {len(references):,}; say metric = "chrf"'
    )


def sentence_scores(metric: Metric, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(examples,) in [0, 1]. chrF2 of characters up to six (Popović 2015) by sacrebleu; or the F-measure of ROUGE-L
    (Lin 2004) by rouge-score, without stemming: it knows a–z and digits only, so it is of use for English."""
    if metric == "chrf":
        from sacrebleu.metrics.chrf import CHRF

        chrf = CHRF()
        scores = [
            chrf.sentence_score(text, [wanted]).score / 100 for text, wanted in zip(texts, references, strict=True)
        ]
    else:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rougeL"], use_stemmer=False)
        scores = [scorer.score(wanted, text)["rougeL"].fmeasure for text, wanted in zip(texts, references, strict=True)]
    return np.clip(np.array(scores, dtype=np.float64), 0.0, 1.0)


def corpus_chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of all texts together, in [0, 1]: the number that papers report."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(texts), [list(references)]).score) / 100
