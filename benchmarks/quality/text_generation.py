"""Text generation: what an encoder-decoder model says to each source text, by its likeness to a reference.

References are the test set's labels, decoded like the model's own tokens. What the tokenizer cannot spell, and what
was cut from a reference when it was encoded, is missing from both: the difference between two models stands, but
a score need not be one published for the same texts. The record says how many references have such a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement, joined, repeated_pieces
from benchmarks.quality.flips import rescored
from benchmarks.quality.generation_rules import Rules
from benchmarks.quality.greedy import greedy
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.quality.text_scores import PACKAGES, Metric, corpus_chrf, sentence_scores
from benchmarks.verdicts.judged import measure_of
from compressors.interface import NOT_SCORED, Examples, PressbenchError
from compressors.runtimes.base import Forward
from results.store.record import Measure

CONSTANTS = 5
"""References that are tried as the answer to every text."""


@dataclass(frozen=True)
class TextGeneration(Quality):
    """Inputs are `input_ids`, `attention_mask` and `decoder_input_ids`, whose first column starts each text; outputs
    are logits, (examples, decoder positions, vocabulary); labels are the reference's tokens, (examples, tokens),
    NOT_SCORED after its end.

    metric: how a text is scored. new_tokens: the longest text. end_tokens: any of them ends one. tokenizer: the folder
    of a tokenizer, as transformers' AutoTokenizer reads it; `judge` alone uses it. rules: what the model's generation
    settings forbid and force, such as a Marian model's padding.
    """

    bound: ClassVar[str] = "score_drop"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement"})

    metric: Metric
    new_tokens: int
    end_tokens: tuple[int, ...]
    tokenizer: str
    rules: Rules = ()

    @property
    def requires(self) -> Mapping[str, str]:
        package = PACKAGES[self.metric]
        return {package.module: package.pip}

    def veiled(self, test: Examples, training: Examples) -> Examples:
        """Without the references, which the decoder would be given too: there stand those of training texts."""
        found = super().veiled(test, training)
        others = training.inputs["decoder_input_ids"]
        given = others[torch.arange(len(test)) % len(others)]
        return Examples({**found.inputs, "decoder_input_ids": given}, found.labels)

    def ask(self, forward: Forward, batch: Examples) -> dict[str, np.ndarray]:
        return {"tokens": greedy(forward, batch, self.new_tokens, self.end_tokens, self.rules)}

    def keep(self, outputs: dict[str, np.ndarray], batch: Examples) -> dict[str, np.ndarray]:
        return outputs

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        told = self._told(dense, compressed, test)
        title = PACKAGES[self.metric].title
        judged = verdicts.score_drop(told.before, told.after, bound, name=title)
        low, high = verdicts.score_interval(told.after)
        drop = measure_of(judged, bound)
        evidence: dict[str, Any] = {
            "metric": self.metric,
            "examples": judged.examples,
            self.metric: told.after.tolist(),
            f"dense_{self.metric}": told.before.tolist(),
            "characters": [len(text) for text in told.references],
            "references_with_unknown": told.unknown,
            "without_end": int(self._cut(compressed).sum()),
            "dense_without_end": int(self._cut(dense).sum()),
            "minimum_detectable_drop": judged.minimum_detectable,
            "method": judged.method,
        }
        reason = judged.reason
        if self.metric == "chrf":
            evidence["corpus_chrf"] = corpus_chrf(told.compressed, told.references)
            evidence["dense_corpus_chrf"] = corpus_chrf(told.dense, told.references)
            reason += f"; of all texts together {100 * evidence['corpus_chrf']:.2f}"
        return Scored(
            drop.verdict,
            reason,
            {"score": Measure(value=judged.compressed_score, low=low, high=high), "score_drop": drop},
            evidence,
        )

    def examples_told(
        self, dense: Answers, compressed: Answers, test: Examples, labels: Sequence[str], shown: Sequence[Any]
    ) -> dict[str, Any]:
        from benchmarks.quality.shown import fit  # the zoo's tasks name how they are scored, which leads here

        told = self._told(dense, compressed, test)

        def texts(row: int) -> dict[str, str]:
            if not shown[row]:  # the data must not be passed on, and what was made of it neither
                scores = {"dense": told.before[row], "compressed": told.after[row]}
                title, length = PACKAGES[self.metric].title, len(told.references[row])
                return {"label": f"{length} characters"} | {n: f"{title} {100 * s:.1f}" for n, s in scores.items()}
            given = {"label": told.references, "dense": told.dense, "compressed": told.compressed}
            return {name: fit({"text": each[row]})["text"] for name, each in given.items()}

        return {"flipped": rescored(told.before, told.after, texts, shown)}

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        """Against some of the references as the answer to every text, the most frequent ones first."""
        if len(dense["tokens"]) > 1 and verdicts.one_answer(dense["tokens"]):
            return f"the dense model writes one text for all {len(dense['tokens'])}"
        told = self._told(dense, dense, test)
        best, title = None, PACKAGES[self.metric].title
        for text, _ in Counter(told.references).most_common(CONSTANTS):
            scores = sentence_scores(self.metric, [text] * len(told.references), told.references)
            if best is None or scores.mean() > best.mean():
                best = scores
        if best is None or verdicts.surely_better(told.before, best):
            return None
        return (
            f"the dense model's {title} is {100 * told.before.mean():.1f}, not surely more than the "
            f"{100 * best.mean():.1f} of one text for all"
        )

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        texts = [[row[row != NOT_SCORED].tolist() for row in answers["tokens"]] for answers in (dense, compressed)]
        same = np.array([one == other for one, other in zip(*texts, strict=True)])
        lengths = [sum(map(len, found)) for found in texts]
        more = Beside(
            {
                "length_ratio": Measure(value=lengths[1] / max(1, lengths[0])),
                "repetition": Measure(value=repeated_pieces(texts[1])),
            },
            {"dense_repetition": repeated_pieces(texts[0])},
        )
        return joined([agreement(np.ones(len(same), dtype=bool), same, bounds), more])

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        examples = len(usual["tokens"])
        flips = int((usual["tokens"] != other["tokens"]).any(axis=1).sum())
        return {"examples": examples, "flips": flips}, f"{flips} of {examples} texts differ"

    def resolves(self, examples: int, bound: float) -> str | None:
        return verdicts.resolves_score(examples)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return PACKAGES[self.metric].task

    def _cut(self, answers: Answers) -> np.ndarray:
        """Which texts reached the largest length without an end, (examples,)."""
        ended: np.ndarray = np.isin(answers["tokens"], self.end_tokens)
        cut: np.ndarray = np.logical_not(ended.any(axis=1))
        return cut

    def _told(self, dense: Answers, compressed: Answers, test: Examples) -> _Told:
        assert test.labels is not None
        tokenizer, wanted = self._tokenizer(), test.labels.numpy()
        texts = [
            tokenizer.batch_decode([row[row != NOT_SCORED].tolist() for row in tokens], skip_special_tokens=True)
            for tokens in (wanted, dense["tokens"], compressed["tokens"])
        ]
        references, before, after = ([text.strip() for text in each] for each in texts)
        return _Told(
            references,
            before,
            after,
            sentence_scores(self.metric, before, references),
            sentence_scores(self.metric, after, references),
            0 if tokenizer.unk_token_id is None else int((wanted == tokenizer.unk_token_id).any(axis=1).sum()),
        )

    def _tokenizer(self) -> Any:
        import transformers  # takes seconds, which a listing need not wait for

        if not Path(self.tokenizer).is_dir():  # what is no folder would be taken for a name on the hub
            raise PressbenchError(f"{self.tokenizer}: no such folder: the texts' tokenizer should be there")
        try:
            return transformers.AutoTokenizer.from_pretrained(self.tokenizer, local_files_only=True)
        except (OSError, ValueError, ImportError) as error:
            why = " ".join(str(error).split())[:300]
            raise PressbenchError(f"{self.tokenizer}: no tokenizer can be read there: {why}") from None


@dataclass(frozen=True)
class _Told:
    """Texts of the references and of both models, their scores, and how many references have an unknown token."""

    references: list[str]
    dense: list[str]
    compressed: list[str]
    before: np.ndarray
    after: np.ndarray
    unknown: int
