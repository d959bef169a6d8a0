"""Each score of heads and neurons against a direct loop, and what it makes go."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from compressors import registry, surgery
from compressors.conformance import Subject, subject
from compressors.interface import Context, Examples, Hardware, PressbenchError, Unsupported
from compressors.pruning.structured import SCORES, PruneStructured
from compressors.pruning.unit_scores import activation, magnitude, random
from compressors.units import blocks

KINDS = ("bert", "vit", "llama")  # llama: two heads share a key and a value, a neuron has a gate


def exact(tiny: Subject, seed: int = 0) -> Context:
    """On a machine that computes in fp32."""
    return dataclasses.replace(tiny.context(PruneStructured(), seed=seed), hardware=Hardware("cpu", "cpu-generic"))


@pytest.mark.parametrize("kind", KINDS)
def test_magnitude_is_a_direct_loop(kind: str) -> None:
    tiny = subject(kind)
    found = magnitude.importance(tiny.dense.model(), exact(tiny))
    model = tiny.dense.model().double()

    def weight(name: str) -> Tensor:
        return surgery.get(model, name).weight.detach()

    for block, own in zip(blocks(model), found, strict=True):
        one, part = block.attention, block.feed_forward
        for head in range(one.heads):
            at = slice(16 * head, 16 * head + 16)
            shared = slice(16 * (head // one.per_group), 16 * (head // one.per_group) + 16)
            total = weight(one.query.layer)[at].square().sum() + weight(one.output)[:, at].square().sum()
            total += weight(one.key.layer)[shared].square().sum() + weight(one.value.layer)[shared].square().sum()
            assert float(own.heads[0][head]) == pytest.approx(float(total.sqrt()), rel=1e-5)
        assert own.neurons.shape == (128,)
        for neuron in (0, 1, 77, 127):
            total = weight(part.contract)[:, neuron].square().sum()
            for layer, _ in part.expand:
                total += weight(layer)[neuron].square().sum()
            assert float(own.neurons[neuron]) == pytest.approx(float(total.sqrt()), rel=1e-5)
    assert len(blocks(model)[0].feed_forward.expand) == 1 + (kind == "llama")


@pytest.mark.parametrize("kind", KINDS)
def test_activation_is_a_direct_loop_over_what_is_no_padding(kind: str) -> None:
    tiny = subject(kind)
    context = exact(tiny)
    found = activation.importance(tiny.dense.model(), context)
    model = tiny.dense.model().double()
    given: dict[str, list[Tensor]] = {}
    for block in blocks(model):
        for name in (block.attention.output, block.feed_forward.contract):
            keep = given.setdefault(name, []).append
            surgery.get(model, name).register_forward_pre_hook(lambda _m, args, keep=keep: keep(args[0][0]))
    examples = context.require_calibration()
    for one in examples.batches(1):
        inputs = {n: v.double() if v.is_floating_point() else v for n, v in one.inputs.items()}
        with torch.inference_mode():
            model(**inputs)
    mask = examples.inputs.get("attention_mask")

    def score(name: str, columns: slice) -> float:
        """The root of the sum, over a unit's inputs, of their squares times the squared norm of what reads them."""
        rows = [one if mask is None else one[mask[i].bool()] for i, one in enumerate(given[name])]
        sums = torch.cat(rows).square().sum(0)
        return float((sums * surgery.get(model, name).weight.detach().square().sum(0))[columns].sum().sqrt())

    for block, own in zip(blocks(model), found, strict=True):
        for head in range(block.attention.heads):
            wanted = score(block.attention.output, slice(16 * head, 16 * head + 16))
            assert float(own.heads[0][head]) == pytest.approx(wanted, rel=1e-4)
        for neuron in (0, 1, 77, 127):
            wanted = score(block.feed_forward.contract, slice(neuron, neuron + 1))
            assert float(own.neurons[neuron]) == pytest.approx(wanted, rel=1e-4)


def test_random_is_drawn_from_the_seed_and_looks_at_no_weight(tiny: Subject) -> None:
    def drawn(seed: int, factor: float = 1.0) -> Tensor:
        model = tiny.dense.model()
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(factor)
        found = random.importance(model, exact(tiny, seed))
        return torch.cat([values for one in found for values in (*one.heads, one.neurons)])

    assert torch.equal(drawn(0), drawn(0, factor=2.0))
    assert abs(float(torch.corrcoef(torch.stack([drawn(0), drawn(1)]))[0, 1])) < 0.2
    assert len(drawn(0).unique()) == len(drawn(0))


@pytest.mark.parametrize("score", [name for name in SCORES if name != "random"])
def test_what_says_next_to_nothing_goes_first(score: str, tiny: Subject) -> None:
    """One head of each layer and a block of neurons are read by next to nothing, and computed so."""
    model = tiny.dense.model()
    with torch.no_grad():
        for block in blocks(model):
            one, part = block.attention, block.feed_forward
            for rows in (one.query, one.key, one.value):
                surgery.get(model, rows.layer).weight[32:48] *= 1e-3
            surgery.get(model, one.output).weight[:, 32:48] *= 1e-3
            surgery.get(model, part.expand[0][0]).weight[40:72] *= 1e-3
            surgery.get(model, part.contract).weight[:, 40:72] *= 1e-3
    before = {block.name: surgery.get(model, block.attention.output).weight.clone() for block in blocks(model)}
    inner = {block.name: surgery.get(model, block.feed_forward.contract).weight.clone() for block in blocks(model)}
    compressor = PruneStructured(heads_removed=0.25, neurons_removed=0.25, recovery_epochs=0, score=score)
    smaller = compressor.compress(model, exact(tiny)).model
    for block in blocks(smaller):
        left = torch.cat([torch.arange(32), torch.arange(48, 64)])
        assert torch.equal(surgery.get(smaller, block.attention.output).weight, before[block.name][:, left])
        left = torch.cat([torch.arange(40), torch.arange(72, 128)])
        assert torch.equal(surgery.get(smaller, block.feed_forward.contract).weight, inner[block.name][:, left])


@pytest.mark.parametrize("score", SCORES)
def test_only_what_needs_a_label_asks_for_one(score: str, tiny_bert: Subject) -> None:
    compressor = PruneStructured(recovery_epochs=0, score=score)
    blind = dataclasses.replace(exact(tiny_bert), calibration=Examples(tiny_bert.examples[:8].inputs))
    if score == "taylor":
        with pytest.raises(Unsupported, match="has no labels"):
            compressor.compress(tiny_bert.dense.model(), blind)
    else:
        assert compressor.compress(tiny_bert.dense.model(), blind).structure["heads"] == [2] * 4


@pytest.mark.parametrize("score", SCORES)
def test_groups_of_heads_that_share_a_key(score: str) -> None:
    """Whole groups by the sum of their heads, or within each group as many."""
    tiny = subject("llama")
    whole = PruneStructured(heads_removed=0, groups_removed=0.5, recovery_epochs=0, score=score)
    assert whole.compress(tiny.dense.model(), exact(tiny)).structure["heads"] == [[[1, 2]]] * 2
    within = PruneStructured(recovery_epochs=0, score=score)
    assert within.compress(tiny.dense.model(), exact(tiny)).structure["heads"] == [[[2, 1]]] * 2


def test_an_unknown_score_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^score = 'wanda': must be one of taylor, magnitude, random, activation$"):
        PruneStructured(score="wanda")


def test_the_score_is_the_last_field_and_taylor_unless_said() -> None:
    assert list(PruneStructured().parameters.items())[-1] == ("score", "taylor")
    assert registry.variants("full")["prune-structured-random"] == PruneStructured(score="random")


def test_a_method_that_is_a_score_has_no_other() -> None:
    with pytest.raises(PressbenchError, match="'prune-information' has no parameter 'score'"):
        registry.build("prune-information", {"score": "magnitude"})


def test_every_file_of_scores_has_a_name_and_is_in_the_cache_key_of_the_method() -> None:
    folder = Path(activation.__file__).parent
    assert {file.stem for file in folder.glob("*.py")} == {"__init__", *SCORES}
    assert {str(file) for file in folder.glob("*.py")} <= set(registry.source_closure(PruneStructured))
