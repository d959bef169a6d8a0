"""Text by forward passes says what transformers' greedy `generate` says, whatever settings forbid and force."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parent))
from tiny_translators import (
    END,
    KINDS,
    LONGEST,
    NEW,
    PAD,
    ROWS,
    RULES,
    VOCABULARY,
    forward_of,
    generated,
    sources,
    translator,
)

from benchmarks.quality.generation_rules import rules_of
from benchmarks.quality.greedy import greedy
from compressors.interface import NOT_SCORED, Examples, PressbenchError


def test_a_forbidden_token_is_never_said() -> None:
    forward, examples = forward_of(translator("t5")), sources("t5")
    usual = greedy(forward, examples, NEW, [END])
    (often, _), *_ = Counter(usual[(usual != END) & (usual != NOT_SCORED)].tolist()).most_common(1)
    found = greedy(forward, examples, NEW, [END], rules_of({"bad_words_ids": [[often]]}))
    assert (found != often).all() and (found != usual).any()
    np.testing.assert_array_equal(found, generated("t5", examples, bad_words_ids=[[often]]))


def test_what_generation_forces_is_said() -> None:
    """The end in the last place of a text too long, and a first token."""
    examples, forward = sources("marian"), forward_of(translator("marian"))
    found = greedy(forward, examples, NEW, [END], (*RULES["marian"], ("forced_eos_token_id", END)))
    np.testing.assert_array_equal(found, generated("marian", examples, forced_eos_token_id=END))
    free = greedy(forward, examples, NEW, [END], RULES["marian"])
    cut = (free[:, -1] != NOT_SCORED) & (free[:, -1] != END)
    assert cut.any() and (found[cut, -1] == END).all()
    begun = greedy(forward, examples, NEW, [END], (*RULES["marian"], ("forced_bos_token_id", 5)))
    np.testing.assert_array_equal(begun, generated("marian", examples, forced_bos_token_id=5))
    assert (free[:, 0] != 5).any() and (begun[:, 0] == 5).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        {"repetition_penalty": 1.7},
        {"encoder_repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 2},
        {"min_length": 9},
        {"min_new_tokens": 7},
        {"suppress_tokens": [3, 5, 7, 9, 11, 13, 15, 17]},
        {"begin_suppress_tokens": [4, 6, 8, 10, 12]},
        {"forced_bos_token_id": 5, "begin_suppress_tokens": [4, 6, 8, 10, 12]},
        {"bad_words_ids": [[9, 9], [7, 7], [12], [5, 3]]},
        {"no_repeat_ngram_size": 1, "min_length": 11, "forced_eos_token_id": END},
    ],
    ids=str,
)
def test_what_the_settings_say_is_said_as_generate_says_it(kind: str, said: dict[str, Any]) -> None:
    examples, forward = sources(kind), forward_of(translator(kind))
    every = dict(RULES[kind]) | said
    if kind == "marian" and "bad_words_ids" in said:
        every["bad_words_ids"] = [*said["bad_words_ids"], [PAD[kind]]]
    found = greedy(forward, examples, NEW, [END], rules_of(_lists(every)))
    np.testing.assert_array_equal(found, generated(kind, examples, **_lists(every)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [None, 5])
def test_what_may_not_come_first_comes_after_what_is_forced(kind: str, first: int | None) -> None:
    """`begin_suppress_tokens` are for the first token that is free."""
    examples, forward = sources(kind), forward_of(translator(kind))
    said = dict(RULES[kind]) | ({} if first is None else {"forced_bos_token_id": first})
    free = greedy(forward, examples, NEW, [END], rules_of(_lists(said)))
    place = 0 if first is None else 1
    unwanted = sorted({int(token) for token in free[:, place]})
    found = greedy(forward, examples, NEW, [END], rules_of(_lists(said | {"begin_suppress_tokens": unwanted})))
    assert not np.isin(found[:, place], unwanted).any()
    np.testing.assert_array_equal(found, generated(kind, examples, **_lists(said), begin_suppress_tokens=unwanted))


def _lists(said: dict[str, Any]) -> dict[str, Any]:
    return {k: [list(one) if isinstance(one, tuple) else one for one in v] if isinstance(v, list | tuple) else v
            for k, v in said.items()}  # fmt: skip


def test_each_of_several_end_tokens_ends_a_text() -> None:
    examples, forward = sources("t5"), forward_of(translator("t5"))
    usual = greedy(forward, examples, NEW, [END])
    (often, _), *_ = Counter(usual[(usual != END) & (usual != NOT_SCORED)].tolist()).most_common(1)
    found = greedy(forward, examples, NEW, [END, often])
    ended = (found == often).any(axis=1)
    assert ended.any()
    for row in found[ended]:
        (place, *others) = np.flatnonzero(row == often)
        assert not others and (row[place + 1 :] == NOT_SCORED).all()


def test_settings_that_nobody_follows_are_named() -> None:
    with pytest.raises(ValueError, match=r"guidance_scale = 2.0, which is not followed here"):
        rules_of({"guidance_scale": 2.0})
    with pytest.raises(ValueError, match=r"forced_bos_token_id holds 'de': a number"):
        rules_of({"forced_bos_token_id": "de"})
    assert rules_of({"guidance_scale": 1.0, "min_length": 0, "no_repeat_ngram_size": None, "num_beams": 4}) == ()


def test_only_the_first_decoder_token_of_the_data_is_used() -> None:
    forward, examples = forward_of(translator("t5")), sources("t5")
    start = Examples({**examples.inputs, "decoder_input_ids": examples.inputs["decoder_input_ids"][:, :1]})
    assert examples.inputs["decoder_input_ids"].shape[1] == LONGEST
    np.testing.assert_array_equal(greedy(forward, examples, 5, [END]), greedy(forward, start, 5, [END]))


def test_logits_that_do_not_fit_are_told() -> None:
    with pytest.raises(PressbenchError, match=r"logits of shape \(9, 64\) for decoder inputs of shape \(9, 1\)"):
        greedy(lambda inputs: np.zeros((ROWS, VOCABULARY), np.float32), sources("t5"), NEW, [END])
