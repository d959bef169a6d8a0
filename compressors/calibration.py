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
from compressors.interface import Context, Examples, PressbenchError
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


def squares(look: Look, layers: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> for each of its inputs the sum of squares over what it is given, (inputs,) float32.
    Raises PressbenchError for a layer that is given nothing."""
    sums: dict[str, Tensor] = {}

    def add(name: str, rows: Tensor) -> None:
        found = rows.square().sum(0)
        sums[name] = sums[name] + found if name in sums else found

    look(layers, add)
    return _all_seen(sums, layers)


def second_moments(look: Look, layers: Sequence[str]) -> dict[str, Tensor]:
    """Layer -> the sum of x xᵀ over what it is given, (inputs, inputs) float32: the Hessian of the error of its answers
    by each row of its weight, but for a factor. Raises PressbenchError for a layer that is given nothing."""
    sums: dict[str, Tensor] = {}
    last: tuple[Tensor, Tensor] | None = None  # query, key and value see one tensor: its product is computed once

    def add(name: str, rows: Tensor) -> None:
        nonlocal last
        if last is None or last[0] is not rows:
            last = (rows, gram(rows))
        sums[name] = sums[name].add_(last[1]) if name in sums else last[1].clone()

    look(layers, add)
    return {name: mirrored(values) for name, values in _all_seen(sums, layers).items()}


STRIPES = 4


def gram(rows: Tensor) -> Tensor:
    """Σ x xᵀ over `rows`, (positions, width), on and above the diagonal; what is below it is not to be read. Ten
    sixteenths of the work, as the matrix is symmetric."""
    width = rows.shape[1]
    found = rows.new_zeros(width, width)
    step = max(64, -(-width // STRIPES))
    for start in range(0, width, step):
        torch.mm(rows[:, start : start + step].T, rows[:, start:], out=found[start : start + step, start:])
    return found


def quadratic(rows: Tensor, moments: Tensor) -> float:
    """Σ xᵀ M x over `rows`, (n, width), M being `moments`, (width, width), symmetric: as `gram`, ten sixteenths of the
    work."""
    width = rows.shape[1]
    step = max(64, -(-width // STRIPES))
    total = 0.0
    for start in range(0, width, step):
        own, stop = rows[:, start : start + step], start + step
        total += float((own @ moments[start:stop, start:stop]).mul_(own).sum())
        if stop < width:
            total += 2 * float((own @ moments[start:stop, stop:]).mul_(rows[:, stop:]).sum())
    return total


def mirrored(upper: Tensor) -> Tensor:
    """The symmetric matrix with this upper triangle."""
    return upper.triu() + upper.triu(1).T


def cross_moments(look: Look, other: Look, layers: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """For each layer the sum of x xᵀ over what it is given in one model, and that of y xᵀ, y being what it is given at
    the same places in the `other`: (inputs, inputs) float32 each. Raises as `second_moments` does."""
    beside: dict[str, list[Tensor]] = {}
    other(layers, lambda name, rows: beside.setdefault(name, []).append(rows))
    own: dict[str, Tensor] = {}
    crossed: dict[str, Tensor] = {}
    last: tuple[Tensor, Tensor, Tensor] | None = None

    def add(name: str, rows: Tensor) -> None:
        nonlocal last
        theirs = beside[name].pop(0)
        if last is None or last[0] is not rows:
            last = (rows, mirrored(gram(rows)), theirs.T @ rows)
        for sums, found in ((own, last[1]), (crossed, last[2])):
            sums[name] = sums[name] + found if name in sums else found

    look(layers, add)
    return _all_seen(own, layers), crossed


def refitted(weight: Tensor, moments: Tensor, crossed: Tensor, damping: float) -> Tensor:
    """The weight, (outputs, inputs), whose answers to x are nearest to those of `weight` to y, by least squares.
    moments: Σ x xᵀ, crossed: Σ y xᵀ, (inputs, inputs). damping: of the mean diagonal, which pulls it to `weight`."""
    hold = damping * moments.diagonal().double().mean() * torch.eye(len(moments), dtype=torch.float64)
    dead = (moments.diagonal() == 0).double().diag()  # an input that is always zero keeps its weight
    wanted = weight.double() @ (crossed.double() + hold + dead)
    return torch.linalg.solve(moments.double() + hold + dead, wanted, left=False).to(weight.dtype)


def _all_seen(sums: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    for name in layers:
        if name not in sums:
            raise PressbenchError(f"the calibration data never reaches {name}: nothing can be said of its weights")
    return sums


def inverse_factor(moments: Tensor, damping: float) -> Tensor:
    """The upper triangular U of UᵀU = (H + damping · mean diagonal)⁻¹, (inputs, inputs) float64, by which methods that
    feed errors back go through the columns of a weight (Frantar et al. 2022). moments: H. An input that is always
    zero gets a diagonal of one: its weights do nothing, and hold nothing up."""
    hessian = moments.double().clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += damping * diagonal.mean()
    try:
        # H = R Rᵀ, R upper triangular: the factor of H with rows and columns reversed, put back. U is R's inverse.
        root = torch.linalg.cholesky(hessian.flip(0, 1)).flip(0, 1)
    except torch.linalg.LinAlgError:
        raise PressbenchError(f"damping = {damping!r}: too little for what this layer is given; raise it") from None
    identity = torch.eye(len(root), dtype=root.dtype, device=root.device)
    return torch.linalg.solve_triangular(root, identity, upper=True)
