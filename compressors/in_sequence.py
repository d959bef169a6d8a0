"""Layers changed one after the other, each by what it is given once the ones before it were changed.

That of GPTQ's own code ("true sequential"): within a block too, not from one to the next alone. It takes one pass over
the data, since the pass that shows what a layer is given goes on through the layer as it has become, where changing
whole blocks takes two: one to look, and one to feed the next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.calibration import Look, cross_moments, gram, in_turn, mirrored, second_moments, watch_inputs
from compressors.interface import Context, PressbenchError

AT_ONCE = 32_768
"""Positions (tokens, patches) that go through a layer at once at most: all that a block has computed of them is held.
More of them go through block by block, whose layers are then fed by the blocks before theirs alone."""


@dataclass(frozen=True)
class Given:
    """What some layers are given. moments: (inputs, inputs) float32, the sum of x xᵀ. crossed: that of y xᵀ, y being
    what they are given at the same places in another model, where one was asked for."""

    moments: Tensor
    crossed: Tensor | None = None


Change = Callable[[Sequence[str], Given], None]
"""Called with (names of layers that are given the same, what they are given), to change these layers in place."""


@torch.no_grad()
def in_sequence(
    model: nn.Module,
    context: Context,
    layers: Sequence[str],
    change: Change,
    what: str,
    beside: nn.Module | None = None,
) -> None:
    """Call `change` once for every one of `layers`, which lie in the blocks of `model`; those together that are given
    one tensor, such as query, key and value. what: names the method in errors. beside: another model of this shape, for
    `Given.crossed`.

    Layer after layer where a look at one example shows that each is called once; else, and where there is more data
    than `AT_ONCE`, block after block. Raises PressbenchError where a layer is given what is not finite, or nothing.
    """

    def checked(names: Sequence[str], given: Given) -> None:
        if not bool(given.moments.isfinite().all()):
            raise PressbenchError(f"{what}: what {names[0]} is given by the calibration data is not finite")
        change(names, given)

    groups = _given_one_tensor(model, context, layers)
    other = None if beside is None else in_turn(beside, context, once=groups is not None)
    for block, look in in_turn(model, context, once=groups is not None):
        theirs = None if other is None else next(other)[1]
        own = [name for name in layers if name.startswith(f"{block}.")]
        if groups is None:
            _by_block(look, theirs, own, checked)
        elif own:
            _by_layer(look, theirs, own, groups, checked)


def _by_block(look: Look, theirs: Look | None, own: Sequence[str], change: Change) -> None:
    if theirs is None:
        moments, crossed = second_moments(look, own), dict[str, Tensor]()
    else:
        moments, crossed = cross_moments(look, theirs, own)
    groups: list[list[str]] = []
    for name in own:
        if groups and torch.equal(moments[groups[-1][0]], moments[name]):
            groups[-1].append(name)
        else:
            groups.append([name])
    for group in groups:
        change(group, Given(moments[group[0]], crossed.get(group[0])))


def _by_layer(
    look: Look, theirs: Look | None, own: Sequence[str], groups: dict[str, list[str]], change: Change
) -> None:
    """The block is called once, with all the data: `see` comes before a layer answers, and changes it."""
    beside: dict[str, Tensor] = {}
    if theirs is not None:
        theirs(own, beside.__setitem__)
    last: Tensor | None = None

    def see(name: str, rows: Tensor) -> None:
        nonlocal last
        if name in groups:
            last = rows
            crossed = beside[name].T @ rows if beside else None
            change(groups[name], Given(mirrored(gram(rows)), crossed))
        elif last is not rows:
            raise PressbenchError(f"{name} is given one tensor with another layer in one example, and not in all")
        beside.pop(name, None)

    look(own, see)


def _given_one_tensor(model: nn.Module, context: Context, layers: Sequence[str]) -> dict[str, list[str]] | None:
    """The layers that are given one tensor, by the first of them that is called. None where to go layer by layer is not
    possible."""
    calibration = context.require_calibration()
    if not len(calibration):
        return None  # where it is told which layer is given nothing
    calls: list[str] = []
    groups: dict[str, list[str]] = {}
    last: Tensor | None = None
    most = 0

    def see(name: str, rows: Tensor) -> None:
        nonlocal last, most
        calls.append(name)
        most = max(most, len(rows))
        if rows is last:
            groups[next(reversed(groups))].append(name)
        else:
            groups[name] = [name]
        last = rows

    watch_inputs(model, layers, dataclasses.replace(context, calibration=calibration[:1]), see)
    once = len(calls) == len(layers) == len(set(calls))
    padded = [values[0].numel() for values in calibration.inputs.values() if not values.is_floating_point()]
    return groups if once and max([most, *padded]) * len(calibration) <= AT_ONCE else None
