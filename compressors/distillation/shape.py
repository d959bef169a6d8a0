"""The shape of a student, in the words of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from compressors import surgery, units
from compressors.distillation.layers import spread
from compressors.skeleton import skeleton
from compressors.surgery import UnknownStructure

LAYERS = (
    "num_hidden_layers", "num_layers", "n_layers", "n_layer", "encoder_layers", "decoder_layers", "num_decoder_layers",
)  # fmt: skip
WIDTH = ("hidden_size", "d_model", "dim", "n_embd")
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "encoder_attention_heads", "decoder_attention_heads")
GROUPS = ("num_key_value_heads",)
NEURONS = ("intermediate_size", "d_ff", "hidden_dim", "ffn_dim", "n_inner", "encoder_ffn_dim", "decoder_ffn_dim")
"""What configurations call these; a student's are set wherever its teacher's are."""
AGAIN = "num_hidden_groups"
"""ALBERT's for its layers, through which it goes as often as its number of layers says: that stays."""
AS_WIDTH = ("word_embed_proj_dim", "pooler_hidden_size")
"""What is set to the student's width where it was the teacher's."""
HEAD_SIZE = ("head_dim", "d_kv")
"""A head's own size; without one a head has its share of the width."""
OF_STAGES = ("stage_names", "out_features", "out_indices")
"""What backbones say of their layers, and find out by themselves."""
STEP = 8
"""Shares of a width or of neurons are rounded to a multiple of it: what kernels take at a time."""


@dataclass(frozen=True)
class Shape:
    """chosen: for each stack the teacher's layers that the student's stand for. heads, groups: of each attention.
    head_size: the student's. config: what to change in the teacher's configuration."""

    chosen: list[list[int]]
    width: int
    heads: int
    groups: int
    head_size: int
    neurons: int
    config: dict[str, Any]


def student(model: nn.Module, config: Mapping[str, Any], *, empty: bool = True, device: str = "cpu") -> nn.Module:
    """A model of the class of `model` whose configuration differs by `config`, its Conv1D as linear layers.
    Raises UnknownStructure where transformers makes none of it."""
    settings = {**model.config.to_dict(), **config, "architectures": [type(model).__name__]}  # type: ignore[union-attr,operator]
    for name in OF_STAGES:
        settings.pop(name, None)
    try:
        return surgery.as_linears(skeleton(settings, device=device, empty=empty))
    except Exception as error:  # a configuration is refused in any way
        told = " ".join(str(error).split()).partition(". ")[0]
        raise UnknownStructure(f"transformers makes no {type(model).__name__} of this shape: {told}") from None


def count(value: float, have: int, what: str, step: int = 1) -> int:
    """How many `value` of `have` are: that many, or below 1 that share of them in whole steps; 0 is all of them.
    Raises UnknownStructure where that is more than there are."""
    found = have if not value else round(value) if value >= 1 else max(step, step * round(value * have / step))
    if found > have:
        raise UnknownStructure(f"{what} = {value:g}: the model has {have}, and its student cannot be larger")
    return min(found, have)


def shape(model: nn.Module, *, layers: float, width: float, heads: float, neurons: float) -> Shape:
    """The student that these numbers mean, see `count`; without a number of heads they are as wide as the teacher's, or
    as many as the width leaves in proportion.

    Raises UnknownStructure where the configuration does not tell a part, and where it cannot be built."""
    before: dict[str, Any] = model.config.to_dict()  # type: ignore[union-attr,operator]
    of = type(model).__name__
    surgery.check_removable(model)
    depths = [len(surgery.get(model, stack)) for stack in surgery.layer_lists(model)]
    blocks = units.blocks(model)
    attention, inner = blocks[0].attention, blocks[0].feed_forward.neurons
    have = next((int(before[name]) for name in WIDTH if name in before), 0)
    if not have or not any(name in before for name in HEADS):
        raise UnknownStructure(f"the configuration of {of} tells neither width nor heads, as {WIDTH[0]!r} does")
    deep = count(layers, max(depths), "layers")
    implied = not any(before.get(name) for name in HEAD_SIZE)
    step = attention.head_size if implied and not heads else STEP
    wide = count(width, have, "width", step)
    own = _heads(heads, attention, wide / have, implied)
    if implied and wide % own:
        raise UnknownStructure(f"a width of {wide} has no {own} heads of one size")
    groups = own // attention.per_group if own % attention.per_group == 0 else attention.groups
    if own % groups:
        told = f"{own} heads: whole groups of {attention.per_group}, or as many from each of its {attention.groups}"
        raise UnknownStructure(f"{told}, must stay")
    narrow = count(neurons, inner, "neurons", STEP)
    chosen = [spread(depth, min(depth, deep)) for depth in depths]
    passes = int(before[LAYERS[0]]) if AGAIN in before else deep
    values = {LAYERS: passes, (AGAIN,): deep, WIDTH: wide, HEADS: own, GROUPS: groups, NEURONS: narrow}
    after: dict[str, Any] = {name: value for names, value in values.items() for name in names if name in before}
    after |= {name: wide for name in AS_WIDTH if before.get(name) == have}
    kinds = before.get("layer_types")
    if kinds is not None:
        after["layer_types"] = [kinds[i] for i in chosen[0]]
    changed = {name: value for name, value in after.items() if before[name] != value}
    size = wide // own if implied else attention.head_size
    return Shape(chosen, wide, own, groups, size, narrow, changed)


def _heads(heads: float, attention: units.Attention, share: float, implied: bool) -> int:
    if heads:
        return count(heads, attention.heads, "heads")
    if implied:
        return max(1, round(share * attention.heads))
    return attention.per_group * max(1, round(share * attention.groups))


def differing(model: nn.Module, other: nn.Module) -> Sequence[str]:
    """The names of the weights that are not of one shape in both."""
    own, others = ({name: v.shape for name, v in m.state_dict().items()} for m in (model, other))
    return [name for name in own | others if own.get(name) != others.get(name)]
