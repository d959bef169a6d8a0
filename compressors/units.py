"""Attention heads and feed-forward neurons: where they are in a block, and the block without some of them.

They are found by what they are (linear layers and their usual names), not by a table of architectures, so that a new
model needs no edit here. Attention may have a projection each or one for query, key and value, keys and values that
several heads share, and may look at an encoder; a feed-forward part may have a gate, by itself or in one layer with
what it gates. Does not cover experts, nor a position bias that is held for each head of each layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressors.surgery import UnknownStructure, get, keep_columns, keep_rows, layer_lists, replace

QUERY = ("query", "q_proj", "q_lin", "q", "query_proj")
KEY = ("key", "k_proj", "k_lin", "k", "key_proj")
VALUE = ("value", "v_proj", "v_lin", "v", "value_proj")
OF_POSITIONS = ("pos_key_proj", "pos_query_proj")
"""Further projections of DeBERTa's, by head as query and key are."""
ONE_AFTER_ANOTHER = ("c_attn", "qkv_proj", "Wqkv", "qkv")
"""Names of one layer for query, key and value: all queries first, then the keys, then the values."""
BY_HEAD = {"query_key_value": ("GPTNeoX", "Bloom")}
"""The same, head after head, each with its three; of models whose class has such a name. Others mix otherwise."""
HEAD_SIZE = ("attention_head_size", "head_dim", "head_size", "key_value_proj_dim")
COUNTS = ("num_attention_heads", "num_heads", "n_heads")
SHARED_BIAS = "relative_attention_bias"
"""A table of a number for each head and distance, which all layers of a stack use."""
OWN_BIAS = "relative_position_bias"


@dataclass(frozen=True)
class Rows:
    """Where a head's rows are in a layer: those of head i begin at start + i * step."""

    layer: str
    start: int
    step: int

    def of(self, heads: Sequence[int], size: int) -> Tensor:
        """Row numbers of these heads, each `size` rows high: (heads * size,) int64."""
        return torch.cat([self.start + h * self.step + torch.arange(size) for h in heads])


@dataclass(frozen=True)
class Attention:
    """One attention: itself, its projections and how they are laid out, as names relative to the model.

    also: projections beside query, key and value that have rows for each head. output: the projection after it.
    heads: of queries. groups: of heads that share a key and a value, as many as heads where none do.
    """

    name: str
    query: Rows
    key: Rows
    value: Rows
    also: tuple[Rows, ...]
    output: str
    head_size: int
    heads: int
    groups: int

    @property
    def per_group(self) -> int:
        """Heads of a group."""
        return self.heads // self.groups

    @property
    def projections(self) -> tuple[str, ...]:
        """The layers whose rows are heads, each once."""
        return tuple(dict.fromkeys(rows.layer for rows in (self.query, self.key, self.value, *self.also)))


@dataclass(frozen=True)
class FeedForward:
    """expand: (layer, first row) of what a neuron is computed by: twice where there is a gate, in one layer or two.
    contract: the layer back. neurons: how many there are."""

    expand: tuple[tuple[str, int], ...]
    contract: str
    neurons: int


@dataclass(frozen=True)
class Block:
    """One Transformer layer: its attentions, of a decoder behind an encoder two, and its feed-forward part."""

    name: str
    attentions: tuple[Attention, ...]
    feed_forward: FeedForward

    @property
    def attention(self) -> Attention:
        """The first, which looks at the block's own input."""
        return self.attentions[0]

    @property
    def linears(self) -> tuple[str, ...]:
        """All its linear layers."""
        attentions = [name for one in self.attentions for name in (*one.projections, one.output)]
        expand = dict.fromkeys(layer for layer, _ in self.feed_forward.expand)
        return (*attentions, *expand, self.feed_forward.contract)


def blocks(model: nn.Module) -> list[Block]:
    """Every Transformer layer of the model, stack after stack. Raises UnknownStructure where a part is not found, as in
    a model that still has transformers' Conv1D (see `surgery.as_linears`)."""
    return [_block(model, f"{stack}.{i}") for stack in layer_lists(model) for i in range(len(get(model, stack)))]


def _block(model: nn.Module, name: str) -> Block:
    linears = {f"{name}.{n}": m for n, m in get(model, name).named_modules() if isinstance(m, nn.Linear)}
    found = [one for layer in linears if (one := _attention(model, name, layer, linears)) is not None]
    if not found:
        raise UnknownStructure(f"{name} of {type(model).__name__}: no layer named like 'query' or 'qkv'")
    taken = {layer for one in found for layer in (*one.projections, one.output)}
    rest = {layer: module for layer, module in linears.items() if layer not in taken}
    return Block(name, tuple(found), _feed_forward(f"{name} of {type(model).__name__}", rest))


def _attention(model: nn.Module, block: str, layer: str, linears: dict[str, nn.Linear]) -> Attention | None:
    """The attention whose query `layer` is; None where it is none."""
    holder, _, last = layer.rpartition(".")
    of = f"{holder} of {type(model).__name__}"
    module = get(model, holder)
    size = next((int(value) for name in HEAD_SIZE if (value := getattr(module, name, None))), 0)

    def one(names: Sequence[str]) -> str:
        have = [f"{holder}.{name}" for name in names if f"{holder}.{name}" in linears]
        if len(have) != 1:
            raise UnknownStructure(f"{of}: {len(have)} layers named like {names[0]!r}, 1 needed")
        return have[0]

    if last in QUERY:
        key, value = one(KEY), one(VALUE)
        also = [f"{holder}.{name}" for name in OF_POSITIONS if f"{holder}.{name}" in linears]
        query_rows, key_rows, value_rows = (Rows(name, 0, size) for name in (layer, key, value))
        width, grouped = linears[layer].out_features, linears[key].out_features
    elif last in ONE_AFTER_ANOTHER or last in BY_HEAD:
        if last in BY_HEAD and not type(module).__name__.startswith(BY_HEAD[last]):
            raise UnknownStructure(f"{of}: how {last!r} mixes query, key and value is not known")
        also, whole = [], linears[layer].out_features
        grouped = int(getattr(module, "num_key_value_heads", 0)) * size or whole // 3
        width = whole - 2 * grouped
        if last in BY_HEAD:
            query_rows, key_rows, value_rows = (Rows(layer, part * size, 3 * size) for part in range(3))
        else:
            query_rows, key_rows = Rows(layer, 0, size), Rows(layer, width, size)
            value_rows = Rows(layer, width + grouped, size)
    else:
        return None
    if not size or width % size or not grouped or grouped % size or width % grouped:
        raise UnknownStructure(f"{of} does not say how wide a head is")
    for part, parameter in module.named_parameters():
        if part[0] in "qkv" and "norm" in part and len(parameter) in {width, grouped} - {size}:
            raise UnknownStructure(f"{of}: {part} spans all heads, they cannot be taken apart")
    used = {query_rows.layer, key_rows.layer, value_rows.layer, *also}
    while holder != block:  # the projection after it is beside the others, or beside what holds them
        left = [name for name in linears if name.startswith(f"{holder}.") and name not in used]
        if left:
            break
        holder = holder.rpartition(".")[0]
    else:
        left = []
    if len(left) != 1 or linears[left[0]].in_features != width:
        raise UnknownStructure(f"{of}: {len(left)} layers behind it, 1 of {width} inputs needed")
    positions = tuple(Rows(name, 0, size) for name in also)
    name = layer.rpartition(".")[0]
    heads = (width // size, grouped // size)
    return Attention(name, query_rows, key_rows, value_rows, positions, left[0], size, *heads)


def _feed_forward(of: str, rest: dict[str, nn.Linear]) -> FeedForward:
    # By position, not by width: after pruning, the inner width may be the smaller one.
    *expand, contract = rest or [""]
    neurons = rest[contract].in_features if expand else 0
    shapes = {(rest[name].in_features, rest[name].out_features) for name in expand}
    if len(shapes) == 1:
        ((width, out),) = shapes
        if width == rest[contract].out_features and out in (neurons, 2 * neurons):
            starts = (0,) if out == neurons else (0, neurons)
            return FeedForward(tuple((name, start) for name in expand for start in starts), contract, neurons)
    raise UnknownStructure(f"{of}: no feed-forward part of the usual form")


def shared_biases(model: nn.Module, blocks: Sequence[Block]) -> list[str | None]:
    """For each block the table of position biases by head that its stack shares: one that is cut with the first
    attention of all its blocks, which must therefore keep the same heads. None where there is none."""
    tables = [
        (name, module.embedding_dim)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] == SHARED_BIAS
    ]
    return [next((t for t, width in tables if _shares(t, width, block)), None) for block in blocks]


def _shares(table: str, width: int, block: Block) -> bool:
    home = block.name.rpartition(".")[0].rpartition(".")[0]
    return width == block.attention.heads and (not home or table.startswith(f"{home}."))


def keep_heads(model: nn.Module, attention: Attention, heads: Sequence[int]) -> None:
    """Keep only these heads of an attention, in place. The result equals multiplying the other heads' outputs by zero.

    Of a group of which no head is kept the key and the value go too; of every other group the same number must be
    kept, as attention repeats each key and value as often. A shared table of biases is the caller's to cut, by
    `keep_biases`."""
    check_heads_can_go(model, attention)
    take_heads(model, attention, heads)


def check_heads_can_go(model: nn.Module, attention: Attention) -> None:
    """Raises UnknownStructure where the model has a position bias for each head, all of which then must stay."""
    slopes = any("alibi" in name for one in (model, getattr(model, "base_model", model)) for name in dir(one))
    if slopes or any(OWN_BIAS in name for name, _ in model.named_parameters()):
        raise UnknownStructure(f"{attention.name}: a position bias for each head, they cannot be pruned one by one")


def take_heads(model: nn.Module, attention: Attention, heads: Sequence[int]) -> None:
    """`keep_heads` of a model that was asked already whether heads can go: to ask is to look through all of it."""
    heads, per = sorted(heads), attention.per_group
    kept = {group: sum(h // per == group for h in heads) for group in dict.fromkeys(h // per for h in heads)}
    if len(set(kept.values())) != 1:
        raise ValueError(f"{attention.name}: of each group of {per} heads the same number must stay, or none")
    size = attention.head_size
    rows: dict[str, list[Tensor]] = {}
    for part, numbers in ((attention.query, heads), (attention.key, list(kept)), (attention.value, list(kept))):
        rows.setdefault(part.layer, []).append(part.of(numbers, size))
    for part in attention.also:
        rows[part.layer] = [part.of(heads, size)]
    for name, parts in rows.items():
        # In the order of the layer: head after head where it is laid out so, all queries first elsewhere.
        replace(model, name, keep_rows(get(model, name), torch.cat(parts).sort().values))
    columns = Rows("", 0, size).of(heads, size)
    replace(model, attention.output, keep_columns(get(model, attention.output), columns))
    _count(get(model, attention.name), len(heads), len(kept), size)


def _count(module: Any, heads: int, groups: int, size: int) -> None:
    """Tell an attention how many heads it has, wherever it looks."""
    values = dict.fromkeys(COUNTS, heads)
    values |= {"num_key_value_heads": groups, "num_key_value_groups": heads // groups}
    values |= dict.fromkeys(("all_head_size", "inner_dim", "split_size"), heads * size)
    for name, value in values.items():
        if hasattr(module, name):
            setattr(module, name, value)
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "num_key_value_heads"):  # Phi slices by it
        module.config = copy.copy(config)
        module.config.num_attention_heads, module.config.num_key_value_heads = heads, groups


def keep_biases(model: nn.Module, table: str, heads: Sequence[int]) -> None:
    """The table of biases of these heads alone, in place."""
    weight = get(model, table).weight[:, list(heads)]
    smaller = nn.Embedding(weight.shape[0], weight.shape[1], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        smaller.weight.copy_(weight)
    replace(model, table, smaller)


def keep_neurons(model: nn.Module, part: FeedForward, neurons: Tensor) -> None:
    """Keep only these feed-forward neurons, in place. neurons: (kept,) int64 positions."""
    rows: dict[str, list[Tensor]] = {}
    for layer, start in part.expand:
        rows.setdefault(layer, []).append(start + neurons)
    for layer, parts in rows.items():
        replace(model, layer, keep_rows(get(model, layer), torch.cat(parts)))
    replace(model, part.contract, keep_columns(get(model, part.contract), neurons))
