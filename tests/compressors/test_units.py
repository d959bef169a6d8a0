"""Heads, groups and neurons of every architecture: without some of them is the same as with their outputs at zero."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_architectures import Subject, examples_of, make
from torch import Tensor, nn

from compressors import surgery, units
from compressors.conformance import HARDWARE
from compressors.surgery import UnknownStructure
from compressors.units import Attention, Block

WHOLE = (
    "bert", "distilbert", "roberta", "albert", "electra", "mpnet", "deberta", "modernbert", "llama-classifier",
    "bart-classifier", "vit", "deit", "dinov2", "gpt2", "opt", "llama", "qwen3", "neox", "mistral", "gemma3", "phi3",
    "bert-embedder", "mpnet-embedder", "t5", "flan-t5", "marian", "bart",
)  # fmt: skip
GROUPED = ("llama-classifier", "llama", "qwen3", "mistral", "gemma3", "phi3")
NEURONS_ALONE = ("beit", "bloom")


@pytest.fixture(scope="module", params=[*WHOLE, *NEURONS_ALONE])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    torch.set_num_threads(HARDWARE.threads)
    yield make(request.param, tmp_path_factory.mktemp(request.param))


def model_of(subject: Subject) -> nn.Module:
    """In double precision, where a sum that leaves zeros out is the same to the last digits."""
    return surgery.as_linears(subject.dense.model().double())


def answer(model: nn.Module, subject: Subject) -> Tensor:
    inputs = examples_of(subject.spec, 3, 11, 5).inputs
    with torch.no_grad():
        cast = {name: v.double() if v.is_floating_point() else v for name, v in inputs.items()}
        found: Tensor = getattr(model(**cast), subject.spec.output)
    return found


def silence(model: nn.Module, name: str, columns: Tensor) -> None:
    with torch.no_grad():
        surgery.get(model, name).weight[:, columns] = 0


def silence_heads(model: nn.Module, attention: Attention, kept: list[int]) -> None:
    gone = [h for h in range(attention.heads) if h not in kept]
    size = attention.head_size
    silence(model, attention.output, torch.cat([torch.arange(h * size, (h + 1) * size) for h in gone]))


def cut(model: nn.Module, block: Block, kept: list[list[int]]) -> None:
    (table,) = units.shared_biases(model, [block])
    if table:
        units.keep_biases(model, table, kept[0])
    for attention, heads in zip(block.attentions, kept, strict=True):
        units.keep_heads(model, attention, heads)


def some_heads(attention: Attention, number: int, shared: bool) -> list[int]:
    """Other ones for each attention, but where a table of biases is shared."""
    per, groups = attention.per_group, attention.groups
    if per == 1:
        return [0, 3] if shared else [[0, 2], [3], [1, 2, 3]][number % 3]
    return [g * per + (g + number) % per for g in range(groups)]


def same(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-9, atol=1e-9))


def test_every_linear_layer_of_a_block_is_found_once(subject: Subject) -> None:
    model = model_of(subject)
    found = units.blocks(model)
    assert len(found) == sum(len(surgery.get(model, stack)) for stack in surgery.layer_lists(model))
    for block in found:
        inside = {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(f"{block.name}.")}
        assert sorted(block.linears) == sorted(inside)


def test_fewer_heads_are_the_others_at_zero(subject: Subject) -> None:
    silenced, pruned = model_of(subject), model_of(subject)
    before = answer(pruned, subject)
    if subject.name in NEURONS_ALONE:
        with pytest.raises(UnknownStructure, match="a position bias for each head"):
            units.keep_heads(pruned, units.blocks(pruned)[0].attention, [0])
        return
    blocks = units.blocks(pruned)
    shared = [table is not None for table in units.shared_biases(pruned, blocks)]
    assert any(shared) == subject.name.startswith(("t5", "flan", "mpnet"))
    for number, block in enumerate(blocks):
        kept = [some_heads(one, number + i, shared[number]) for i, one in enumerate(block.attentions)]
        for attention, heads in zip(block.attentions, kept, strict=True):
            silence_heads(silenced, attention, heads)
        cut(pruned, block, kept)
        for one, heads in zip(units.blocks(pruned)[number].attentions, kept, strict=True):
            assert one.heads == len(heads)
    assert same(answer(pruned, subject), answer(silenced, subject))
    assert not same(answer(pruned, subject), before), "the heads did not matter, the test shows nothing"


def test_fewer_neurons_are_the_others_at_zero(subject: Subject) -> None:
    silenced, pruned = model_of(subject), model_of(subject)
    before = answer(pruned, subject)
    for block in units.blocks(pruned):
        width = block.feed_forward.neurons
        silence(silenced, block.feed_forward.contract, torch.tensor([i for i in range(width) if i % 3]))
        units.keep_neurons(pruned, block.feed_forward, torch.arange(0, width, 3))
    assert {b.feed_forward.neurons for b in units.blocks(pruned)} == {-(-width // 3)}
    assert same(answer(pruned, subject), answer(silenced, subject))
    assert not same(answer(pruned, subject), before)


@pytest.mark.parametrize("name", GROUPED)
def test_a_group_goes_with_its_key_and_value_and_the_cache_shrinks(name: str, tmp_path: Path) -> None:
    subject = make(name, tmp_path)
    silenced, pruned = model_of(subject), model_of(subject)
    for block in units.blocks(pruned):
        attention = block.attention
        assert (attention.groups, attention.per_group) == (2, 2)
        silence_heads(silenced, attention, [2, 3])
        units.keep_heads(pruned, attention, [2, 3])
    assert {(b.attention.groups, b.attention.per_group) for b in units.blocks(pruned)} == {(1, 2)}
    assert same(answer(pruned, subject), answer(silenced, subject))
    if subject.spec.output == "logits" and "Causal" in type(pruned).__name__:
        ids = examples_of(subject.spec, 2, 8, 5).inputs["input_ids"]
        with torch.no_grad():
            first = pruned(input_ids=ids[:, :7], use_cache=True)
            assert {layer.keys.shape[1] for layer in first.past_key_values.layers} == {1}
            last = pruned(input_ids=ids[:, 7:], past_key_values=first.past_key_values).logits[:, -1]
            assert same(last, pruned(input_ids=ids).logits[:, -1])


def test_groups_must_keep_as_many_heads_each(tmp_path: Path) -> None:
    model = model_of(make("llama", tmp_path))
    with pytest.raises(ValueError, match="of each group of 2 heads the same number must stay, or none"):
        units.keep_heads(model, units.blocks(model)[0].attention, [0, 1, 2])
