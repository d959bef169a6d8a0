"""Which column plays which role: as the user says, else by the names that data sets usually have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.zoo.own.table import DataError
from compressors.registry import nearest

USUAL: Mapping[str, tuple[str, ...]] = {
    "text": (
        "text", "sentence", "review", "content", "document", "body", "comment", "message", "tweet", "utterance",
        "question", "title", "input", "sentence1", "premise", "question1", "text1", "text_a",
    ),
    "label": ("label", "labels", "class", "category", "sentiment", "target", "intent", "stars", "rating", "y"),
    "words": ("tokens", "words"),
    "tags": ("ner_tags", "tags", "labels", "ner", "pos_tags", "chunk_tags"),
    "image": ("image", "img", "pixel_values", "picture"),
    "query": ("query", "question", "headline", "title", "anchor", "sentence1"),
    "document": ("document", "passage", "body", "positive", "answer", "context", "text", "sentence2"),
    "source": ("source", "src", "document", "article", "dialogue", "text", "input"),
    "target": ("target", "tgt", "summary", "highlights", "abstract", "translation", "output"),
}  # fmt: skip
"""Role -> the names that it goes by, likeliest first."""
PAIRS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2"),
    ("text_a", "text_b"), ("question", "sentence"),
)  # fmt: skip
"""Columns of a first and a second text that belong together, in this order."""


def find_columns(
    where: str, present: Sequence[str], roles: Sequence[str], optional: Sequence[str], said: Mapping[str, str]
) -> dict[str, str]:
    """Role -> column, for all of `roles` and those of `optional` that are there.

    Raises DataError where a column is not there, a role is unknown, or nothing tells which column plays it."""
    known = [*roles, *optional]
    found: dict[str, str] = {}
    for role, column in said.items():
        if role not in known:
            raise DataError(f"{where}: no role {role!r} in this task{nearest(role, known)}")
        if column not in present:
            raise DataError(f"{where}: no column {column!r} for {role}{nearest(column, present)}")
        found[role] = column
    folded = {column.casefold(): column for column in reversed(present)}
    if "second" in optional and not {"text", "second"} & set(found):
        pair = next((pair for pair in PAIRS if all(name in folded for name in pair)), None)
        if pair:
            found |= {"text": folded[pair[0]], "second": folded[pair[1]]}
    for role in roles:
        if role in found:
            continue
        usual = [folded[name] for name in USUAL[role] if name in folded and folded[name] not in found.values()]
        if not usual:
            have = ", ".join(present) or "none"
            raise DataError(
                f"{where}: which column is the {role}? It has {have}; say columns: {role}=NAME "
                f"(found by itself: {', '.join(USUAL[role][:4])}, …)"
            )
        found[role] = usual[0]
    return {role: found[role] for role in known if role in found}
