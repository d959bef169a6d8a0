"""Low rank of the token embedding: (vocabulary, rank) times (rank, width), as ALBERT has it from the beginning.

Source: ALBERT (Lan et al. 2020, ICLR). Found by an SVD in which the row of a token counts as often as the token occurs
in the training data, so that common tokens keep more of theirs. A lookup takes a row of the first table and a small
product behind it. Output layers that share the embedding's weight go on sharing it: they multiply by the second factor
and then by the first, which is less work than before, and the file holds both once. Others stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import (
    Compressed,
    Context,
    Effect,
    Examples,
    Hardware,
    ModelSpec,
    PressbenchError,
    Unsupported,
)
from compressors.low_rank.factors import factorise_by_rows
from compressors.low_rank.layers import LowRank
from compressors.low_rank.ranks import rank_for
from compressors.low_rank.thin_embedding import place
from compressors.training import real_positions


@dataclass(frozen=True)
class LowRankEmbedding(LowRank):
    """Factorises the token embedding, and the output layers that share its weight, and recovers by distillation.

    rank_ratio: rank as a share of the embedding's width, 0 to 1. smoothing: what is added to how often each token
    occurs in the training data, padding left out, so that those which do not occur count too; the larger, the more
    alike all count. recovery_epochs, learning_rate: of the distillation; 0 epochs for none.
    """

    name: ClassVar[str] = "low-rank-embedding"
    effect: ClassVar[Effect] = "storage"
    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}, "alone": {"recovery_epochs": 0.0}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"rank_ratio": (0.75, 0.5, 0.33, 0.25, 0.125)}

    rank_ratio: float = 0.5
    smoothing: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < float("inf"):
            raise ValueError(f"smoothing = {self.smoothing!r}: must be 0 or more occurrences")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self._places)

    def _places(self, model: nn.Module) -> tuple[int, dict[str, float], list[str]]:
        """The rank; every embedding with the table, and its scale; the output layers with it."""
        name = surgery.word_embedding(model)
        if name is None:
            raise surgery.UnknownStructure("the model has no vocabulary")
        weight = surgery.get(model, name).weight
        embeddings: dict[str, float] = {}
        heads: list[str] = []
        for where, module in model.named_modules(remove_duplicate=False):
            for part, values in module._parameters.items():
                if values is not weight:
                    continue
                if isinstance(module, nn.Embedding):
                    embeddings[where] = _scale(module)
                elif isinstance(module, nn.Linear) and part == "weight":
                    heads.append(where)
                else:
                    raise surgery.UnknownStructure(f"{where}.{part} is its token embedding too, and no output layer")
        rank = rank_for(weight.shape, self.rank_ratio)
        if rank is None:
            raise surgery.UnknownStructure(
                f"rank_ratio {self.rank_ratio} makes its embedding, {weight.shape[0]} x {weight.shape[1]}, no smaller"
            )
        return rank, embeddings, heads

    @torch.no_grad()
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        rank, embeddings, heads = self._places(model)
        weight = surgery.get(model, next(iter(embeddings))).weight.detach()
        if not bool(weight.isfinite().all()):
            raise PressbenchError(f"{self.name}: a weight of the token embedding is not finite")
        few = torch.arange(min(8, len(weight)))
        for name, scale in embeddings.items():
            if not torch.allclose(surgery.get(model, name)(few), weight[few] * scale, rtol=1e-2):
                raise Unsupported(f"{self.name}: {name} answers with more than the rows of its table")
        counts = occurrences(context.require_training(), len(weight)) + self.smoothing
        wide, narrow = factorise_by_rows(weight, rank, counts)
        thin = place(model, rank, embeddings, heads)
        thin.first.weight.copy_(wide)
        thin.second.weight.copy_(narrow.T)
        with torch.enable_grad():
            self.recover(model, context)
        return Compressed(model, {"rank": rank, "embeddings": embeddings, "heads": heads})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        place(model, structure["rank"], structure["embeddings"], structure["heads"])
        return model


def _scale(table: nn.Embedding) -> float:
    """What an embedding multiplies its rows by. Raises UnknownStructure where it may do something else."""
    kind = type(table)
    if table.max_norm is not None:
        raise surgery.UnknownStructure(f"its embedding, a {kind.__name__}, shortens its rows where they are looked up")
    if kind is nn.Embedding:
        return 1.0
    scale = getattr(table, "scalar_embed_scale", getattr(table, "embed_scale", None))
    if not isinstance(scale, int | float):
        raise surgery.UnknownStructure(f"its embedding is a {kind.__name__}, more than a table of rows")
    return float(scale)


def occurrences(examples: Examples, tokens: int) -> Tensor:
    """How often each token is read, by an encoder or by a decoder, padding left out: (tokens,) float64."""
    counts = torch.zeros(tokens, dtype=torch.float64)
    for name, decoder in (("input_ids", False), ("decoder_input_ids", True)):
        ids = examples.inputs.get(name)
        if ids is None:
            continue
        real = real_positions(examples, decoder=decoder)
        read = ids if real is None or real.shape != ids.shape else ids[real]
        counts += torch.bincount(read.flatten(), minlength=tokens)
    return counts
