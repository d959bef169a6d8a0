"""What a model's generation settings forbid, force or make less likely at each step of writing.

By transformers' own processors of logits, so that a greedy loop over forward passes says what `generate` would say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import LogitsProcessorList

NEUTRAL: Mapping[str, Any] = {
    "encoder_repetition_penalty": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "min_length": 0,
    "min_new_tokens": 0,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
"""Rules by their names in `generation_config.json`, and the value besides None with which each does nothing."""
NOT_FOLLOWED: Mapping[str, Any] = {
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": 1.0,
    "penalty_alpha": 0.0,
    "dola_layers": None,
    "constraints": None,
    "force_words_ids": None,
    "watermarking_config": None,
}
"""Settings that change what is said greedily, too, and that nobody follows here."""

Rules = tuple[tuple[str, Any], ...]
"""(name, value), lists as tuples."""


def processors(rules: Rules, ends: Sequence[int], new_tokens: int, encoded: np.ndarray) -> LogitsProcessorList:
    """In the order of transformers' `generate`. ends: the tokens that end a text. new_tokens: the longest text, after
    the one token that starts it. encoded: (examples, tokens), what the encoder reads."""
    import torch
    import transformers as t

    said, end = dict(rules), torch.tensor(list(ends))
    source: Any = torch.from_numpy(np.ascontiguousarray(encoded)).long()
    first = said.get("forced_bos_token_id")
    made = t.LogitsProcessorList()
    if (penalty := said.get("encoder_repetition_penalty")) is not None:
        made.append(t.EncoderRepetitionPenaltyLogitsProcessor(float(penalty), source))
    if (penalty := said.get("repetition_penalty")) is not None:
        made.append(t.RepetitionPenaltyLogitsProcessor(float(penalty)))
    if (size := said.get("no_repeat_ngram_size")) is not None:
        made.append(t.NoRepeatNGramLogitsProcessor(int(size)))
    if (size := said.get("encoder_no_repeat_ngram_size")) is not None:
        made.append(t.EncoderNoRepeatNGramLogitsProcessor(int(size), source))
    if (words := said.get("bad_words_ids")) is not None:
        made.append(t.NoBadWordsLogitsProcessor([list(word) for word in words], end))
    if (least := said.get("min_length")) is not None:
        made.append(t.MinLengthLogitsProcessor(int(least), end))
    if (least := said.get("min_new_tokens")) is not None:
        made.append(t.MinNewTokensLengthLogitsProcessor(1, int(least), end))
    if first is not None:
        made.append(t.ForcedBOSTokenLogitsProcessor(int(first)))
    if (last := said.get("forced_eos_token_id")) is not None:
        made.append(t.ForcedEOSTokenLogitsProcessor(new_tokens + 1, list(last) if isinstance(last, tuple) else last))
    if (tokens := said.get("suppress_tokens")) is not None:
        made.append(t.SuppressTokensLogitsProcessor(list(tokens)))
    if (tokens := said.get("begin_suppress_tokens")) is not None:
        made.append(t.SuppressTokensAtBeginLogitsProcessor(list(tokens), 1 if first is None else 2))
    return made


def rules_of(said: Mapping[str, Any]) -> Rules:
    """Those of a model's settings that do something. Raises ValueError, naming it, for one that is not followed here or
    has no such form."""
    for name, neutral in NOT_FOLLOWED.items():
        if said.get(name) not in (None, neutral):
            raise ValueError(f"{name} = {said[name]!r}, which is not followed here")
    return tuple(
        (name, _plain(name, said[name])) for name, none in NEUTRAL.items() if said.get(name) not in (None, none)
    )


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_plain(name, one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} holds {value!r}: a number, or a list of numbers, would be right")
    return value
