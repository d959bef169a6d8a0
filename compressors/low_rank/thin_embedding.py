"""A token embedding as two thin tables, and the output layer that shares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery


class ThinEmbedding(nn.Module):
    """In the place of an nn.Embedding: (…) int64 -> (…, width). first: tokens -> rank. second: rank -> width. Both may
    be shared with others. scale: what the answer is multiplied by."""

    def __init__(self, first: nn.Embedding, second: nn.Linear, scale: float) -> None:
        super().__init__()
        self.first, self.second, self.scale = first, second, scale
        self.num_embeddings, self.embedding_dim = first.num_embeddings, second.out_features
        self.padding_idx = first.padding_idx

    @property
    def weight(self) -> Tensor:
        """The whole table, (tokens, width), for models that look past their layers; a product, made anew each time."""
        return self.first.weight @ self.second.weight.T

    def forward(self, ids: Tensor) -> Tensor:
        """ids: any shape, int64, below num_embeddings."""
        rows = self.second(self.first(ids))
        return rows if self.scale == 1 else rows * self.scale


class ThinHead(nn.Module):
    """In the place of an output layer that shares the embedding's weight: (…, width) -> (…, tokens)."""

    def __init__(self, table: ThinEmbedding, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.table, self.bias = table, bias
        self.in_features, self.out_features = table.embedding_dim, table.num_embeddings

    @property
    def weight(self) -> Tensor:
        """As the embedding's."""
        return self.table.weight

    def forward(self, states: Tensor) -> Tensor:
        """states: (…, width)."""
        return F.linear(F.linear(states, self.table.second.weight.T), self.table.first.weight, self.bias)


def place(model: nn.Module, rank: int, embeddings: Mapping[str, float], heads: Sequence[str]) -> ThinEmbedding:
    """Put thin layers, which share their factors, in these places; one of them, with values that mean nothing yet."""
    old = surgery.get(model, next(iter(embeddings)))
    tokens, width = old.weight.shape
    where: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
    first = nn.Embedding(tokens, rank, padding_idx=old.padding_idx, **where)
    second = nn.Linear(rank, width, bias=False, **where)
    for name, scale in embeddings.items():
        surgery.replace(model, name, ThinEmbedding(first, second, scale))
    thin: ThinEmbedding = surgery.get(model, next(iter(embeddings)))
    for name in heads:
        surgery.replace(model, name, ThinHead(thin, surgery.get(model, name).bias))
    return thin
