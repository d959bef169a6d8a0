"""The structural edits a Transformer can take, shared by compressing and loading.

The layers are found by what they are, not by a table of architectures, so that a new model needs no edit here. The
heads and neurons inside of them are in `compressors.units`.
"""

from __future__ import annotations

import itertools
import json
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec, PressbenchError
from compressors.skeleton import NoFilling, skeleton


class UnknownStructure(PressbenchError):
    """The model is not built the way an edit needs; the message says what is missing."""


def get(model: nn.Module, name: str) -> Any:
    """The submodule (or attribute) called `name`, dots included."""
    return reduce(lambda at, part: getattr(at, "_modules", {}).get(part) or getattr(at, part), name.split("."), model)


def replace(model: nn.Module, name: str, module: nn.Module | nn.Parameter) -> None:
    """Put a module, or a parameter, in the place called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(get(model, parent) if parent else model, child, module)


def layer_list(model: nn.Module) -> str:
    """The name of the list that holds the Transformer layers: the outermost ModuleList of one class
    with at least four linear layers in one, others of which may be packed already. Of an encoder with a decoder, the
    encoder's."""
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
    return any(sum(is_linear(m) for m in block.modules()) >= 4 for block in module)


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


def structure_reason(spec: ModelSpec, check: Callable[[nn.Module], object], asked: tuple[Any, ...] = ()) -> str | None:
    """Run `check` on a weightless skeleton of the model; the reason it gives for not fitting, or None. asked: all but
    the model that the answer depends on: a check that takes long is then asked once for all who ask the same."""
    key = json.dumps(spec.config, sort_keys=True, default=repr)
    if not asked:
        return _structure_reason(spec, check, key)
    kept = (spec.name, key, repr(spec.inputs), spec.output, *asked)
    if kept not in _ANSWERS:
        _ANSWERS[kept] = _structure_reason(spec, check, key)
    return _ANSWERS[kept]


def _structure_reason(spec: ModelSpec, check: Callable[[nn.Module], object], key: str) -> str | None:
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


_ANSWERS: dict[tuple[Any, ...], str | None] = {}
"""What came of checks that say what they depend on."""
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
    if layer.weight.is_meta:
        return _empty(layer, layer.in_features, len(rows))
    return _linear(layer.weight[rows], None if layer.bias is None else layer.bias[rows])


def keep_columns(layer: nn.Linear, columns: Tensor) -> nn.Linear:
    """A linear layer with only these inputs. columns: (kept,) int64 positions."""
    if layer.weight.is_meta:
        return _empty(layer, len(columns), layer.out_features)
    return _linear(layer.weight[:, columns], layer.bias)


def _empty(like: nn.Linear, inputs: int, outputs: int) -> nn.Linear:
    """A layer without memory: to pick from a weight that has none takes torch longer than from one that has."""
    with NoFilling():
        return nn.Linear(inputs, outputs, like.bias is not None, device="meta", dtype=like.weight.dtype)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


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
    2^-9 of themselves, so that position 512 could be taken for its neighbour. Nor is anything rounded that a layer
    decodes weights with, which has a form of its own for them; it is told in which type to `answer_in`."""
    custom = [module for module in model.modules() if hasattr(module, "logical_weights")]
    kept = {id(values) for module in custom for values in module.buffers(recurse=False)}
    for values in model.state_dict(keep_vars=True).values():
        if values.is_floating_point() and values.dtype != dtype and id(values) not in kept:
            values.data = values.data.to(dtype)
    for module in model.modules():
        if callable(told := getattr(module, "answer_in", None)):
            told(dtype)
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


def head(model: nn.Module) -> str | None:
    """The name of the layer that answers with a number for each word of the vocabulary, or None."""
    if not predicts_tokens(model):
        return None
    return names_of(model, model.get_output_embeddings())[0]  # type: ignore[operator]


def check_tied(model: nn.Module, embedding_bits: int | None, head_bits: int | None) -> None:
    """Raises UnknownStructure where token embedding and output layer are one matrix that would get two numbers of
    bits."""
    table, last = word_embedding(model), head(model)
    if embedding_bits != head_bits and table and last and get(model, table).weight is get(model, last).weight:
        raise UnknownStructure(
            f"token embedding and output layer of {type(model).__name__} are one matrix: embedding_bits and head_bits "
            "must be equal"
        )


def predicts_tokens(model: nn.Module) -> bool:
    """Whether the model answers with a number for each word of its vocabulary."""
    head = getattr(model, "get_output_embeddings", None)
    return callable(head) and head() is not None


def names_of(model: nn.Module, wanted: nn.Module) -> list[str]:
    """Every name of a module in the model: an encoder and a decoder may share one."""
    return [name for name, module in model.named_modules(remove_duplicate=False) if module is wanted]
