"""Branches of heads and neurons: against an exhaustive search, and what is left against what was silenced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_architectures import make
from torch import nn

from compressors import conformance, registry, surgery, units
from compressors.build import build
from compressors.conformance import Subject, subject
from compressors.interface import NOT_SCORED, Context, Examples, Hardware, PressbenchError, Unsupported
from compressors.pruning.smaller_blocks import cut_all
from compressors.pruning.tree import Branch, PruneTree, choose, kept, masked, parts
from compressors.pruning.unit_scores import activation
from compressors.registry import unsupported_reason


def exact(tiny: Subject) -> Context:
    """On a machine that computes in fp32."""
    return dataclasses.replace(tiny.context(PruneTree()), hardware=Hardware("cpu", "cpu-generic"))


def embedder(folder: Path) -> tuple[nn.Module, Context]:
    """A tiny BERT whose answers are its hidden states; its data has no labels."""
    made = make("bert-embedder", folder)
    plain = Hardware("cpu", "cpu-generic")
    calibration = Examples(made.examples.inputs)[:16]
    return made.dense.model(), Context(made.spec, plain, made.dense.model, calibration=calibration)


def size(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def less(model: nn.Module, branch: Branch) -> int:
    """How many parameters fewer the model has when the branch is really cut, of a model that may be changed."""
    before = size(model)
    cut_all(model, kept(model, [branch]))
    return before - size(model)


def branches(whole: Sequence[Branch]) -> list[Branch]:
    """All branches of all depths, the parts themselves left out."""
    return [inner for part in whole for half in part.halves for inner in (half, *branches([half]))]


# -- the search ------------------------------------------------------------------------------------


def grown(layer: str, count: int, each: int, depth: int) -> Branch:
    """A part of `count` units, halved as they stand."""

    def halved(positions: tuple[int, ...], depth: int) -> Branch:
        middle = len(positions) // 2
        pieces = (positions[:middle], positions[middle:]) if depth and middle else ()
        halves = tuple(halved(piece, depth - 1) for piece in pieces)
        return Branch(layer, positions, 1, each * len(positions), halves)

    return halved(tuple(range(count)), depth)


class Asked:
    """A loss that is the sum of what each unit costs, to a power, and counts how often it is asked."""

    def __init__(self, costs: Mapping[str, Sequence[float]], power: float = 1.0) -> None:
        self.costs, self.power, self.times = costs, power, 0

    def __call__(self, gone: Sequence[Branch]) -> float:
        self.times += 1
        return sum(self.costs[branch.layer][unit] for branch in gone for unit in branch.units) ** self.power


def test_it_is_what_a_parameter_costs_and_not_a_unit() -> None:
    whole = [grown("few large", 2, 100, 1), grown("many small", 20, 2, 1)]
    gone = choose(whole, 110, Asked({"few large": [1, 5], "many small": [0.1] * 20}))
    assert [(branch.layer, branch.units) for branch in gone] == [
        ("few large", (0,)),  # 1 / 100, and not 1 for a unit
        ("many small", tuple(range(10))),  # 1 / 20, and not 0.1 for a unit; half of it would have done, but is a leaf
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("power", [1.0, 1.5])
def test_lazy_is_as_good_as_measuring_all_anew_and_asks_less(seed: int, power: float) -> None:
    """Against a plain greedy search over leaves, each measured anew at every step."""
    coin = np.random.default_rng(seed)
    whole = [grown(f"part {i}", 8, int(coin.integers(1, 9)), 3) for i in range(12)]
    costs = {part.layer: list(coin.random(8)) for part in whole}
    flat = [dataclasses.replace(part, halves=tuple(part.leaves())) for part in whole]
    budget = 0.4 * sum(part.parameters for part in whole)
    lazy, eager = Asked(costs, power), Asked(costs, power)
    found = [(branch.layer, branch.units) for branch in choose(flat, budget, lazy)]

    gone: list[Branch] = []
    while sum(branch.parameters for branch in gone) < budget:
        now = eager(gone)
        left = {part.layer: len(part.units) - sum(b.layer == part.layer for b in gone) for part in flat}
        free = [leaf for part in flat for leaf in part.halves if leaf not in gone and left[part.layer] > 1]
        gone.append(min(free, key=lambda leaf: (eager([*gone, leaf]) - now) / leaf.parameters))
    assert found == [(branch.layer, branch.units) for branch in gone]
    assert lazy.times < eager.times / 4
    tree = Asked(costs, power)
    choose(whole, budget, tree)
    assert tree.times <= len(branches(whole)) + 3 * len(found)  # no branch is looked at twice for nothing


@pytest.mark.parametrize("kind", ["llama", "bert", "vit"])
def test_the_first_choice_is_the_least_of_all_for_each_parameter(kind: str) -> None:
    """Each half is cut in a model of its own, in float64: its parameters are counted there, and its loss asked."""
    tiny = subject(kind)
    model, context = tiny.dense.model(), exact(tiny)
    examples = context.require_calibration()
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in examples.inputs.items()}

    def loss(model: nn.Module) -> float:
        with torch.inference_mode():
            logits = model.double()(**inputs).logits
        assert examples.labels is not None
        return float(nn.functional.cross_entropy(logits.flatten(0, -2), examples.labels.flatten()))

    dense, costs = loss(tiny.dense.model()), {}
    for branch in branches(parts(model, 1, activation.importance(model, context))):
        smaller = tiny.dense.model()
        fewer = less(smaller, branch)
        assert fewer == branch.parameters
        costs[branch] = (loss(smaller) - dense) / fewer
    assert len(costs) == 4 * len(units.blocks(model))
    first = PruneTree(depth=1, removed=0.3).chosen(model, context)[0]
    assert first == min(costs, key=lambda branch: costs[branch])


@pytest.mark.parametrize(
    ("silent", "left"), [({0: [1, 3], 2: [0, 2]}, [2, 4, 2]), ({1: [2]}, [4, 3, 4]), ({0: [0], 1: [3]}, [3, 3, 4])]
)
def test_heads_that_say_nothing_go_and_no_others(silent: dict[int, list[int]], left: list[int], tmp_path: Path) -> None:
    """Nothing costs less than nothing where the loss is a distance; the answers stay what they were."""
    model, context = embedder(tmp_path)
    blocks = units.blocks(model)
    with torch.no_grad():
        for number, heads in silent.items():
            value = surgery.get(model, blocks[number].attention.value.layer)
            for head in heads:
                value.weight[16 * head : 16 * head + 16] = 0
                value.bias[16 * head : 16 * head + 16] = 0
        before = model(**context.require_calibration().inputs).last_hidden_state
    whole = parts(model, 2)
    budget = whole[0].parameters // 4 * sum(map(len, silent.values()))
    compressor = PruneTree(depth=2, removed=budget / sum(part.parameters for part in whole), recovery_epochs=0)
    gone = compressor.chosen(model, context)
    assert {(b.layer, unit) for b in gone for unit in b.units} == {
        (blocks[number].attention.output, head) for number, heads in silent.items() for head in heads
    }
    smaller = compressor.compress(model, context)
    assert smaller.structure == {"heads": left, "neurons": [128] * 3}
    with torch.no_grad():
        after = smaller.model(**context.require_calibration().inputs).last_hidden_state
    assert torch.allclose(before, after, atol=1e-5)


def test_padding_has_no_say(tmp_path: Path) -> None:
    model, context = embedder(tmp_path)
    examples = context.require_calibration()
    padded = examples.inputs["attention_mask"] == 0
    other = {**examples.inputs, "input_ids": examples.inputs["input_ids"].masked_fill(padded, 9)}
    changed = dataclasses.replace(context, calibration=Examples(other))
    compressor = PruneTree(depth=1, removed=0.3)
    assert compressor.chosen(model, context) == compressor.chosen(model, changed)


def test_it_asks_no_more_examples_than_it_is_told(tiny_bert: Subject) -> None:
    model, rows = tiny_bert.dense.model(), []
    model.register_forward_pre_hook(lambda _m, _a, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    compressor = PruneTree(examples=5, depth=3)
    compressor.chosen(model, exact(tiny_bert))
    assert set(rows) == {5}
    nodes = len(branches(parts(model, 3)))
    assert len(rows) < 2 * nodes  # of 4 layers, 8 parts, 14 branches each but for single heads


def test_one_example_is_one(tiny_bert: Subject) -> None:
    model, rows = tiny_bert.dense.model(), []
    model.register_forward_pre_hook(lambda _m, _a, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    PruneTree(examples=1, depth=1).chosen(model, exact(tiny_bert))
    assert set(rows) == {1}


def test_a_loss_that_is_not_finite_is_nothing_to_go_by() -> None:
    """The fault: no scored label, a loss of NaN, and branches by chance."""
    tiny = subject("llama")
    context = exact(tiny)
    assert context.calibration is not None and context.calibration.labels is not None
    blind = Examples(context.calibration.inputs, torch.full_like(context.calibration.labels, NOT_SCORED))
    with pytest.raises(PressbenchError, match="prune-tree: the loss on the calibration data is nan: nothing to go by"):
        PruneTree(depth=1).chosen(tiny.dense.model(), dataclasses.replace(context, calibration=blind))


def test_weights_of_16_bits_are_masked_too(tmp_path: Path) -> None:
    tiny = subject("bert")
    steps = (registry.build("torch-bf16"), PruneTree(depth=1, recovery_epochs=0))
    assert build(steps, tiny.dense, tiny.context(*steps), tmp_path).model() is not None


def test_of_a_deep_model_it_asks_fewer_examples(tiny_bert: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = tiny_bert.dense.model(), []
    model.register_forward_pre_hook(lambda _m, _a, given: rows.append(len(given["input_ids"])), with_kwargs=True)
    monkeypatch.setattr("compressors.pruning.tree.ASKED", 48)  # 4 layers have 8 parts
    PruneTree().chosen(model, exact(tiny_bert))
    assert set(rows) == {6}


# -- what is left ----------------------------------------------------------------------------------


@pytest.mark.parametrize("removed", [0.25, 0.5, 0.7])
@pytest.mark.parametrize("kind", ["llama", "bert", "vit"])
def test_the_share_is_reached_and_overshot_by_a_leaf_at_most(kind: str, removed: float) -> None:
    tiny = subject(kind)
    compressor = PruneTree(removed=removed, recovery_epochs=0)
    whole = parts(tiny.dense.model(), compressor.depth)
    total = sum(part.parameters for part in whole)
    largest = max(leaf.parameters for part in whole for leaf in part.leaves())
    model = tiny.dense.model()
    every = sum(surgery.get(model, name).weight.numel() for block in units.blocks(model) for name in block.linears)
    assert total / every == pytest.approx(1, abs=0.02)  # all that lies in linear layers, and some biases
    gone = size(model) - size(compressor.compress(model, exact(tiny)).model)
    assert removed * total <= gone < removed * total + largest


@pytest.mark.parametrize("kind", ["llama", "bert", "vit"])
def test_what_is_cut_answers_as_what_was_silenced(kind: str, tmp_path: Path) -> None:
    """Also from disk, where blocks have different numbers of heads and neurons."""
    tiny = subject(kind)
    compressor = PruneTree(removed=0.6, recovery_epochs=0)
    model, context = tiny.dense.model(), exact(tiny)
    gone = compressor.chosen(model, context)
    with masked(model, parts(model, 1)) as silence, torch.inference_mode():
        silence(gone)
        wanted = model(**tiny.examples.inputs).logits.numpy()
    with torch.inference_mode():
        dense = model(**tiny.examples.inputs).logits.numpy()
    made = build([compressor], tiny.dense, context, tmp_path)
    found = made.load(threads=1)({name: values.numpy() for name, values in tiny.examples.inputs.items()})
    assert float(np.abs(found - wanted).max()) <= 1e-4
    assert float(np.abs(dense - wanted).max()) > 1e-1  # what is silent is missed
    structure = made.recipe[0]["structure"]
    assert len(set(structure["neurons"])) > 1
    if kind == "llama":  # a group goes with both of its heads
        assert all(shape in ([[1, 2]], [[2, 2]]) for shape in structure["heads"])


# -- what does not fit -----------------------------------------------------------------------------


def test_what_so_coarse_a_tree_cannot_reach_is_unsupported() -> None:
    reason = unsupported_reason(PruneTree(removed=0.75, depth=1), subject("bert").spec, conformance.HARDWARE)
    assert reason == "prune-tree: removed = 0.75: at depth = 1 only 50% of heads and neurons can go"


def test_without_labels_or_hidden_states_it_says_so(tiny_bert: Subject) -> None:
    blind = dataclasses.replace(exact(tiny_bert), calibration=Examples(tiny_bert.examples.inputs))
    with pytest.raises(Unsupported, match="has no labels"):
        PruneTree().compress(tiny_bert.dense.model(), blind)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PruneTree(removed=1.0), "removed = 1.0: must lie between 0 and 1"),
        (lambda: PruneTree(depth=0), "depth = 0: must be 1"),
        (lambda: PruneTree(examples=0), "examples = 0: must be at least 1"),
        (lambda: PruneTree(recovery_epochs=-1), "recovery_epochs = -1"),
    ],
)
def test_a_wrong_parameter_is_named(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
