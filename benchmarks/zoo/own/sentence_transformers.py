"""What sentence-transformers writes beside an embedding model: its modules, its pooling, its prompts, its lengths.

Each is followed, or the model refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.retrieval import Similarity
from benchmarks.zoo.own import texts
from benchmarks.zoo.own.checkpoint import Checkpoint, ModelError

MODULES = "modules.json"
SAID = "config_sentence_transformers.json"
TRANSFORMER = "sentence_bert_config.json"
SIMILARITIES: Mapping[str, tuple[Similarity, str]] = {
    "cosine": ("cosine", "cosine"),
    "dot": ("dot", "dot product"),
    "euclidean": ("euclidean", "Euclidean distance"),
    "manhattan": ("manhattan", "Manhattan distance"),
}
"""Its names for them, and ours."""
OTHERS = ("passage", "corpus")
"""Names that some of its versions take for documents where there is no prompt `document`, and others do not."""


def followed(model: Checkpoint) -> None:
    """Raises ModelError where the folder says something of its use that is not followed here."""
    prompts(model.folder)
    if _read(model.folder / TRANSFORMER).get("do_lower_case") and _tells_capitals(model):
        raise ModelError(
            f"{model.said}: sentence_bert_config.json puts texts into small letters, which its tokenizer does "
            "not, and that is not taken yet"
        )
    pooling(model.folder)
    similarity(model.folder)


def prompts(folder: Path) -> tuple[str, str]:
    """What is put before a query and before a document, by its `encode_query` and `encode_document`; empty where
    nothing is. Raises ModelError where that depends on how, or by which of its versions, the model is called."""
    at = f"{folder.name}/{SAID}"
    said = _read(folder / SAID)
    named = {} if said.get("prompts") is None else said["prompts"]
    if not isinstance(named, dict) or not all(isinstance(text, str | None) for text in named.values()):
        raise ModelError(f"{at}: prompts is {named!r}: an object, name to text, would be right")
    query, document = named.get("query") or "", named.get("document") or ""
    usual = said.get("default_prompt_name")
    if usual is not None and usual not in named:
        there = ", ".join(map(repr, named)) or "no prompt"
        raise ModelError(f"{at}: default_prompt_name is {usual!r}: {there} is there")
    if (always := usual and named[usual]) and {query, document} != {always}:
        raise ModelError(
            f"{at}: the prompt {always!r} is put before each text by default, {query!r} before queries and "
            f"{document!r} before documents: what is meant depends on the call; name the same for both, or no default"
        )
    if "document" not in named and (other := next((named[name] for name in OTHERS if named.get(name)), None)):
        raise ModelError(
            f"{at}: the prompt {other!r} is put before documents by some versions of sentence-transformers and left "
            "out by others; name it 'document'"
        )
    pooled = _read(folder / _modules(folder)["Pooling"] / "config.json")
    if (query or document) and pooled.get("include_prompt") is False:
        raise ModelError(f"{folder.name}: leaves its prompts out of the pooling, which is not taken yet")
    return query, document


def similarity(folder: Path) -> tuple[Similarity, str]:
    """How two embeddings are compared, by what sentence-transformers writes; and in words. Raises ModelError."""
    said = _read(folder / SAID).get("similarity_fn_name")
    if said is None:
        return "cosine", "compared by cosine (the folder does not say how)"
    if said not in SIMILARITIES:
        raise ModelError(f"{folder.name}/{SAID}: compares by {said!r}: {', '.join(SIMILARITIES)} alone are taken")
    found, name = SIMILARITIES[said]
    if found in ("dot", "euclidean") and "Normalize" in _modules(folder):
        return "cosine", f"scaled to length 1 and compared by {name}, as the folder says: in the order of the cosine"
    if found == "manhattan" and "Normalize" in _modules(folder):
        raise ModelError(f"{folder.name}: scales to length 1 and compares by {name}, which is not taken together")
    return found, f"compared by {name}, as the folder says"


def longest(folder: Path) -> int | None:
    """The most tokens that a text is cut to; None where the folder does not say. Raises ModelError."""
    found = _read(folder / TRANSFORMER).get("max_seq_length")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 1):
        raise ModelError(f"{folder.name}/{TRANSFORMER}: max_seq_length is {found!r}: a number of tokens would be right")
    return found


def pooling(folder: Path) -> tuple[str, str]:
    """How the hidden states of a text become one: "mean" or "cls", by what sentence-transformers writes beside the
    model; and in words. Raises ModelError where it is another way, or other modules come in between."""
    place = _modules(folder)["Pooling"]
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


def _modules(folder: Path) -> dict[str, str]:
    """Module -> the folder of its settings, by modules.json; a Transformer and a Pooling where there is none. Raises
    ModelError where that has more than the model, its pooling, and a scaling to length 1."""
    try:
        modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        found = [(str(one["type"]).rpartition(".")[2], str(one["path"])) for one in modules]
    except FileNotFoundError:
        return {"Transformer": "", "Pooling": "1_Pooling"}
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
    return dict(found)


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
