"""How close a text is to the reference, as a fraction of 1, by the libraries that published numbers are made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Metric = Literal["chrf", "rougeL"]


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
