"""What sentence-transformers writes beside an embedding model: its modules, its pooling, its prompts, its lengths.

Each is followed, or the model refused by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.zoo.own import texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError

MODULES = "modules.json"
SAID = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
QUERIES, DOCUMENTS = ("query",), ("document", "passage", "corpus")
"""Prompts that sentence-transformers puts before queries and documents without being asked."""


def followed(model: Checkpoint) -> None:
    """Raises ModelError where the folder says something of its use that is not followed here."""
    said = _read(model.folder / SAID)
    similarity = said.get("similarity_fn_name")
    if similarity not in (None, "cosine"):
        raise ModelError(
            f"{model.said}: config_sentence_transformers.json compares by {similarity!r}, which is not taken yet: "
            "cosine alone is"
        )
    prompts = said.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise ModelError(f"{model.said}: {SAID}: prompts is {prompts!r}: an object, name to text, would be right")
    usual = str(said.get("default_prompt_name"))
    if prompts.get(usual):
        raise ModelError(
            f"{model.said}: config_sentence_transformers.json puts the prompt {prompts[usual]!r} before each text, "
            "which is not taken yet"
        )
    if name := next((name for name in (*QUERIES, *DOCUMENTS) if prompts.get(name)), None):
        raise ModelError(
            f"{model.said}: config_sentence_transformers.json puts the prompt {prompts[name]!r} before each "
            f"{'query' if name in QUERIES else 'document'}, which is not taken yet"
        )
    if _read(model.folder / TRANSFORMER).get("do_lower_case") and _tells_capitals(model):
        raise ModelError(
            f"{model.said}: sentence_bert_config.json puts texts into small letters, which its tokenizer does "
            "not, and that is not taken yet"
        )
    pooling(model.folder)


def longest(folder: Path) -> int | None:
    """The most tokens that a text is cut to; None where the folder does not say. Raises ModelError."""
    found = _read(folder / TRANSFORMER).get("max_seq_length")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        raise ModelError(f"{folder.name}/{TRANSFORMER}: max_seq_length is {found!r}: a number of tokens would be right")
    return found


def pooling(folder: Path) -> tuple[str, str]:
    """How the hidden states of a text become one: "mean" or "cls", by what sentence-transformers writes beside the
    model; and in words. Raises ModelError where it is another way, or other modules come in between."""
    place = _pooled_in(folder)
    said = _read(folder / place / "config.json")
    modes = {key.removeprefix("pooling_mode_") for key, on in said.items() if key.startswith("pooling_mode_") and on}
    modes |= {said["pooling_mode"]} if isinstance(said.get("pooling_mode"), str) else set()
    if not modes:
        return "mean", "pooled by their mean (the folder does not say how)"
    if modes <= {"cls", "cls_token"}:
        return "cls", "pooled by the first token, as the folder says"
    if modes <= {"mean", "mean_tokens"}:
        return "mean", "pooled by their mean, as the folder says"
    raise ModelError(f"{folder.name}/{place}: pools by {', '.join(sorted(modes))}: mean and cls alone are taken")


def _pooled_in(folder: Path) -> str:
    """The folder that says how it is pooled, by modules.json where there is one. Raises ModelError where that has more
    than the model, its pooling, and a scaling to length 1, which a cosine does not see."""
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        found = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in modules]
    except FileNotFoundError:
        return "1_Pooling"
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{folder.name}/{MODULES}: not readable as a list of modules") from None
    kinds = [kind for kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ModelError(
            f"{folder.name}/{MODULES}: the model is {', '.join(kinds) or 'nothing'}: Transformer, Pooling and "
            "Normalize alone are taken"
        )
    transformer, pooled = found[0][1], found[1][1]
    if transformer not in ("", ".") or Path(pooled).name != pooled:
        raise ModelError(f"{folder.name}/{MODULES}: its modules are in {transformer!r} and {pooled!r}: other folders")
    return pooled


def _tells_capitals(model: Checkpoint) -> bool:
    tokenizer = texts.tokenizer_of(model.folder, model.said)
    small, large = texts.token_ids(tokenizer, ["a word", "A WORD"])
    return small != large


def _read(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.parent.name}/{path.name}: not readable as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path.parent.name}/{path.name}: must be a JSON object")
    return found
