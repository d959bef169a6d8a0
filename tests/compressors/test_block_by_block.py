"""Blocks changed one after the other: each is looked at fed by the changed ones before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_architectures import make
from torch import Tensor, nn

from compressors import conformance, surgery, units
from compressors.block_by_block import Given, block_by_block
from compressors.calibration import all_at_once
from compressors.interface import Context, Hardware, PressbenchError
from compressors.moments import gram, mirrored, second_moments


def about(subject: Any, examples: int = 6) -> Context:
    return Context(
        subject.spec, Hardware("cpu", "cpu-generic"), subject.dense.model, calibration=subject.examples[:examples]
    )


def as_it_is(subject: Any, model: nn.Module) -> nn.Module:
    """A copy of the model, without what looks at it."""
    other: nn.Module = surgery.as_linears(subject.dense.model())
    other.load_state_dict(model.state_dict())
    return other


def halved(model: nn.Module, names: Sequence[str]) -> None:
    for name in names:
        surgery.get(model, name).weight.mul_(0.5)


@pytest.mark.parametrize("name", ["bert-pairs", "llama", "modernbert", "gpt2", "gemma3", "vit"])
def test_each_block_is_changed_by_what_the_changed_ones_before_it_answer(name: str, tmp_path: Path) -> None:
    """Against whole passes through the model as it was before a layer of the block was changed."""
    subject = make(name, tmp_path)
    model = surgery.as_linears(subject.dense.model())
    context, layers = about(subject), surgery.block_linears(model)
    met: list[str] = []
    before: dict[str, nn.Module] = {"": as_it_is(subject, model)}

    def change(names: Sequence[str], given: Given) -> None:
        block = next(one.name for one in units.blocks(model) if names[0].startswith(f"{one.name}."))
        if block not in before:
            before.clear()
            before[block] = as_it_is(subject, model)
        now = second_moments(all_at_once(next(iter(before.values())), context), names)
        for one in names:
            torch.testing.assert_close(given.moments, now[one], rtol=1e-3, atol=1e-3)
        met.extend(names)
        halved(model, names)

    block_by_block(model, context, layers, change, "a method")
    assert sorted(met) == sorted(layers)


def test_those_that_are_given_the_same_come_together(tmp_path: Path) -> None:
    subject = make("llama", tmp_path)
    groups: list[list[str]] = []
    model = subject.dense.model()
    block_by_block(
        model, about(subject), surgery.block_linears(model), lambda names, given: groups.append(list(names)), "a method"
    )
    of_first = [[name.rpartition(".")[2] for name in group] for group in groups[:4]]
    assert of_first == [["q_proj", "k_proj", "v_proj"], ["o_proj"], ["gate_proj", "up_proj"], ["down_proj"]]


def test_what_another_model_is_given_stands_beside_what_a_layer_is_given_now(tiny: conformance.Subject) -> None:
    """Now: the layers of the block that come before it are changed by then, or it would make up for them again."""
    model, other, context = tiny.dense.model(), tiny.dense.model(), about(tiny)
    layers = surgery.block_linears(model)
    last = units.blocks(model)[-1].name
    theirs: dict[str, list[Tensor]] = {}
    all_at_once(other, context)(layers, lambda n, rows: theirs.setdefault(n, []).append(rows))
    seen = 0

    def change(names: Sequence[str], given: Given) -> None:
        nonlocal seen
        assert given.crossed is not None
        if names[0].startswith(f"{last}."):
            ours: list[Tensor] = []
            all_at_once(as_it_is(tiny, model), context)(names[:1], lambda _, rows: ours.append(rows))
            now = torch.cat(ours)
            torch.testing.assert_close(given.crossed, torch.cat(theirs[names[0]]).T @ now, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(given.moments, now.T @ now, rtol=1e-3, atol=1e-3)
        seen += len(names)
        halved(model, names)

    block_by_block(model, context, layers, change, "a method", other)
    assert seen == len(layers)


def test_what_is_not_finite_or_never_given_is_told(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    layers = surgery.block_linears(model)
    with pytest.raises(PressbenchError, match=r"the calibration data never reaches .*query"):
        block_by_block(model, about(tiny_bert, 0), layers, lambda *_: None, "a method")
    next(m for m in model.modules() if isinstance(m, nn.LayerNorm)).weight.data.fill_(float("inf"))
    with pytest.raises(PressbenchError, match=r"a method: what .*query is given by the calibration data is not finite"):
        block_by_block(model, about(tiny_bert), layers, lambda *_: None, "a method")


@pytest.mark.parametrize("width", [1, 63, 64, 130, 300])
def test_half_of_a_gram_matrix_is_all_of_it(width: int) -> None:
    rows = torch.randn(50, width, dtype=torch.float64)
    torch.testing.assert_close(mirrored(gram(rows)), rows.T @ rows)
