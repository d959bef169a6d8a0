"""Structured pruning: whole attention heads and feed-forward neurons go, and the products get smaller.

Sources: Michel et al. 2019 (NeurIPS) for the importance of heads; Molchanov et al. 2017 (ICLR) and 2019
(CVPR) for first-order Taylor importance of neurons. Both are the same estimate: how much the loss would
change if the activation were zero, |sum of gradient times activation|.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Compressed, Compressor, Context, Effect, Examples, Hardware, ModelSpec, Unsupported
from compressors.recovery import check_recovery, recover
from compressors.training import autocast, real_positions, supervised
from compressors.units import Attention, Block

PROBES = 4
"""Draws of signs for each example of a model whose answers are its hidden states."""


@dataclass(frozen=True)
class Importance:
    """Of one block. heads: for each of its attentions (heads,), neurons: (feed-forward width,), float32, unit of the
    loss."""

    heads: tuple[Tensor, ...]
    neurons: Tensor


def importance(model: nn.Module, context: Context, batch_size: int = 16) -> list[Importance]:
    """The Taylor importance of every head and neuron, block by block, on the calibration data.

    For each example, gradient times activation is summed over positions (and over a head's width)
    before the absolute value is taken, then averaged over the examples. The loss is the cross-entropy to
    the labels: against the dense model's own answers every gradient would be zero. Of a model whose answers are its
    hidden states it is their product with random signs: its change without a unit is on average (over the signs) as
    large as the distance that the states move, so that nothing but the dense states is needed.
    """
    calibration = context.require_calibration()
    hidden = context.model.output != "logits"
    if calibration.labels is None and not hidden:
        raise Unsupported("the calibration data has no labels: first-order importance needs a loss")
    generator = torch.Generator().manual_seed(context.seed)
    blocks = units.blocks(model)
    scores: dict[str, Tensor] = {}
    rows = 0

    def watch(name: str, parts: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        scores[name] = torch.zeros(parts)

        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            activation = args[0]  # (batch, positions, width)

            def collect(gradient: Tensor) -> None:
                change = gradient.float() * activation.detach().float()
                change = change.reshape(rows, -1, change.shape[-1]).sum(1)  # (batch, width); OPT flattens positions
                scores[name] += change.unflatten(1, (parts, -1)).sum(2).abs().sum(0).cpu()

            activation.register_hook(collect)

        return hook

    handles = []
    for block in blocks:
        watched = [(one.output, one.heads) for one in block.attentions]
        for name, parts in (*watched, (block.feed_forward.contract, block.feed_forward.neurons)):
            handles.append(surgery.get(model, name).register_forward_pre_hook(watch(name, parts)))
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            rows = len(batch)
            for _ in range(PROBES if hidden else 1):
                with autocast(context.hardware):
                    loss = _probed(model, batch, generator) if hidden else supervised(model, batch) * len(batch)
                loss.backward()
            context.progress("importance", done + 1, -(-len(calibration) // batch_size))
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    count = len(calibration) * (PROBES if hidden else 1)
    return [
        Importance(tuple(scores[one.output] / count for one in b.attentions), scores[b.feed_forward.contract] / count)
        for b in blocks
    ]


def _probed(model: nn.Module, batch: Examples, generator: torch.Generator) -> Tensor:
    """The hidden states times random signs, summed; padding left out."""
    states = model(**batch.inputs).last_hidden_state
    signs = torch.randint(0, 2, states.shape, generator=generator).to(states) * 2 - 1
    real = real_positions(batch, decoder=False)
    if real is not None and real.shape == states.shape[:-1]:
        signs = signs * real[..., None]
    return (states * signs).float().sum()


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


def cut(model: nn.Module, block: Block, heads: Sequence[Sequence[int]], neurons: Tensor) -> None:
    """Keep only these heads, of each of its attentions, and neurons of a block; equals multiplying the others' outputs
    by zero. Biases that the stack shares are left."""
    for attention, kept in zip(block.attentions, heads, strict=True):
        if len(kept) < attention.heads:
            units.keep_heads(model, attention, kept)
    if len(neurons) < block.feed_forward.neurons:
        units.keep_neurons(model, block.feed_forward, neurons)


@dataclass(frozen=True)
class PruneStructured(Compressor):
    """Removes the least important attention heads and feed-forward neurons of every layer, then recovers
    by distillation.

    heads_removed, neurons_removed: share of each layer's that goes, 0 to below 1; one always stays. Where heads share
    keys and values (grouped-query attention), heads_removed is of the heads of each group, and groups_removed of the
    groups, which go with their key and value: the cache of a language model shrinks with them.
    recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "prune-structured"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "heads": {"neurons_removed": 0.0},
        "neurons": {"heads_removed": 0.0},
        "75": {"heads_removed": 0.75, "neurons_removed": 0.75, "recovery_epochs": 3.0},
        "20": {"heads_removed": 0.0, "groups_removed": 0.2, "neurons_removed": 0.2},
    }
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "heads_removed": (0.25, 0.5, 0.75),
        "neurons_removed": (0.25, 0.5, 0.75),
    }

    heads_removed: float = 0.5
    neurons_removed: float = 0.5
    recovery_epochs: float = 1.0
    learning_rate: float = 3e-4
    groups_removed: float = 0.0

    def __post_init__(self) -> None:
        for field in ("heads_removed", "neurons_removed", "groups_removed"):
            share = getattr(self, field)
            if not 0 <= share < 1:
                raise ValueError(f"{field} = {share!r}: must be a share from 0 to below 1 (0.5 removes half)")
        if not self.heads_removed and not self.neurons_removed and not self.groups_removed:
            raise ValueError("heads_removed and neurons_removed are both 0: nothing would be pruned")
        check_recovery(self.recovery_epochs, self.learning_rate)

    def importance(self, model: nn.Module, context: Context) -> list[Importance]:
        """How much each head and neuron is worth, block by block, higher stays longer."""
        return importance(model, context)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            surgery.as_linears(skeleton)
            flat = [
                Importance(tuple(torch.zeros(one.heads) for one in b.attentions), torch.zeros(b.feed_forward.neurons))
                for b in units.blocks(skeleton)
            ]
            before = sum(weight.numel() for weight in skeleton.parameters())
            self._prune(skeleton, flat)
            if sum(weight.numel() for weight in skeleton.parameters()) == before:
                raise surgery.UnknownStructure("so small a share of its heads and neurons is none: nothing would go")

        return surgery.structure_reason(model, check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        surgery.as_linears(model)
        structure = self._prune(model, self.importance(model, context))
        recover(model, context, epochs=self.recovery_epochs, learning_rate=self.learning_rate, what=self.name)
        return Compressed(model, structure)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        stored = zip(units.blocks(model), structure["heads"], structure["neurons"], strict=True)
        for block, heads, neurons in list(stored):
            # A number is that of the only attention's heads, of which none share a key; else groups and heads of each.
            shapes = [(heads, 1)] if isinstance(heads, int) else heads
            kept = [
                [g * one.per_group + h for g in range(groups) for h in range(per)]
                for one, (groups, per) in zip(block.attentions, shapes, strict=True)
            ]
            _cut_biases(model, block, kept[0])
            cut(model, block, kept, torch.arange(neurons))
        return model

    def _prune(self, model: nn.Module, scores: Sequence[Importance]) -> dict[str, Any]:
        structure: dict[str, Any] = {"heads": [], "neurons": []}
        for block, heads, neurons in list(self._chosen(model, scores)):
            _cut_biases(model, block, heads[0])
            cut(model, block, heads, neurons)
            shapes = []
            for one, kept in zip(block.attentions, heads, strict=True):
                groups = len({h // one.per_group for h in kept})
                shapes.append([groups, len(kept) // groups])
            alone = len(shapes) == 1 and shapes[0][1] == 1 == block.attention.per_group
            structure["heads"].append(shapes[0][0] if alone else shapes)
            structure["neurons"].append(len(neurons))
        return structure

    def _chosen(
        self, model: nn.Module, scores: Sequence[Importance]
    ) -> Iterator[tuple[Block, list[list[int]], Tensor]]:
        """Each block with what stays of it. Blocks that share a table of biases keep the same heads of their first
        attention, those of the largest sums."""
        blocks = units.blocks(model)
        tables = [units.shared_bias(model, block) for block in blocks]
        for block, table, own in zip(blocks, tables, scores, strict=True):
            heads = list(own.heads)
            if table is not None:
                heads[0] = torch.stack([s.heads[0] for s, t in zip(scores, tables, strict=True) if t == table]).sum(0)
            kept = [
                chosen_heads(of, one, self.heads_removed, self.groups_removed)
                for of, one in zip(heads, block.attentions, strict=True)
            ]
            yield block, kept, best(own.neurons, self.neurons_removed)


def _cut_biases(model: nn.Module, block: Block, heads: Sequence[int]) -> None:
    """Cut the table of biases that the block's stack shares, unless an earlier block has had it cut."""
    table = units.shared_bias(model, block)
    if table is not None and len(heads) < block.attention.heads:
        units.keep_biases(model, table, heads)
