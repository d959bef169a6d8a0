"""Texts as a model takes them: its tokenizer, how long they are, and whether the two belong together."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError
from benchmarks.zoo.own.table import DataError, Table, missing, more
from compressors.interface import InputSpec

TYPES = "token_type_ids"
SHARE = 0.95
"""Of the texts that fit into the length that is found."""
STEP = 16
UNKNOWN = 0.5
"""Share of unknown pieces from which a tokenizer is not the one for these texts."""
VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "source.spm",
)  # fmt: skip


def tokenizer_of(folder: Path, said: str) -> Any:
    """The tokenizer in a model's folder, with something to pad with. Raises ModelError."""
    import transformers

    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"{said}: no tokenizer ({', '.join(VOCABULARIES[:2])}, …); save it into the same folder")
    try:
        found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many kinds, down to those of Rust
        raise ModelError(f"{said}: its tokenizer cannot be read: {' '.join(str(error).split())[:200]}") from None
    if found.pad_token is None:
        found.pad_token = found.eos_token or found.unk_token
    if found.pad_token is None:
        raise ModelError(f"{said}: its tokenizer has neither a padding nor an end token")
    return found


@dataclass(frozen=True)
class Length:
    """How long inputs are. tokens: of each. notes: what a person should know of it."""

    tokens: int
    notes: tuple[str, ...]


def clean(table: Table, column: str, index: int) -> str:
    """The text of a row. Raises DataError where there is none."""
    value = table.rows[index].get(column)
    if missing(value):
        empty = sum(missing(row.get(column)) for row in table.rows)
        raise DataError(f"{table.at(index)}: empty text in column {column!r}{more(empty - 1)}")
    if not isinstance(value, str):
        raise DataError(f"{table.at(index)}: column {column!r} holds {type(value).__name__}, no text")
    return value


def length(
    ids: Sequence[Sequence[int]], places: Sequence[str], model: Checkpoint, tokenizer: Any, *, wanted: int | None,
    most: int, refuse: bool = False, cut: bool = True, least: int = STEP,
) -> Length:  # fmt: skip
    """How many tokens an input has: `wanted`, or as many as SHARE of the texts have, to the next multiple of STEP.

    ids: token ids of each text, not cut. places: where each text is, for messages. most: unless `wanted`. cut:
    whether to note what does not fit. Raises ModelError or DataError where tokenizer and model do not fit each
    other, the model has no such positions, or a text is too long and is to be refused."""
    check_vocabulary(ids, places, model, tokenizer)
    longest = model.longest
    if wanted is not None and longest is not None and wanted > longest:
        raise ModelError(f"tokens = {wanted}: {model.said} has positions for {longest}")
    counts = sorted(len(text) for text in ids)
    usual = counts[min(len(counts) - 1, math.ceil(SHARE * len(counts)) - 1)]
    allowed = min(most, longest or most, tokenizer.model_max_length or most)  # that of a tokenizer may be 10^30: none
    found = wanted or min(max(least, STEP * math.ceil(usual / STEP)), allowed)
    over = [i for i, text in enumerate(ids) if len(text) > found]
    if over and refuse:
        raise DataError(
            f"{places[over[0]]}: {len(ids[over[0]])} tokens, at most {found} are taken{more(len(over) - 1)}; "
            'shorten it, or say too_long = "cut"'
        )
    notes = []
    if over and cut:
        first = f"first {places[over[0]]} ({len(ids[over[0]]):,} tokens)"
        notes.append(f"{len(over):,} of {len(ids):,} texts are longer than {found} tokens and are cut, {first}")
    return Length(found, (*notes, *_named(ids, places, tokenizer)))


def _named(ids: Sequence[Sequence[int]], places: Sequence[str], tokenizer: Any) -> list[str]:
    """A note where texts hold the name of a special token, such as `</s>`: tokenizers read it as that token."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    counts = [Counter(piece for piece in text if piece in special) for text in ids]
    usual = min(counts, key=Counter.total)  # of those that stand around every text
    found = [index for index, count in enumerate(counts) if count.total() > usual.total()]
    if not found:
        return []
    name = tokenizer.convert_ids_to_tokens(next(iter(counts[found[0]] - usual)))
    return [
        f"{len(found):,} of {len(ids):,} texts hold the name of a special token, which is read as that token, as "
        f"transformers reads it; first {places[found[0]]} ({name})"
    ]


def check_vocabulary(ids: Sequence[Sequence[int]], places: Sequence[str], model: Checkpoint, tokenizer: Any) -> None:
    """Raises ModelError where the tokenizer is not the model's, as far as that shows."""
    size = int(model.config.get("vocab_size") or _default_vocabulary(model))
    unknown = total = 0
    for place, text in zip(places, ids, strict=True):
        if text and max(text) >= size:
            token = tokenizer.convert_ids_to_tokens(max(text))
            raise ModelError(
                f"{model.said}: the tokenizer does not match: it makes token {max(text)} ({token!r}), the model has "
                f"{size}; first at {place}"
            )
        total += len(text)
        unknown += sum(piece == tokenizer.unk_token_id for piece in text) if tokenizer.unk_token_id is not None else 0
    if total and unknown > UNKNOWN * total and tokenizer.unk_token_id != tokenizer.eos_token_id:
        raise ModelError(
            f"{model.said}: the tokenizer does not match these texts: it does not know {100 * unknown / total:.0f} % "
            "of their pieces"
        )


def _default_vocabulary(model: Checkpoint) -> int:
    import transformers

    return int(transformers.AutoConfig.for_model(model.config["model_type"]).vocab_size)


def token_ids(tokenizer: Any, *texts: Sequence[Any], **how: Any) -> list[list[int]]:
    """Ids of each text, pair of texts or list of words, with special tokens, not cut."""
    found = tokenizer(*(list(t) for t in texts), truncation=False, padding=False, verbose=False, **how)
    return list(found["input_ids"])


def suspects(model: Checkpoint) -> tuple[str, ...]:
    """What in a folder makes batches of padded texts come out otherwise than texts by themselves, most often."""
    own, tokenizer = model.config.get("pad_token_id"), tokenizer_of(model.folder, model.said)
    if own is not None and own != tokenizer.pad_token_id:
        return (f"config.json has pad_token_id {own}, the tokenizer pads with {tokenizer.pad_token_id}",)
    return ()


def text_inputs(model: Checkpoint, tokenizer: Any, *, pairs: bool = False) -> Mapping[str, InputSpec]:
    """The inputs that are fed. Types of tokens only where they tell two texts apart: they are zero otherwise. Raises
    ModelError where the model cannot be told what is padding."""
    import transformers

    names = ["input_ids", "attention_mask"]
    taken = inspect.signature(getattr(transformers, model.architecture).forward).parameters
    if "attention_mask" not in taken:
        raise ModelError(
            f"{model.said}: {model.architecture} takes no attention mask, and cannot be told what is padding in a "
            "batch of texts of several lengths: it is not taken yet"
        )
    if pairs and TYPES in taken and any(tokenizer("a", "b", return_token_type_ids=True)[TYPES]):
        names.append(TYPES)
    return {name: InputSpec("int64", ("batch", "sequence")) for name in names}


def padded(tokenizer: Any, tokens: int, names: Sequence[str], *texts: Sequence[str], **how: Any) -> dict[str, Any]:
    """Inputs of (examples, tokens), each cut or padded on the right, so that no prediction depends on its
    neighbours in the batch."""
    encoded = tokenizer(
        *(list(t) for t in texts), truncation=True, max_length=tokens, padding="max_length", padding_side="right",
        return_tensors="pt", return_token_type_ids=TYPES in names, **how,
    )  # fmt: skip
    return {name: encoded[name].to(torch.int64) for name in names}
