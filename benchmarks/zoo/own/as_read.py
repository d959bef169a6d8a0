"""What two tokenizers read of the same text: where one stops, and how many bytes the other's tokens hold of it.

The surprise at a text, as a whole, can be had by any tokens that hold all of it: over the bytes of the text it compares
models whose tokens do not compare (bits per byte, as in Gao et al. 2020, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.zoo.own.checkpoint import ModelError


def check_places(tokenizer: Any, said: str) -> None:
    """Raises ModelError for a tokenizer that does not tell where in a text a token stands."""
    if not tokenizer.is_fast:
        raise ModelError(f"{said}: its tokenizer does not tell where in a text a token stands; save a fast one")


def as_read(tokenizer: Any, texts: Sequence[str], tokens: int) -> list[str]:
    """Each text up to where a model stops that reads so many of its tokens."""
    return [text[: spans[-1][1]] for text, spans in zip(texts, _spans(tokenizer, texts, tokens), strict=True)]


def scored_bytes(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Bytes of each text that follow its first token, which is given and not scored: all of them where that is one that
    stands before every text."""
    return [
        len(text[spans[0][1] :].encode()) for text, spans in zip(texts, _spans(tokenizer, texts, None), strict=True)
    ]


def ends_a_text(tokenizer: Any) -> bool:
    """Whether it puts a token of its own behind a text."""
    return bool(tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"][-1])


def lost(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """The places of texts of which letters are lost or changed in its tokens, such as capitals or words that it does
    not know: what is not there need not be predicted."""
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    back = [tokenizer.decode(one, clean_up_tokenization_spaces=False) for one in ids]
    pairs = enumerate(zip(texts, back, strict=True))
    return [index for index, (text, found) in pairs if "".join(text.split()) != "".join(found.split())]


def _spans(tokenizer: Any, texts: Sequence[str], tokens: int | None) -> list[list[tuple[int, int]]]:
    """Where each token of each text begins and ends; one that stands for nothing of it is where it stands."""
    how = {"truncation": True, "max_length": tokens} if tokens else {}
    read = tokenizer(
        list(texts), return_offsets_mapping=True, return_special_tokens_mask=True, padding=False, verbose=False, **how
    )
    found = []
    for places, special in zip(read["offset_mapping"], read["special_tokens_mask"], strict=True):
        end, spans = 0, []
        for (start, stop), own in zip(places, special, strict=True):
            end = end if own else stop
            spans.append((end if own else start, end))
        found.append(spans)
    return found
