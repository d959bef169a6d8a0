"""Language modelling: how surprised a model is by each document, and what it would have said at each position.

Perplexity is exp of the mean negative log-likelihood a token, over all documents together; a longer context
lowers it, so the context stands beside it in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import verdicts
from benchmarks.quality.beside import Beside, Bounds, agreement, joined, repetition
from benchmarks.quality.scoring import Answers, Quality, Scored
from benchmarks.quality.unlike import unlike
from benchmarks.verdicts.judged import measure_of
from compressors.interface import NOT_SCORED, Examples, Unsupported
from results.store.record import Measure


@dataclass(frozen=True)
class LanguageModelling(Quality):
    """Outputs are logits, (documents, tokens, vocabulary); labels are the token that follows each position,
    (documents, tokens), NOT_SCORED where there is none to predict.

    lengths: of a model whose tokens are not the dense model's, for each document the bytes of it that the dense
    model's scored tokens hold, and those that its own do. It is judged by the surprise a byte, told at the dense
    model's tokens, so that a bound means for it what it means for all.
    """

    lengths: tuple[tuple[int, int], ...] = ()

    bound: ClassVar[str] = "perplexity_rise"
    more_bounds: ClassVar[frozenset[str]] = frozenset({"agreement"})

    def veiled(self, test: Examples, training: Examples) -> Examples:
        """As they are: the next tokens are in the inputs."""
        return test

    def keep(self, outputs: np.ndarray, batch: Examples) -> dict[str, np.ndarray]:
        assert batch.labels is not None
        logits, labels = torch.from_numpy(outputs), batch.labels
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NOT_SCORED, reduction="none")
        scored = labels != NOT_SCORED
        return {
            # In float64: the sum of a hundred float32 losses is not exact to the digits that are compared.
            "nll": losses.view_as(labels).double().sum(1).numpy(),
            "tokens": scored.sum(1).numpy(),
            "likeliest": logits.argmax(-1).masked_fill(~scored, NOT_SCORED).int().numpy(),
        }

    def judge(self, dense: Answers, compressed: Answers, test: Examples, bound: float | None) -> Scored:
        if self.lengths:
            return self._by_bytes(dense, compressed, bound)
        judged = verdicts.perplexity_rise(dense["nll"], compressed["nll"], compressed["tokens"], bound)
        rise = measure_of(judged, bound)
        scored = dense["likeliest"] != NOT_SCORED
        agreement = float((dense["likeliest"] == compressed["likeliest"])[scored].mean())
        return Scored(
            rise.verdict,
            f"{judged.reason}; the likeliest token is the dense model's at {100 * agreement:.1f} % of positions",
            {"perplexity": Measure(value=judged.compressed_perplexity), "perplexity_rise": rise},
            {
                "examples": judged.documents,
                "context": int(scored.shape[1]),
                "nll": compressed["nll"].tolist(),
                "dense_nll": dense["nll"].tolist(),
                "tokens": compressed["tokens"].tolist(),
                "dense_perplexity": judged.dense_perplexity,
                "likeliest_agreement": agreement,
                "minimum_detectable_rise": judged.minimum_detectable,
                "method": judged.method,
            },
        )

    @property
    def judges(self) -> bool:
        return bool(self.lengths)

    def _by_bytes(self, dense: Answers, compressed: Answers, bound: float | None) -> Scored:
        ours, own = np.asarray(self.lengths, dtype=np.float64).T
        # As if its tokens held those bytes that the dense model's do: of a text all but its first token.
        nll = compressed["nll"] * ours / own
        judged = verdicts.perplexity_rise(dense["nll"], nll, dense["tokens"], bound)
        rise = measure_of(judged, bound)
        before, after = (float(one.sum() / np.log(2) / ours.sum()) for one in (dense["nll"], nll))
        return Scored(
            rise.verdict,
            f"{after:.4g} bits a byte for the dense model's {before:.4g}, each by its own tokens; at the dense "
            f"model's: {judged.reason}",
            {"bits_per_byte": Measure(value=after), "perplexity_rise": rise},
            {
                "examples": judged.documents,
                "nll": compressed["nll"].tolist(),
                "dense_nll": dense["nll"].tolist(),
                "tokens": compressed["tokens"].tolist(),
                "dense_tokens": dense["tokens"].tolist(),
                "bytes": own.astype(int).tolist(),
                "dense_bytes": ours.astype(int).tolist(),
                "dense_bits_per_byte": before,
                "dense_perplexity": judged.dense_perplexity,
                "minimum_detectable_rise": judged.minimum_detectable,
                "method": judged.method,
            },
        )

    def nothing_to_lose(self, dense: Answers, test: Examples, labels: Sequence[str]) -> str | None:
        """Against the frequencies of the very tokens that are to be predicted: no constant answer is better."""
        assert test.labels is not None
        wanted = test.labels.numpy()
        scored = wanted != NOT_SCORED
        _, place, counts = np.unique(wanted[scored], return_inverse=True, return_counts=True)
        each = np.zeros(wanted.shape)
        # Miller & Madow's correction: frequencies of few tokens promise more than they keep on others.
        each[scored] = np.log(counts.sum() / counts)[place] + (len(counts) - 1) / (2 * counts.sum())
        constant = each.sum(axis=1)
        if verdicts.surely_better(-dense["nll"], -constant):
            return None
        tokens = dense["tokens"].sum()
        return (
            f"the dense model's perplexity is {np.exp(dense['nll'].sum() / tokens):,.4g}, not surely below the "
            f"{np.exp(constant.sum() / tokens):,.4g} of the tokens' frequencies alone"
        )

    def unlike(self, dense: Answers, compressed: Answers, labels: Sequence[str]) -> str | None:
        if self.lengths:
            return None
        scored = (dense["likeliest"] != NOT_SCORED) & (compressed["likeliest"] != NOT_SCORED)
        return unlike(dense["likeliest"][scored], compressed["likeliest"][scored], labels)

    def beside(
        self, dense: Answers, compressed: Answers, test: Examples, bounds: Bounds, labels: Sequence[str]
    ) -> Beside:
        if self.lengths:
            if "agreement" in bounds:
                raise Unsupported("agreement by token is asked for, and its tokens are not the dense model's")
            return Beside()
        scored, ids = dense["likeliest"] != NOT_SCORED, test.inputs["input_ids"].numpy()
        before, after = (repetition(ids, answers["likeliest"], scored) for answers in (dense, compressed))
        more = Beside({"repetition": Measure(value=after)}, {"dense_repetition": before})
        return joined([agreement(dense["likeliest"][scored], compressed["likeliest"][scored], bounds), more])

    def unsteadiness(self, usual: Answers, other: Answers) -> tuple[dict[str, Any], str]:
        scored = usual["likeliest"] != NOT_SCORED
        changed = int((usual["likeliest"] != other["likeliest"])[scored].sum())
        total = int(scored.sum())
        moved = float(np.abs(usual["nll"] - other["nll"]).sum() / usual["tokens"].sum())
        found = {"examples": len(usual["nll"]), "positions": total, "flips": changed, "nll_per_token": moved}
        return found, f"the likeliest token differs at {changed} of {total} positions"

    def too_few(self, examples: int) -> str | None:
        return verdicts.resolves_perplexity(examples)

    def resolves(self, examples: int, bound: float) -> str | None:
        return self.too_few(examples)

    def hub_task(self, inputs: tuple[str, ...]) -> str | None:
        return "text-generation"


def next_tokens(input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> torch.Tensor:
    """The token after each position, NOT_SCORED after the last of a text: (texts, tokens) int64."""
    labels = torch.full_like(input_ids, NOT_SCORED)
    labels[:, :-1] = input_ids[:, 1:].masked_fill(attention_mask[:, 1:] == 0, NOT_SCORED)
    return labels
