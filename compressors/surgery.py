"""The structural edits a Transformer can take, shared by compressing and loading.

The blocks are found by what they are (linear layers and their usual names), not by a table of
architectures, so that a new model needs no edit here. Covers encoders and decoders whose attention
reshapes with a free number of heads (BERT, RoBERTa, ELECTRA, DistilBERT, ViT, Llama and their like in
transformers 5). Does not cover fused query-key-value projections, experts, or grouped-query attention
for head pruning, nor the heads of an encoder-decoder.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec, PressbenchError, skeleton

QUERY = ("query", "q_proj", "q_lin")
KEY = ("key", "k_proj", "k_lin")
VALUE = ("value", "v_proj", "v_lin")
OUTPUT = ("attention.output.dense", "attention.dense", "o_proj", "out_proj", "out_lin")
HEAD_BIAS = ("relative_attention_bias", "relative_position_bias")
"""What holds a number for each head and distance, outside of the four projections."""


class UnknownStructure(PressbenchError):
    """The model is not built the way an edit needs; the message says what is missing."""


@dataclass(frozen=True)
class Block:
    """One Transformer layer, as names relative to the model.

    query, key, value, output: the four attention projections. expand: the linear layers into the
    feed-forward width (two in a gated FFN). contract: the one back from it. attention: the module
    that holds query, key and value. head_size: width of one head.
    """

    name: str
    query: str
    key: str
    value: str
    output: str
    expand: tuple[str, ...]
    contract: str
    attention: str
    head_size: int

    @property
    def linears(self) -> tuple[str, ...]:
        """All its linear layers."""
        return (self.query, self.key, self.value, self.output, *self.expand, self.contract)


def get(model: nn.Module, name: str) -> Any:
    """The submodule (or attribute) called `name`, dots included."""
    return reduce(lambda at, part: getattr(at, "_modules", {}).get(part) or getattr(at, part), name.split("."), model)


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(get(model, parent) if parent else model, child, module)


def layer_list(model: nn.Module) -> str:
    """The name of the list that holds the Transformer layers: the outermost ModuleList of one class
    with at least four linear layers in each. Of an encoder with a decoder, the encoder's."""
    for name, module in model.named_modules():
        if _is_stack(module):
            return name
    raise UnknownStructure(f"{type(model).__name__} has no list of Transformer layers")


def layer_lists(model: nn.Module) -> list[str]:
    """The same, and behind it that of the decoder of an encoder-decoder."""
    first = layer_list(model)
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return [first]
    others = (n for n, m in model.named_modules() if _is_stack(m) and not (n + ".").startswith(first + "."))
    return [first, *list(others)[:1]]


def _is_stack(module: nn.Module) -> bool:
    if not isinstance(module, nn.ModuleList) or len({type(m) for m in module}) != 1:
        return False
    return sum(is_linear(m) for m in module[0].modules()) >= 4


def is_linear(module: nn.Module) -> bool:
    """Whether it multiplies by a matrix: an nn.Linear, or GPT-2's Conv1D, which holds the transposed one."""
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    cls = type(module)  # by name: what reads no model need not wait for transformers
    return (cls.__module__, cls.__name__) == ("transformers.pytorch_utils", "Conv1D")


def as_linears(model: nn.Module) -> nn.Module:
    """The model with an nn.Linear in the place of every Conv1D, in place; the same numbers, transposed."""
    for name, module in list(model.named_modules()):
        if _is_transposed(module):
            replace(model, name, _linear(module.weight.T, module.bias))
    return model


def block_linears(model: nn.Module) -> list[str]:
    """The names of all linear layers in the Transformer layers, whatever they are for."""
    stacks = layer_lists(model)
    return [f"{s}.{n}" for s in stacks for n, m in get(model, s).named_modules() if type(m) is nn.Linear]


def blocks(model: nn.Module) -> list[Block]:
    """Every Transformer layer of the model. Raises UnknownStructure where a part is not found."""
    return [_block(model, f"{stack}.{i}") for stack in layer_lists(model) for i in range(len(get(model, stack)))]


def _block(model: nn.Module, name: str) -> Block:
    linears = {f"{name}.{n}": m for n, m in get(model, name).named_modules() if isinstance(m, nn.Linear)}

    def one(endings: Sequence[str]) -> str:
        found = [n for n in linears if n.endswith(tuple("." + e for e in endings))]
        if len(found) != 1:
            raise UnknownStructure(
                f"{name} of {type(model).__name__}: {len(found)} layers named like {endings[0]!r}, 1 needed"
            )
        return found[0]

    query, key, value, output = one(QUERY), one(KEY), one(VALUE), one(OUTPUT)
    rest = {n: m for n, m in linears.items() if n not in (query, key, value, output)}
    # By position, not by width: after pruning, the inner width may be the smaller one.
    *expand, contract = rest or [""]
    if not expand or len({(m.in_features, m.out_features) for n, m in rest.items() if n != contract}) != 1:
        raise UnknownStructure(f"{name} of {type(model).__name__}: no feed-forward part of the usual form")
    attention = query.rpartition(".")[0]
    module = get(model, attention)
    size = getattr(module, "attention_head_size", None) or getattr(module, "head_dim", None)
    if not size:
        raise UnknownStructure(f"{attention} of {type(model).__name__} does not say how wide a head is")
    return Block(name, query, key, value, output, tuple(expand), contract, attention, int(size))


def structure_reason(spec: ModelSpec, check: Callable[[nn.Module], object]) -> str | None:
    """Run `check` on a weightless skeleton of the model; the reason it gives for not fitting, or None."""
    key = json.dumps(spec.config, sort_keys=True, default=repr)
    try:
        model = _SKELETONS.pop(key, None) or skeleton(spec.config, device="meta")
    except Exception as error:  # transformers refuses a configuration in any way: no sdpa, a missing field
        return f"transformers cannot build {spec.name}: {' '.join(str(error).split()).partition('. ')[0]}"
    before = _parts(model)
    try:
        check(model)
    except PressbenchError as error:
        return str(error)
    finally:
        after = _parts(model)
        if len(after) == len(before) and all(map(operator.is_, after, before)):
            _SKELETONS[key] = model
            if len(_SKELETONS) > 8:
                del _SKELETONS[next(iter(_SKELETONS))]
    return None


_SKELETONS: dict[str, nn.Module] = {}
"""The skeletons asked about last, by configuration: a matrix asks each model as often as there are methods, and
building one takes a tenth of a second. One that a check has changed is not kept."""


def _parts(model: nn.Module) -> list[Any]:
    """What its modules hold: attributes, parameters and submodules. The objects themselves, as what is gone leaves
    its address to another."""
    config = vars(getattr(model, "config", nn.Identity())).values()
    held = ([*vars(m).values(), *m._parameters.values(), *m._modules.values()] for m in model.modules())
    return [*config, *itertools.chain.from_iterable(held)]


def keep_rows(layer: nn.Linear, rows: Tensor) -> nn.Linear:
    """A linear layer with only these outputs. rows: (kept,) int64 positions."""
    return _linear(layer.weight[rows], None if layer.bias is None else layer.bias[rows])


def keep_columns(layer: nn.Linear, columns: Tensor) -> nn.Linear:
    """A linear layer with only these inputs. columns: (kept,) int64 positions."""
    return _linear(layer.weight[:, columns], layer.bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def prune_heads(model: nn.Module, block: Block, heads: Sequence[int]) -> None:
    """Keep only these attention heads of a block. The result equals multiplying the other heads'
    outputs by zero (transformers 5 has no `prune_heads` of its own any more)."""
    size = block.head_size
    rows = torch.cat([torch.arange(h * size, (h + 1) * size) for h in heads])
    widths = {get(model, n).out_features for n in (block.query, block.key, block.value)}
    if len(widths) != 1:
        raise UnknownStructure(f"{block.attention}: grouped-query attention, its heads cannot be pruned one by one")
    if any(bias in name for name, _ in model.named_parameters() for bias in HEAD_BIAS):
        raise UnknownStructure(f"{block.attention}: a position bias for each head, they cannot be pruned one by one")
    for name in (block.query, block.key, block.value):
        replace(model, name, keep_rows(get(model, name), rows))
    replace(model, block.output, keep_columns(get(model, block.output), rows))
    attention = get(model, block.attention)
    for attribute in ("num_attention_heads", "num_heads"):
        if hasattr(attention, attribute):
            setattr(attention, attribute, len(heads))
    if hasattr(attention, "all_head_size"):
        attention.all_head_size = len(rows)


def prune_neurons(model: nn.Module, block: Block, neurons: Tensor) -> None:
    """Keep only these feed-forward neurons of a block. neurons: (kept,) int64 positions."""
    for name in block.expand:
        replace(model, name, keep_rows(get(model, name), neurons))
    replace(model, block.contract, keep_columns(get(model, block.contract), neurons))


def keep_layers(model: nn.Module, layers: Sequence[int], decoder: Sequence[int] | None = None) -> None:
    """Keep only these Transformer layers, in this order; of an encoder-decoder `layers` are the encoder's."""
    stacks = layer_lists(model)
    for name, kept in zip(stacks, (layers, decoder), strict=False):
        if kept is None:
            continue
        stack = get(model, name)
        replace(model, name, nn.ModuleList([stack[i] for i in kept]))
        for position, layer in enumerate(get(model, name)):
            for module in layer.modules():
                if hasattr(module, "layer_idx"):  # the key-value cache is indexed by it
                    module.layer_idx = position
    config: Any = model.config
    if len(stacks) > 1:
        return  # their numbers of layers have many names, and are read when a model is made only
    kinds = getattr(config, "layer_types", None)  # such as full and sliding attention, by position
    if hasattr(config, "num_hidden_layers"):
        config.num_hidden_layers = len(layers)
    if kinds is not None and len(kinds) > max(layers):
        config.layer_types = [kinds[i] for i in layers]


def check_removable(model: nn.Module) -> None:
    """Raises UnknownStructure where the layers are stages, each of which takes what only the one before it makes."""
    for name in layer_lists(model):
        shapes: dict[str, set[torch.Size]] = {}
        for layer in get(model, name):
            for part, values in layer.state_dict().items():
                shapes.setdefault(part, set()).add(values.shape)
        if any(len(found) > 1 for found in shapes.values()):
            raise UnknownStructure(f"the layers of {type(model).__name__} are stages of different widths: none can go")


def needed_layers(model: nn.Module, stack: str) -> set[int]:
    """The layers that hold something for all of them, as T5's first does its position bias."""
    parts = [frozenset(layer.state_dict()) for layer in get(model, stack)]
    usual = Counter(parts).most_common(1)[0][0]
    return {number for number, found in enumerate(parts) if found - usual}


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model with its floating-point weights as `dtype`, in place. What the constructor computes and no file holds,
    such as the frequencies of rotary positions, stays as it is, as transformers itself leaves it: bf16 holds them to
    2^-9 of themselves, so that position 512 could be taken for its neighbour."""
    for values in model.state_dict(keep_vars=True).values():
        if values.is_floating_point() and values.dtype != dtype:
            values.data = values.data.to(dtype)
    return model


def word_embedding(model: nn.Module) -> str | None:
    """The name of the token embedding, or None for a model without a vocabulary."""
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    if not isinstance(table, nn.Embedding):
        return None
    return names_of(model, table)[0]


def names_of(model: nn.Module, wanted: nn.Module) -> list[str]:
    """Every name of a module in the model: an encoder and a decoder may share one."""
    return [name for name, module in model.named_modules(remove_duplicate=False) if module is wanted]


def head_count(model: nn.Module, block: Block) -> int:
    """How many attention heads a block has now."""
    return operator.floordiv(get(model, block.query).out_features, block.head_size)
