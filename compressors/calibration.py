"""The loops over calibration data: what the layers of a model are given, padding left out; by all of the model at once,
or block after block, each fed by what the ones before it have become."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Context, Examples
from compressors.training import autocast, real_positions

See = Callable[[str, Tensor], None]
"""Called with (the name of a layer, what it is given: (positions, width) float32)."""


@torch.no_grad()
def watch_inputs(model: nn.Module, layers: Sequence[str], context: Context, see: See, *, batch_size: int = 16) -> None:
    """Run the calibration examples through `model`, batch by batch, and hand `see` what each of `layers` is given.

    Padding is left out, of an encoder-decoder that of what each layer reads. Layers that are given one tensor, such as
    query, key and value, get the same object one after another: what is made of it need be made once.
    Raises PressbenchError where the compressor did not declare that it needs "calibration".
    """
    batches = list(context.require_calibration().batches(batch_size))
    with _watched(model, layers, see) as now:
        for done, batch in enumerate(batches):
            now(batch)
            with autocast(context.hardware):
                model(**batch.inputs)
            context.progress("activations", done + 1, len(batches))


@contextlib.contextmanager
def _watched(model: nn.Module, layers: Sequence[str], see: See) -> Iterator[Callable[[Examples], None]]:
    """Within it `see` is told what `layers` are given. What it yields is to be called before each batch, with it."""
    masks: tuple[Tensor | None, Tensor | None] = None, None  # where no padding is, for an encoder and for a decoder
    last: tuple[object, Tensor] | None = None  # what a layer was given, and the rows of it
    of_decoder = _decoder_side(model)

    def now(batch: Examples) -> None:
        nonlocal masks, last
        masks, last = (real_positions(batch, decoder=False), real_positions(batch, decoder=True)), None

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        side = int(of_decoder(name))

        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            nonlocal last
            if last is None or last[0] is not given[0]:
                rows, real = given[0].flatten(0, -2).float(), masks[side]
                if real is not None and len(rows) == real.numel():
                    rows = rows[real.flatten()]
                last = (given[0], rows)
            with torch.autocast("cpu", enabled=False):  # sums of bf16 products would not even be positive definite
                see(name, last[1])

        return hook

    handles = [surgery.get(model, name).register_forward_pre_hook(watch(name)) for name in layers]
    try:
        yield now
    finally:
        for handle in handles:
            handle.remove()


def _decoder_side(model: nn.Module) -> Callable[[str], bool]:
    """Whether what a layer is given has the positions of what a decoder behind an encoder reads: all of it but keys and
    values of the attention to the encoder."""
    stacks = surgery.layer_lists(model)
    if len(stacks) == 1:
        return lambda name: False
    home = stacks[1].rpartition(".")[0] + "."
    crossing: set[str] = set()
    with contextlib.suppress(surgery.UnknownStructure):
        for block in units.blocks(model):
            if block.name.startswith(f"{stacks[1]}."):
                crossing |= {part.layer for one in block.attentions[1:] for part in (one.key, one.value)}
    return lambda name: name.startswith(home) and name not in crossing


Look = Callable[[Sequence[str], See], None]
"""Called with (names of layers, what is to see their inputs): runs the data through what they are in."""


def all_at_once(model: nn.Module, context: Context, batch_size: int = 16) -> Look:
    """What shows the inputs of any layers of the model as it is."""
    return lambda layers, see: watch_inputs(model, layers, context, see, batch_size=batch_size)


@dataclass
class _Call:
    """What a block was called with, beside the hidden states."""

    args: tuple[Any, ...]
    more: dict[str, Any]


@torch.no_grad()
def in_turn(model: nn.Module, context: Context, *, batch_size: int = 8) -> Iterator[tuple[str, Look]]:
    """Block after block of the model: its name, and what shows the inputs of its layers as the blocks before it now
    are. Change the block, then go on: the next is fed by the changed one.

    Where each block hands its answer to the next, as nearly everywhere, that costs two passes over the data, whatever
    the depth, of which the first ends at the last layer that is looked at, and one to begin with, of which all but the
    first batch end at the first block where all blocks are given the same; what a block takes beside the hidden states
    (masks, positions, an encoder's answer) is then that of the dense model. Elsewhere (one block that is called several
    times, stages) it is a pass a block.
    """
    batches = list(context.require_calibration().batches(batch_size))
    stacks = [[f"{s}.{i}" for i in range(len(surgery.get(model, s)))] for s in surgery.layer_lists(model)]
    found = _chains(model, stacks, batches, context)
    total = sum(map(len, stacks))
    for number, stack in enumerate(stacks):
        if found is None:
            for name in stack:
                yield name, all_at_once(model, context, batch_size)
            continue
        states, calls = found[number]
        for name in stack:
            block, own = surgery.get(model, name), calls.pop(name)

            def run(at: int, block: nn.Module = block, own: list[_Call] = own, states: list[Any] = states) -> Any:
                with autocast(context.hardware):
                    return _first(block(states[at], *own[at].args, **own[at].more))

            @torch.no_grad()
            def look(layers: Sequence[str], see: See, run: Any = run) -> None:
                shown: list[str] = []
                each_once = False  # in a pass through all of the block

                def also(layer: str, rows: Tensor) -> None:
                    see(layer, rows)
                    shown.append(layer)
                    if each_once and len(shown) == len(layers):
                        raise _Enough  # what the last of them answers is not asked for

                with _watched(model, layers, also) as now:
                    for at, batch in enumerate(batches):
                        now(batch)
                        shown.clear()
                        with contextlib.suppress(_Enough):
                            run(at)
                        if not at:
                            each_once = sorted(shown) == sorted(layers)

            yield name, look
            context.progress("blocks", total - sum(len(left) for _, left in found), total)
            if name != stack[-1]:
                states = [run(at) for at in range(len(batches))]


class _Enough(Exception):
    """All that is wanted of a pass is known."""


def _first(answer: Any) -> Any:
    return answer[0] if isinstance(answer, tuple) else answer


def _chains(
    model: nn.Module, stacks: list[list[str]], batches: list[Examples], context: Context
) -> list[tuple[list[Any], dict[str, list[_Call]]]] | None:
    """For each stack, what its first block is given of each batch, and what all are called with beside that. None where
    a block is not called once a batch, with what the one before it answered."""
    begin: list[list[Any]] = [[] for _ in stacks]
    calls: list[dict[str, list[_Call]]] = [{name: [] for name in stack} for stack in stacks]
    last: Any = None
    chained, first_alone = True, False

    def before(name: str, stack: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> None:
            nonlocal chained
            states = args[0] if args else more.get("hidden_states")
            if name == stacks[stack][0]:
                begin[stack].append(states)
            elif states is not last:
                chained = False
            call = _Call(args[1:], {key: value for key, value in more.items() if key != "hidden_states"})
            if first_alone:
                for own in calls[stack].values():
                    own.append(call)
                raise _Enough
            calls[stack][name].append(call)

        return hook

    def after(_module: nn.Module, _args: Any, answer: Any) -> None:
        nonlocal last
        last = _first(answer)

    handles = []
    for number, stack in enumerate(stacks):
        for name in stack:
            block = surgery.get(model, name)
            handles.append(block.register_forward_pre_hook(before(name, number), with_kwargs=True))
            handles.append(block.register_forward_hook(after))
    configs: list[Any] = list({id(c): c for m in model.modules() if (c := getattr(m, "config", None))}.values())
    caches = [(config, config.use_cache) for config in configs if hasattr(config, "use_cache")]
    try:
        for config, _ in caches:  # a block that is called again must not remember the first time
            config.use_cache = False
        for done, batch in enumerate(batches):
            with autocast(context.hardware), contextlib.suppress(_Enough):
                model(**batch.inputs)
            first_alone = chained and _given_alike(calls)
            context.progress("inputs of the blocks", done + 1, len(batches))
    finally:
        for handle in handles:
            handle.remove()
        for config, used in caches:
            config.use_cache = used
    once = all(len(own) == len(batches) for of in calls for own in of.values())
    return list(zip(begin, calls, strict=True)) if chained and once else None


def _given_alike(calls: list[dict[str, list[_Call]]]) -> bool:
    """Whether there is one stack, and all its blocks are called once a batch, with the very same things beside the
    hidden states."""
    if len(calls) > 1 or len({len(own) for own in calls[0].values()}) > 1:
        return False
    first, *others = (own[-1] for own in calls[0].values())
    return all(
        len(first.args) == len(other.args)
        and first.more.keys() == other.more.keys()
        and all(map(operator.is_, first.args, other.args))
        and all(first.more[key] is value for key, value in other.more.items())
        for other in others
    )
