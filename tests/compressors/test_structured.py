"""Structured pruning: smaller shapes that compute the same as zeros, and the right parts gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_architectures import make
from torch import Tensor, nn

from compressors import conformance, surgery, units
from compressors.build import build
from compressors.interface import Context, Examples, Hardware
from compressors.pruning.scored_units import best
from compressors.pruning.smaller_blocks import cut_all
from compressors.pruning.structured import PruneStructured
from compressors.pruning.unit_scores.taylor import importance
from compressors.tiny_specs import TINY_SPECS

HEADS, NEURONS = torch.tensor([0, 3]), torch.arange(5, 70)


def zero_others(width: int, keep: Tensor) -> object:
    """A hook that multiplies all but `keep` of a layer's inputs by zero."""
    mask = torch.zeros(width).index_fill(0, keep, 1)
    return lambda _module, args: (args[0] * mask,)


def exact(tiny: conformance.Subject, calibration: Examples) -> Context:
    """A context with that calibration data, computing in float32 throughout."""
    hardware = Hardware("cpu", "cpu-generic")
    return replace(tiny.context(PruneStructured()), calibration=calibration, hardware=hardware)


def test_cutting_equals_multiplying_by_zero(tiny: conformance.Subject) -> None:
    masked, smaller = tiny.dense.model(), tiny.dense.model()
    for block in units.blocks(masked):
        size = block.attention.head_size
        output, contract = surgery.get(masked, block.attention.output), surgery.get(masked, block.feed_forward.contract)
        columns = torch.cat([torch.arange(h * size, (h + 1) * size) for h in HEADS.tolist()])
        output.register_forward_pre_hook(zero_others(output.in_features, columns))
        contract.register_forward_pre_hook(zero_others(contract.in_features, NEURONS))
    for block in units.blocks(smaller):
        cut_all(smaller, [(block, [HEADS.tolist()], NEURONS)])
    with torch.inference_mode():
        expected, found = masked(**tiny.examples.inputs).logits, smaller(**tiny.examples.inputs).logits
    assert float((expected - found).abs().max()) <= 1e-6
    assert float((expected - tiny.examples.dense_logits).abs().max()) > 1e-2  # the zeros did something


def test_importance_is_gradient_times_activation(tiny: conformance.Subject) -> None:
    """Against finite differences: turning a part down a little changes the loss by that much."""
    model, one = tiny.dense.model(), tiny.examples[:1]
    found = importance(model, exact(tiny, one))
    block = units.blocks(model)[1]
    model = model.double()
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in one.inputs.items()}

    def loss(name: str, part: slice, factor: float) -> float:
        def scale(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            values = args[0].clone()
            values[..., part] *= factor
            return (values,)

        hook = surgery.get(model, name).register_forward_pre_hook(scale)
        with torch.inference_mode():
            value = torch.nn.functional.cross_entropy(model(**inputs).logits, one.labels)
        hook.remove()
        return float(value)

    step, size = 1e-4, block.attention.head_size
    output, contract = block.attention.output, block.feed_forward.contract
    for head in range(4):
        part = slice(head * size, (head + 1) * size)
        slope = (loss(output, part, 1 + step) - loss(output, part, 1 - step)) / (2 * step)
        assert float(found[1].heads[0][head]) == pytest.approx(abs(slope), rel=1e-3, abs=1e-6)
    for neuron in (0, 17, block.feed_forward.neurons - 1):
        part = slice(neuron, neuron + 1)
        slope = (loss(contract, part, 1 + step) - loss(contract, part, 1 - step)) / (2 * step)
        assert float(found[1].neurons[neuron]) == pytest.approx(abs(slope), rel=1e-3, abs=1e-6)


def test_examples_that_pull_apart_do_not_cancel(tiny: conformance.Subject) -> None:
    """The absolute value is taken for each example, so that batches do not matter."""
    model, context = tiny.dense.model(), exact(tiny, tiny.examples)
    for one, other in zip(importance(model, context, 16), importance(model, context, 1), strict=True):
        assert torch.allclose(one.heads[0], other.heads[0], rtol=1e-3, atol=1e-6)
        assert torch.allclose(one.neurons, other.neurons, rtol=1e-3, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_parts_that_do_nothing_go_first(tiny: conformance.Subject) -> None:
    model = tiny.dense.model()
    block = units.blocks(model)[0]
    size = block.attention.head_size
    with torch.no_grad():
        surgery.get(model, block.attention.output).weight[:, 2 * size : 3 * size] = 0
        surgery.get(model, block.feed_forward.contract).weight[:, 40:60] = 0
    scores = importance(model, tiny.context(PruneStructured()))[0]
    assert best(scores.heads[0], 0.25).tolist() == [0, 1, 3]
    assert not set(best(scores.neurons, 20 / 128).tolist()) & set(range(40, 60))


def test_share_removed_is_the_share_removed() -> None:
    scores = torch.tensor([3.0, 1.0, 4.0, 1.5, 5.0])
    assert best(scores, 0.4).tolist() == [0, 2, 4]
    assert best(scores, 0.2).tolist() == [0, 2, 3, 4]
    assert best(scores, 0.0).tolist() == [0, 1, 2, 3, 4]
    assert best(scores, 0.99).tolist() == [4]  # one always stays


def test_shapes_really_shrink_and_are_rebuilt(tiny: conformance.Subject, tmp_path: Path) -> None:
    compressor = PruneStructured(heads_removed=0.25, neurons_removed=0.75, recovery_epochs=0.5)
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    layers = len(units.blocks(tiny.dense.model()))
    assert made.recipe[0]["structure"] == {"heads": [3] * layers, "neurons": [32] * layers}
    model = made.model()
    for block in units.blocks(model):
        assert block.attention.heads == 3
        assert surgery.get(model, block.feed_forward.contract).in_features == 32
    assert made.inventory().parameters < 0.75 * tiny.dense.inventory().parameters


def test_pruning_can_follow_pruning(tiny: conformance.Subject, tmp_path: Path) -> None:
    compressor = PruneStructured(recovery_epochs=0)
    made = build([compressor, compressor], tiny.dense, tiny.context(compressor), tmp_path)
    inputs = {name: values.numpy() for name, values in tiny.examples.inputs.items()}
    assert made.recipe[1]["structure"]["heads"][0] == 1
    assert made.load(threads=1)(inputs).shape == (48, 3)


@pytest.mark.parametrize(
    ("parameters", "heads"),
    [
        ({"heads_removed": 0.5, "neurons_removed": 0.5}, [[2, 1]]),  # of each group one head
        ({"heads_removed": 0.0, "groups_removed": 0.5}, [[1, 2]]),
        ({"heads_removed": 0.5, "groups_removed": 0.5}, [[1, 1]]),
    ],
)
def test_heads_go_within_their_groups_or_groups_whole(
    parameters: dict[str, float], heads: list[list[int]], tmp_path: Path
) -> None:
    tiny = conformance.subject("llama")
    compressor = PruneStructured(**parameters, recovery_epochs=0)
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    assert made.recipe[0]["structure"]["heads"] == [heads] * 2
    assert {(b.attention.groups, b.attention.per_group) for b in units.blocks(made.model())} == {tuple(heads[0])}


def test_so_small_a_share_that_none_goes_is_unsupported() -> None:
    little = PruneStructured(heads_removed=0.01, neurons_removed=0.001)
    reason = little.supports(TINY_SPECS["bert"], conformance.HARDWARE)
    assert reason and "nothing would go" in reason
    assert PruneStructured().supports(TINY_SPECS["bert"], conformance.HARDWARE) is None


def test_without_labels_it_is_what_moves_the_hidden_states(tmp_path: Path) -> None:
    """Against the distance that the states really move by when a head is silent, which no gradient is asked for."""
    subject = make("bert-embedder", tmp_path)
    examples = Examples(subject.examples.inputs)
    plain = Hardware("cpu", "cpu-generic")
    context = Context(subject.spec, plain, subject.dense.model, calibration=examples)
    model = subject.dense.model()
    found = importance(model, context, batch_size=4)
    with torch.inference_mode():
        before = model(**examples.inputs).last_hidden_state
    mask = examples.inputs["attention_mask"].bool()
    moved = []
    for block in units.blocks(model):
        size = block.attention.head_size
        layer = surgery.get(model, block.attention.output)
        for head in range(block.attention.heads):
            part = slice(head * size, (head + 1) * size)

            def less(_module: nn.Module, args: tuple[Tensor, ...], part: slice = part) -> tuple[Tensor]:
                values = args[0].clone()
                values[..., part] *= 0.99
                return (values,)

            hook = layer.register_forward_pre_hook(less)
            with torch.inference_mode():
                change = (model(**examples.inputs).last_hidden_state - before) * mask[..., None]
            hook.remove()
            moved.append(float(change.flatten(1).norm(dim=1).mean()))
    scores = torch.cat([one.heads[0] for one in found])
    assert torch.corrcoef(torch.stack([scores, torch.tensor(moved)]))[0, 1] > 0.8  # random heads are nearly alike


@pytest.mark.parametrize(
    "parameters,message",
    [
        ({"heads_removed": 1.0}, "heads_removed = 1.0: must be a share from 0 to below 1"),
        ({"neurons_removed": -0.1}, "neurons_removed = -0.1"),
        ({"heads_removed": 0, "neurons_removed": 0}, "nothing would be pruned"),
        ({"recovery_epochs": float("nan")}, "recovery_epochs = nan"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneStructured(**parameters)
