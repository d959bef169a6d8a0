"""What a student of another shape can be taught by, beside the answers: each is seen in both models and compared.

Sources: FitNets (Romero et al. 2015) and TinyBERT (Jiao et al. 2020) for hidden states and embeddings through a
learnt projection and for attention maps; MiniLMv2 (Wang et al. 2021) for relations; MiniLM (Wang et al. 2020) for
comparing maps by divergence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Examples
from compressors.recovery import relative_error
from compressors.surgery import UnknownStructure
from compressors.training import real_positions

Seen = dict[str, Tensor]
"""By a name of which the first word says what it is and the second of which stack; the example is the first axis.
"answers": the model's logits. "hidden", "embeddings": (examples, positions, width). "attention": (examples, heads,
positions, positions looked at), probabilities. "relations": (examples, positions, width of all queries, keys or
values)."""


@dataclass(frozen=True)
class Signals:
    """The weight of each in the loss; 0 leaves it out. relation_heads: into how many parts queries, keys and values are
    split, whatever the heads of either model are; 0 for what `fitting` finds."""

    hidden: float
    embeddings: float
    attention: float
    relations: float
    relation_heads: int

    @property
    def beyond_answers(self) -> bool:
        """Whether there is any."""
        return any((self.hidden, self.embeddings, self.attention, self.relations))

    def fitting(self, *models: nn.Module) -> Signals:
        """The same with a number of relation heads that fits all of `models`: the most up to 12, if none was given.
        Raises UnknownStructure where the given one does not."""
        if not self.relations:
            return self
        sizes = {}
        for attention in (one for model in models for one in _last_attentions(model)):
            for heads in (attention.heads, attention.groups):
                sizes[heads * attention.head_size] = attention.name
        if not self.relation_heads:
            most = max(count for count in range(1, 13) if not any(size % count for size in sizes))
            return dataclasses.replace(self, relation_heads=most)
        for size, name in sizes.items():
            if size % self.relation_heads:
                told = f"{self.relation_heads} does not divide the {size} numbers of {name}"
                raise UnknownStructure(f"relation_heads = {told}")
        return self


def counterparts(student: int, teacher: int) -> list[int]:
    """The teacher's layers that those of a student are compared with: evenly spaced, the last with the last."""
    return [round((i + 1) * teacher / student) - 1 for i in range(student)]


def see(model: nn.Module, batch: Examples, signals: Signals, layers: Sequence[Sequence[int]]) -> Seen:
    """One pass of `model` over a batch, and what the signals compare of it. layers: for each stack those that are
    compared, of the student and of the teacher in the same order.
    Raises UnknownStructure where attention maps are asked for and the model gives none."""
    more = {"output_attentions": True} if signals.attention else {}
    with _watched(model, signals, layers) as found:
        answer = model(**batch.inputs, **more)
    if "logits" in answer:
        found["answers"] = answer.logits
    if signals.attention:
        for stack, of in enumerate(layers):
            maps = _maps(answer, stack, len(layers))
            if maps is None:
                raise UnknownStructure(f"{type(model).__name__} gives no attention maps: attention must be 0")
            found |= {f"attention {stack} {number}": maps[layer] for number, layer in enumerate(of)}
    return found


def _maps(answer: Any, stack: int, stacks: int) -> Sequence[Tensor] | None:
    field = "attentions" if stacks == 1 else ("encoder_attentions", "decoder_attentions")[stack]
    maps = answer.get(field)
    return None if not maps or any(one is None for one in maps) else maps


@contextlib.contextmanager
def _watched(model: nn.Module, signals: Signals, layers: Sequence[Sequence[int]]) -> Iterator[Seen]:
    found: Seen = {}
    handles = []

    def keep(name: str, rows: Tensor | None = None) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _given: Any, answer: Any) -> None:
            values = answer[0] if isinstance(answer, tuple) else answer
            if name in found and values.shape[:2] != found[name].shape[:2]:
                return  # DeBERTa's projections are given its positions, too, after the text
            found[name] = values if rows is None or len(rows) == values.shape[-1] else values[..., rows]

        return hook

    def keep_given(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, given: Any, named: Any) -> None:
            found[name] = given[0] if given else named["hidden_states"]

        return hook

    for stack, (name, of) in enumerate(zip(surgery.layer_lists(model), layers, strict=True)):
        if signals.embeddings:
            first = surgery.get(model, f"{name}.0")
            handles.append(first.register_forward_pre_hook(keep_given(f"embeddings {stack}"), with_kwargs=True))
        if signals.hidden:
            for number, layer in enumerate(of):
                module = surgery.get(model, f"{name}.{layer}")
                handles.append(module.register_forward_hook(keep(f"hidden {stack} {number}")))
    if signals.relations:
        for stack, one in enumerate(_last_attentions(model)):
            parts = {
                "queries": (one.query, one.heads),
                "keys": (one.key, one.groups),
                "values": (one.value, one.groups),
            }
            for what, (rows, count) in parts.items():
                hook = keep(f"relations {stack} {what}", rows.of(range(count), one.head_size))
                handles.append(surgery.get(model, rows.layer).register_forward_hook(hook))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _last_attentions(model: nn.Module) -> list[units.Attention]:
    """Of each stack, what its last layer attends to itself with."""
    last = [f"{stack}.{len(surgery.get(model, stack)) - 1}" for stack in surgery.layer_lists(model)]
    by_name = {block.name: block.attention for block in units.blocks(model)}
    return [by_name[name] for name in last]


def projections(found: Seen, wanted: Seen, stream: Tensor | None = None) -> nn.ModuleDict:
    """Layers to learn, from the student's width to the teacher's: one for the embeddings of each stack and one for all
    its hidden states; none where the widths are equal. They begin with each number of the student's stream where the
    teacher has it; stream: (student's width,) int64 positions, or None where that means nothing."""
    made = nn.ModuleDict()
    for name, values in found.items():
        kind, _, rest = name.partition(" ")
        key = f"{kind} {rest.partition(' ')[0]}"
        if kind not in ("hidden", "embeddings") or key in made:
            continue
        own, other = values.shape[-1], wanted[name].shape[-1]
        if own == other:
            continue
        layer = nn.Linear(own, other, bias=False)
        if stream is not None and len(stream) == own:
            with torch.no_grad():
                layer.weight.zero_()[stream, torch.arange(own)] = 1.0
        made[key] = layer
    return made


def loss(signals: Signals, found: Seen, wanted: Seen, through: nn.ModuleDict, batch: Examples) -> Tensor:
    """The weighted sum of the means of all kinds of signals, the answers left out. Padding counts for nothing."""
    sums: dict[str, list[Tensor]] = {}
    for name, values in found.items():
        kind, _, rest = name.partition(" ")
        if kind == "answers":
            continue
        stack = int(rest.split()[0])
        real, other = real_positions(batch, decoder=stack > 0), wanted[name].float()
        if kind in ("hidden", "embeddings"):
            key = f"{kind} {stack}"
            apart = relative_error((through[key](values) if key in through else values).float(), other, real)
        elif kind == "attention":
            apart = _between_maps(values.float(), other, real)
        else:
            apart = _between_relations(values.float(), other, real, signals.relation_heads)
        sums.setdefault(kind, []).append(apart)
    total = torch.zeros(())
    for kind, parts in sums.items():
        total = total + getattr(signals, kind) * torch.stack(parts).mean()
    return total


def _between_maps(found: Tensor, wanted: Tensor, real: Tensor | None) -> Tensor:
    """KL(teacher ‖ student) in nats of what each position looks at, mean over positions and heads; of the mean of all
    heads where their numbers differ. found, wanted: (examples, heads, positions, positions)."""
    if found.shape[1] != wanted.shape[1]:
        found, wanted = found.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    tiny = 1e-12
    apart = (wanted * ((wanted + tiny).log() - (found + tiny).log())).sum(-1).mean(1)
    return _mean(apart, real)


def _between_relations(found: Tensor, wanted: Tensor, real: Tensor | None, heads: int) -> Tensor:
    """The same of how alike the positions of one head are, the softmax of their scaled products."""
    own, other = _relations(found, real, heads), _relations(wanted, real, heads)
    return _mean((other.exp() * (other - own)).sum(-1).mean(1), real)


def _relations(values: Tensor, real: Tensor | None, heads: int) -> Tensor:
    """(examples, positions, width) -> (examples, heads, positions, positions), logarithms of probabilities; nothing
    is like padding."""
    split = values.unflatten(-1, (heads, -1)).transpose(1, 2)
    products = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    if real is not None and real.shape == values.shape[:-1]:
        products = products.masked_fill(~real[:, None, None], -1e4)
    return products.log_softmax(-1)


def _mean(values: Tensor, real: Tensor | None) -> Tensor:
    """values: (examples, positions)."""
    return values[real].mean() if real is not None and real.shape == values.shape else values.mean()
