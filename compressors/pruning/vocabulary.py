"""Vocabulary pruning: keep the embedding rows that the training data uses.

Half of a small encoder is its embedding table, and a task uses a part of it. The tokenizer stays as it
is, so the artifact is a drop-in for the dense model: a table maps each token id to its row, and a
token that was dropped falls back to the kept one nearest to it in embedding space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec


class PrunedEmbedding(nn.Module):
    """An embedding with fewer rows than tokens. rows: (tokens,) int32, the row of each token id;
    weight: (kept, width)."""

    rows: Tensor

    def __init__(self, tokens: int, kept: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(tokens, dtype=torch.int32))
        self.weight = nn.Parameter(torch.zeros(kept, width))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(self.rows[ids].long(), self.weight)


@dataclass(frozen=True)
class PruneVocabulary(Compressor):
    """minimum_count: occurrences in the training data from which a token is kept. Special tokens
    occur in every document and stay by themselves."""

    name: ClassVar[str] = "prune-vocabulary"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "storage"
    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    minimum_count: int = 1

    def __post_init__(self) -> None:
        if self.minimum_count < 1:
            raise ValueError(f"minimum_count is {self.minimum_count}, must be at least 1")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: Any) -> None:
            name = surgery.word_embedding(skeleton)
            if "input_ids" not in model.inputs or name is None:
                raise surgery.UnknownStructure("the model has no vocabulary")
            table = surgery.get(skeleton, name)
            if type(table) is not nn.Embedding:
                raise surgery.UnknownStructure(f"its embedding is a {type(table).__name__}, more than a table of rows")
            if surgery.predicts_tokens(skeleton):
                raise surgery.UnknownStructure("the model also predicts tokens, its output needs the whole vocabulary")

        return surgery.structure_reason(model, check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        name = surgery.word_embedding(model)
        assert name is not None
        table = surgery.get(model, name).weight.detach()
        counts = torch.bincount(context.require_training().inputs["input_ids"].flatten(), minlength=len(table))
        kept = torch.nonzero(counts >= self.minimum_count).flatten()
        pruned = PrunedEmbedding(len(table), len(kept), table.shape[1])
        with torch.no_grad():
            pruned.weight.copy_(table[kept])
            pruned.rows.copy_(nearest_rows(table, kept).to(torch.int32))
        _replace(model, name, pruned)
        return Compressed(model, {"tokens": len(table), "kept": len(kept)})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        name = surgery.word_embedding(model)
        assert name is not None
        width = surgery.get(model, name).weight.shape[1]
        _replace(model, name, PrunedEmbedding(structure["tokens"], structure["kept"], width))
        return model


def _replace(model: nn.Module, name: str, pruned: PrunedEmbedding) -> None:
    """Under every name that the embedding has: an encoder and a decoder share it."""
    for every in surgery.names_of(model, surgery.get(model, name)):
        surgery.replace(model, every, pruned)


def nearest_rows(table: Tensor, kept: Tensor) -> Tensor:
    """For each token the position in `kept` of itself or, where it was dropped, of the kept token with
    the largest cosine. table: (tokens, width); kept: (k,) ids. Returns (tokens,) int64."""
    unit = F.normalize(table.float(), dim=1)
    rows = torch.cat([(part @ unit[kept].T).argmax(dim=1) for part in unit.split(4096)])
    rows[kept] = torch.arange(len(kept))
    return rows
