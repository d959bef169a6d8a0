"""Heads and neurons in a tree: the branch goes whose removal costs least for each parameter, as measured.

Every other score estimates what a removal costs; here it is done, by a mask, and the loss is asked (the oracle of
Molchanov et al. 2017). That is dear, so whole branches are tried: halves of a layer's heads or neurons, halves of
these, and so on. The search is greedy and lazy (Minoux 1978; Leskovec et al. 2007, KDD): a branch is measured
again only where it seems the best, as what a removal costs changes little with what else is gone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import (
    Compressed,
    Context,
    Effect,
    Examples,
    Hardware,
    ModelSpec,
    PressbenchError,
    Unsupported,
)
from compressors.pruning.importance import Importance
from compressors.pruning.smaller_blocks import Kept, cut_all, rebuild
from compressors.pruning.unit_scores import activation
from compressors.recovery import Recovering
from compressors.training import real_positions, supervised
from compressors.units import Attention, FeedForward

BATCH = 16
ASKED = 768
"""Examples over the parts of a model that are asked at most: 64 of 12 parts, 12 of the 60 of 30 layers. At a depth of 3
each part takes some 15 measurements, so that 30 layers are 11,000 passes and not 58,000."""


@dataclass(frozen=True)
class Branch:
    """Units of one attention or feed-forward part that go together.

    layer: the one behind them. units: positions, of groups of heads or of neurons. width: inputs of the layer that are
    one unit. parameters: what goes with them. halves: the branch in two; none of a leaf.
    """

    layer: str
    units: tuple[int, ...]
    width: int
    parameters: int
    halves: tuple[Branch, ...] = ()

    def leaves(self) -> list[Branch]:
        """The least branches of it."""
        return [leaf for half in self.halves for leaf in half.leaves()] or [self]


Loss = Callable[[Sequence[Branch]], float]
"""What the model loses with these branches gone."""


def parts(model: nn.Module, depth: int, worth: Sequence[Importance] | None = None) -> list[Branch]:
    """Each attention and feed-forward part as a branch with `depth` halvings in it, those that cannot be halved left
    out, as are attentions whose stack shares a table of biases and must keep the same heads.

    worth: of every block's units. The less worthy half comes first, so that what a branch holds is worth about the
    same; without it they are halved as they stand.
    """
    found = []
    blocks = units.blocks(model)
    for number, (block, table) in enumerate(zip(blocks, units.shared_biases(model, blocks), strict=True)):
        own = None if worth is None else worth[number]
        for i, one in enumerate(block.attentions):
            if i == 0 and table is not None:
                continue
            groups = _order(one.groups, None if own is None else own.heads[i].view(one.groups, -1).sum(1))
            width = one.per_group * one.head_size
            found.append(_halved(one.output, groups, width, _parameters_of_group(model, one), depth))
        part = block.feed_forward
        neurons = _order(part.neurons, None if own is None else own.neurons)
        found.append(_halved(part.contract, neurons, 1, _parameters_of_neuron(model, part), depth))
    return [branch for branch in found if branch.halves]


def _order(count: int, worth: Tensor | None) -> tuple[int, ...]:
    return tuple(range(count) if worth is None else worth.sort(stable=True).indices.tolist())


def _halved(layer: str, positions: tuple[int, ...], width: int, each: int, depth: int) -> Branch:
    middle = len(positions) // 2
    pieces = (positions[:middle], positions[middle:]) if depth and middle else ()
    halves = tuple(_halved(layer, piece, width, each, depth - 1) for piece in pieces)
    return Branch(layer, positions, width, each * len(positions), halves)


def _parameters_of_group(model: nn.Module, attention: Attention) -> int:
    """Parameters that go with a group of heads: its rows and their biases, and the columns that read it."""
    rows = [(attention.key, 1), (attention.value, 1)]
    rows += [(part, attention.per_group) for part in (attention.query, *attention.also)]
    own = sum(heads * _row(model, part.layer) for part, heads in rows)
    columns = attention.per_group * surgery.get(model, attention.output).out_features
    return int(attention.head_size * (own + columns))


def _parameters_of_neuron(model: nn.Module, part: FeedForward) -> int:
    return int(sum(_row(model, layer) for layer, _ in part.expand) + surgery.get(model, part.contract).out_features)


def _row(model: nn.Module, layer: str) -> int:
    module = surgery.get(model, layer)
    return int(module.in_features) + (module.bias is not None)


def choose(whole: Sequence[Branch], budget: float, loss: Loss) -> list[Branch]:
    """The branches that go, in order, until their parameters are `budget`: always the one whose removal adds least to
    the loss for each of its parameters.

    A branch that is more than what is left to remove is taken apart, but for a leaf, by which the budget may be
    overshot; and the last leaf of a part stays. Before a branch goes, its halves are measured, and one of them goes in
    its place if that costs less. Into a branch that never seems the best nobody looks: a unit that is worth nothing
    may stay because of what it is together with.
    """
    gone: list[Branch] = []
    left = {part.layer: set(part.units) for part in whole}
    still, now = budget, loss(gone)
    # What a branch costs, its turn, how many were gone when that was measured, and the loss then.
    queue: list[tuple[float, int, int, float, Branch]] = []
    turns = itertools.count()
    opened: set[Branch] = set()

    def measure(branch: Branch) -> None:
        after = loss([*gone, branch])
        heapq.heappush(queue, ((after - now) / branch.parameters, next(turns), len(gone), after, branch))

    def may_go(branch: Branch) -> bool:
        fits = branch.parameters <= still or not branch.halves
        return fits and len(branch.units) < len(left[branch.layer])

    def offer(branch: Branch) -> None:
        if may_go(branch):
            measure(branch)
        else:
            open_up(branch)

    def open_up(branch: Branch) -> None:
        if branch not in opened:
            opened.add(branch)
            for half in branch.halves:
                offer(half)

    for part in whole:
        offer(part)
    while still > 0 and queue:
        cost, turn, known, after, branch = heapq.heappop(queue)
        if not left[branch.layer].issuperset(branch.units):
            continue  # it is gone, or one of its halves is; the other is in the queue
        if not may_go(branch):
            open_up(branch)
        elif known < len(gone):
            measure(branch)
        elif branch.halves and branch not in opened:
            open_up(branch)
            heapq.heappush(queue, (cost, turn, known, after, branch))
        else:
            gone.append(branch)
            left[branch.layer] -= set(branch.units)
            still -= branch.parameters
            now = after
    return gone


@contextlib.contextmanager
def masked(model: nn.Module, whole: Sequence[Branch]) -> Iterator[Callable[[Sequence[Branch]], None]]:
    """Within it the layers behind these parts are given their inputs times a mask; what it yields is called with the
    branches to silence, all others then speak."""
    masks = {part.layer: torch.ones(len(part.units) * part.width) for part in whole}

    def silence(gone: Sequence[Branch]) -> None:
        for mask in masks.values():
            mask.fill_(1)
        for branch in gone:
            masks[branch.layer].view(-1, branch.width)[list(branch.units)] = 0

    def watch(mask: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        return lambda _module, given: (given[0] * mask.to(given[0]), *given[1:])

    handles = [surgery.get(model, name).register_forward_pre_hook(watch(mask)) for name, mask in masks.items()]
    try:
        yield silence
    finally:
        for handle in handles:
            handle.remove()


def asked(model: nn.Module, context: Context) -> Callable[[], float]:
    """What asks `model`, as it is when called, for its loss on the calibration data: the cross-entropy to the labels,
    or of a model whose answers are hidden states the squared distance to what they are now, padding left out, over
    their square. In fp32: bf16 would round away what one branch costs. Raises Unsupported without labels."""
    calibration = context.require_calibration()
    batches = list(calibration.batches(BATCH))
    if context.model.output == "logits":
        if calibration.labels is None:
            raise Unsupported("the calibration data has no labels: what a removal costs needs a loss")

        def loss() -> float:
            with torch.no_grad():
                return sum(float(supervised(model, batch)) * len(batch) for batch in batches) / len(calibration)

        return loss
    with torch.no_grad():
        dense = [_states(model, batch) for batch in batches]
    size = sum(float(states.square().sum()) for states in dense)

    def distance() -> float:
        with torch.no_grad():
            pairs = zip(batches, dense, strict=True)
            return sum(float((_states(model, batch) - was).square().sum()) for batch, was in pairs) / size

    return distance


def _states(model: nn.Module, batch: Examples) -> Tensor:
    """The hidden states where there is no padding."""
    states = model(**batch.inputs).last_hidden_state
    real = real_positions(batch, decoder=False)
    return states[real] if real is not None and real.shape == states.shape[:-1] else states


def kept(model: nn.Module, gone: Sequence[Branch]) -> Iterator[Kept]:
    """Each block with what stays of it."""
    lost: dict[str, set[int]] = {}
    for branch in gone:
        lost.setdefault(branch.layer, set()).update(branch.units)
    for block in units.blocks(model):
        heads = [
            [head for head in range(one.heads) if head // one.per_group not in lost.get(one.output, ())]
            for one in block.attentions
        ]
        part = block.feed_forward
        neurons = [number for number in range(part.neurons) if number not in lost.get(part.contract, ())]
        yield block, heads, torch.tensor(neurons)


@dataclass(frozen=True)
class PruneTree(Recovering):
    """Removes the branches of heads and neurons, wherever in the model, that cost least for each parameter, then
    recovers by distillation. Layers end up with different numbers of both.

    removed: share of the parameters of all heads and neurons that goes. Heads that share a key and a value go
    together. Within a layer's part units are ordered by activation times the weights that read them, and halved
    `depth` times. examples: how many of the calibration examples each measurement asks, so many at most: the deeper
    the model, the more is measured, and the fewer are asked each time (see `ASKED`).
    recovery_epochs: passes over the training data. learning_rate: its peak.

    Does not remove whole attentions, feed-forward parts or layers: of each part one leaf of the tree stays. Heads
    whose biases a whole stack shares stay, and are not counted.
    """

    name: ClassVar[str] = "prune-tree"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"removed": (0.25, 0.5, 0.75)}

    removed: float = 0.5
    depth: int = 3
    examples: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.removed < 1:
            raise ValueError(f"removed = {self.removed!r}: must lie between 0 and 1, both excluded")
        if not 1 <= self.depth <= 8:
            raise ValueError(f"depth = {self.depth!r}: must be 1 (halves) to 8")
        if self.examples < 1:
            raise ValueError(f"examples = {self.examples!r}: must be at least 1")
        super().__post_init__()

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            whole = parts(surgery.as_linears(skeleton), self.depth)
            budget = self._budget(whole)
            most = sum(part.parameters - max(leaf.parameters for leaf in part.leaves()) for part in whole)
            if not whole or most < budget:
                share = most / max(1, sum(part.parameters for part in whole))
                raise surgery.UnknownStructure(
                    f"removed = {self.removed:g}: at depth = {self.depth} only {share:.0%} of heads and neurons can go"
                )
            cut_all(skeleton, kept(skeleton, choose(whole, budget, lambda gone: 0.0)))

        return surgery.structure_reason(model, check)

    def _budget(self, whole: Sequence[Branch]) -> float:
        return self.removed * sum(part.parameters for part in whole)

    def chosen(self, model: nn.Module, context: Context) -> list[Branch]:
        """The branches that go, in order."""
        asked_each = min(self.examples, max(4, ASKED // len(parts(model, self.depth))))
        few = dataclasses.replace(context, calibration=context.require_calibration()[:asked_each])
        whole = parts(model, self.depth, activation.importance(model, few))
        budget, ask = self._budget(whole), asked(model, few)
        with masked(model, whole) as silence:

            def loss(gone: Sequence[Branch]) -> float:
                silence(gone)
                done = sum(branch.parameters for branch in gone[:-1])
                context.progress("parameters removed", min(done, int(budget)), int(budget))
                if not math.isfinite(found := ask()):
                    raise PressbenchError(f"{self.name}: the loss on the calibration data is {found}: nothing to go by")
                return found

            return choose(whole, budget, loss)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        surgery.as_linears(model)
        structure = cut_all(model, kept(model, self.chosen(model, context)))
        self.recover(model, context)
        return Compressed(model, structure)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return rebuild(surgery.as_linears(model), structure)
