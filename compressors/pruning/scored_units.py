"""Pruning of heads and neurons: what every score shares. Whole units go, and the products get smaller.

A method is a score: how much is each unit worth. What goes of every layer and recovery are fields of every one.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec
from compressors.pruning.importance import Importance, by_layer, of_blocks
from compressors.pruning.smaller_blocks import Kept, cut_all, rebuild
from compressors.recovery import Recovering
from compressors.units import Attention


def best(scores: Tensor, removed: float) -> Tensor:
    """Positions of the highest scores, in order, at least one: (n,) -> (kept,) int64."""
    kept = max(1, len(scores) - round(removed * len(scores)))
    return scores.sort(descending=True, stable=True).indices[:kept].sort().values


def chosen_heads(scores: Tensor, attention: Attention, heads_removed: float, groups_removed: float) -> list[int]:
    """The heads that stay: the best groups, by the sum of their heads, and the best heads of each, equally many."""
    by_group = scores.view(attention.groups, attention.per_group)
    if attention.per_group == 1:  # each is a group by itself
        return [int(h) for h in best(scores, heads_removed or groups_removed)]
    groups = best(by_group.sum(1), groups_removed)
    return [int(g) * attention.per_group + int(h) for g in groups for h in best(by_group[g], heads_removed)]


def chosen(
    model: nn.Module,
    scores: Sequence[Importance],
    heads: Callable[[Tensor, Attention], list[int]],
    neurons: Callable[[Tensor], Tensor],
) -> Iterator[Kept]:
    """Each block with what stays of it, by what `heads` and `neurons` say of the scores of a part. Blocks that share a
    table of biases keep the same heads of their first attention, those of the largest sums."""
    blocks = units.blocks(model)
    tables = units.shared_biases(model, blocks)
    for block, table, own in zip(blocks, tables, scores, strict=True):
        of_heads = list(own.heads)
        if table is not None:
            of_heads[0] = torch.stack([s.heads[0] for s, t in zip(scores, tables, strict=True) if t == table]).sum(0)
        kept = [heads(of, one) for of, one in zip(of_heads, block.attentions, strict=True)]
        yield block, kept, neurons(own.neurons)


@dataclass(frozen=True)
class ScoredUnits(Recovering):
    """Removes the attention heads and feed-forward neurons of every layer that are worth least, then recovers by
    distillation: write `importance`, and a name.

    heads_removed, neurons_removed: share of each layer's that goes, 0 to below 1; one always stays. Where heads share
    keys and values (grouped-query attention), heads_removed is of the heads of each group, and groups_removed of the
    groups, which go with their key and value: the cache of a language model shrinks with them.
    recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "heads_removed": (0.25, 0.5, 0.75),
        "neurons_removed": (0.25, 0.5, 0.75),
    }

    heads_removed: float = 0.5
    neurons_removed: float = 0.5
    groups_removed: float = 0.0

    def __post_init__(self) -> None:
        for field in ("heads_removed", "neurons_removed", "groups_removed"):
            share = getattr(self, field)
            if not 0 <= share < 1:
                raise ValueError(f"{field} = {share!r}: must be a share from 0 to below 1 (0.5 removes half)")
        if not self.heads_removed and not self.neurons_removed and not self.groups_removed:
            raise ValueError("heads_removed and neurons_removed are both 0: nothing would be pruned")
        super().__post_init__()

    @abc.abstractmethod
    def importance(self, model: nn.Module, context: Context) -> list[Importance]:
        """How much each head and neuron is worth, block by block, higher stays longer. `model` may be changed by it,
        unless `finds_by` says what it depends on."""

    def find(self, model: nn.Module, context: Context) -> dict[str, Tensor]:
        return by_layer(model, self.importance(surgery.as_linears(model), context))

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            surgery.as_linears(skeleton)
            flat = [
                Importance(tuple(torch.zeros(one.heads) for one in b.attentions), torch.zeros(b.feed_forward.neurons))
                for b in units.blocks(skeleton)
            ]
            before = sum(weight.numel() for weight in skeleton.parameters())
            cut_all(skeleton, self._chosen(skeleton, flat))
            if sum(weight.numel() for weight in skeleton.parameters()) == before:
                raise surgery.UnknownStructure("so small a share of its heads and neurons is none: nothing would go")

        shares = (self.heads_removed, self.neurons_removed, self.groups_removed)
        return surgery.structure_reason(model, check, asked=(type(self)._chosen, *shares))

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        surgery.as_linears(model)
        kept = self.finds_by is not None
        worth = of_blocks(model, self.findings(model, context)) if kept else self.importance(model, context)
        structure = cut_all(model, self._chosen(model, worth))
        self.recover(model, context)
        return Compressed(model, structure)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return rebuild(surgery.as_linears(model), structure)

    def _chosen(self, model: nn.Module, scores: Sequence[Importance]) -> Iterator[Kept]:
        return chosen(
            model,
            scores,
            lambda of, one: chosen_heads(of, one, self.heads_removed, self.groups_removed),
            lambda of: best(of, self.neurons_removed),
        )
