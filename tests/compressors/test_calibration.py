"""What layers are given on the calibration data: every real position once, and nothing is left on the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_architectures import examples_of, make
from torch import Tensor, nn

from compressors import conformance, surgery, units
from compressors.calibration import all_at_once, in_turn, watch_inputs
from compressors.interface import NOT_SCORED, Context, Examples, Hardware, PressbenchError
from compressors.low_rank.svd import LowRankSvd
from compressors.moments import quadratic, second_moments, squares

METHOD = LowRankSvd()  # needs calibration


def context(subject: conformance.Subject, **changes: Any) -> Context:
    fp32 = Hardware("cpu", "cpu-generic")
    return dataclasses.replace(subject.context(METHOD), hardware=fp32, **changes)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("batch_size", [3, 16, 99])
def test_every_real_position_is_seen_once(tiny: conformance.Subject, batch_size: int) -> None:
    model, found = tiny.dense.model(), list[Tensor]()
    name = units.blocks(model)[0].attention.query.layer
    told: list[tuple[str, int, int]] = []
    given = context(tiny, progress=lambda *step: told.append(step))
    watch_inputs(model, [name], given, lambda _, rows: found.append(rows), batch_size=batch_size)
    seen: list[Tensor] = []
    surgery.get(model, name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        model(**given.require_calibration().inputs)
    mask = given.require_calibration().inputs.get("attention_mask", torch.ones(seen[0].shape[:2])).bool()
    wanted = torch.cat([values[real] for values, real in zip(seen[0], mask, strict=True)])
    assert torch.allclose(torch.cat(found), wanted, atol=1e-5)
    assert told[-1][1:] == (len(found), len(found)) and len(told) == -(-16 // batch_size)


def test_what_one_tensor_makes_is_one_object(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    block, found = units.blocks(model)[1], dict[str, Tensor]()
    names = (
        block.attention.query.layer,
        block.attention.key.layer,
        block.attention.value.layer,
        block.attention.output,
    )
    watch_inputs(model, names, context(tiny_bert), lambda name, rows: found.update({name: rows}))
    query, key, value, output = (found[name] for name in names)
    assert query is key and key is value and output is not query


def test_no_hook_stays_where_it_fails(tiny_bert: conformance.Subject) -> None:
    def fail(name: str, rows: Tensor) -> None:
        raise RuntimeError("of the method")

    model = tiny_bert.dense.model()
    before = hooks(model)
    with pytest.raises(RuntimeError, match="of the method"):
        watch_inputs(model, surgery.block_linears(model), context(tiny_bert), fail)
    assert hooks(model) == before


def test_without_the_data_it_says_what_to_declare(tiny_bert: conformance.Subject) -> None:
    with pytest.raises(PressbenchError, match="add 'calibration' to the compressor's `needs`"):
        watch_inputs(tiny_bert.dense.model(), [], context(tiny_bert, calibration=None), lambda name, rows: None)


@pytest.mark.parametrize("name", ["bert-pairs", "albert", "modernbert", "gpt2", "gemma3", "swin", "t5", "marian"])
def test_each_block_sees_what_the_changed_ones_before_it_answer(name: str, tmp_path: Path) -> None:
    """Against whole passes through the model as it is then; an encoder's answer is the dense one for its decoder."""
    subject = make(name, tmp_path)
    model = subject.dense.model()
    given = Context(subject.spec, Hardware("cpu", "cpu-generic"), subject.dense.model, calibration=subject.examples[:6])
    first = surgery.layer_list(model)
    for block, look in in_turn(model, given, batch_size=4):
        layers = [f"{block}.{n}" for n, m in surgery.get(model, block).named_modules() if surgery.is_linear(m)]
        ours: dict[str, list[Tensor]] = {}
        look(layers, lambda n, rows, ours=ours: ours.setdefault(n, []).append(rows))  # type: ignore[misc]
        whole: dict[str, list[Tensor]] = {}
        if block.startswith(f"{first}."):
            watch_inputs(model, layers, given, lambda n, r, w=whole: w.setdefault(n, []).append(r), batch_size=4)  # type: ignore[misc]
            assert set(ours) == set(whole) == set(layers)
            for layer in layers:
                torch.testing.assert_close(torch.cat(ours[layer]), torch.cat(whole[layer]))
        assert all(bool(torch.cat(rows).isfinite().all()) for rows in ours.values())
        with torch.no_grad():
            for layer in layers:
                surgery.get(model, layer).weight.mul_(0.5)


@pytest.mark.parametrize("name,passes", [("llama", 1), ("modernbert", 3), ("t5", 3)])
def test_where_all_blocks_are_given_the_same_one_pass_goes_to_the_end(name: str, passes: int, tmp_path: Path) -> None:
    """Of three batches. ModernBERT has masks of two kinds, and T5's decoder is given what the encoder answers."""
    subject = make(name, tmp_path)
    model, calls = subject.dense.model(), list[int]()
    given = Context(
        subject.spec, Hardware("cpu", "cpu-generic"), subject.dense.model, calibration=subject.examples[:12]
    )
    last = units.blocks(model)[-1].name
    handle = surgery.get(model, last).register_forward_hook(lambda *_: calls.append(1))
    next(iter(in_turn(model, given, batch_size=4)))
    handle.remove()
    assert len(calls) == passes


class _Routed(nn.Module):
    """Experts of which the first is called so many times, the second for large values alone."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, values: Tensor) -> Tensor:
        found = torch.stack([self.layers[0](values) for _ in range(self.times)]).sum(0)
        return found + self.layers[1](values) if bool(values.max() > 0) else found


@pytest.mark.parametrize("large", [[0], [1], [0, 2], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("times", [1, 2])
def test_a_pass_ends_early_only_where_all_of_it_was_seen(
    large: list[int], times: int, tiny_bert: conformance.Subject
) -> None:
    """A layer that some batches do not reach, the first of them or a later one."""
    model = tiny_bert.dense.model()
    first = units.blocks(model)[0].name
    routed, given = _Routed(times), context(tiny_bert)
    signs = iter(1.0 if at in large else -1.0 for at in range(3))

    def forward(states: Tensor, *_: Any, **__: Any) -> Tensor:
        return routed(torch.full_like(states[..., :4], next(signs))).sum() * 0 + states

    name, look = next(iter(in_turn(model, given, batch_size=6)))
    assert name == first
    surgery.get(model, first).add_module("routed", routed)
    surgery.get(model, first).forward = forward
    seen: dict[str, int] = {}
    look(
        [f"{first}.routed.layers.{number}" for number in (0, 1)],
        lambda layer, rows: seen.update({layer[-1]: seen.get(layer[-1], 0) + 1}),
    )
    assert seen == {"0": 3 * times, "1": len(large)}


def test_a_layer_that_is_given_nothing_is_named(tiny_bert: conformance.Subject) -> None:
    """Sums of nothing would say that all of its weights are worth as much."""
    model = tiny_bert.dense.model()
    model.register_module("idle", nn.Linear(4, 4))
    for sums in (squares, second_moments):
        with pytest.raises(PressbenchError, match="the calibration data never reaches idle"):
            sums(all_at_once(model, context(tiny_bert)), ["idle"])


@pytest.mark.parametrize("sums", [squares, second_moments])
def test_what_is_summed_over_batches_is_that_of_all_at_once(sums: Any, tiny: conformance.Subject) -> None:
    """Also where several layers are given one tensor: it counts once for each of them."""
    model, given = tiny.dense.model(), context(tiny)
    names = surgery.block_linears(model)
    parts, whole = (sums(all_at_once(model, given, batch_size=size), names) for size in (3, 99))
    assert parts.keys() == whole.keys() == set(names)
    for name in names:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("written", [8, 16])
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_padding_of_a_decoder_has_no_say(name: str, written: int, in_turns: bool, tmp_path: Path) -> None:
    """The fault: the encoder's mask was taken for the decoder's rows where both had as many places, else none."""
    made = make(name, tmp_path)
    given = examples_of(made.spec, 12, 16, written)
    assert given.labels is not None
    padded = given.labels.roll(1, 1) == NOT_SCORED
    padded[:, 0] = False
    junk = given.inputs["decoder_input_ids"].masked_fill(padded, 77)
    other = Examples({**given.inputs, "decoder_input_ids": junk}, given.labels)
    assert not torch.equal(junk, given.inputs["decoder_input_ids"])
    block = units.blocks(made.dense.model())[-1]
    own, cross = block.attentions
    names = [own.query.layer, own.output, cross.query.layer, cross.key.layer, block.feed_forward.contract]

    def seen(examples: Examples) -> dict[str, Tensor]:
        model = surgery.as_linears(made.dense.model())
        about = Context(made.spec, Hardware("cpu", "cpu-generic"), made.dense.model, calibration=examples)
        if not in_turns:
            return squares(all_at_once(model, about), names)
        return next(squares(look, names) for at, look in in_turn(model, about) if at == block.name)

    before, after = seen(given), seen(other)
    assert all(torch.allclose(before[one], after[one], rtol=1e-4) for one in names)
    rows: dict[str, int] = {}
    about = Context(made.spec, Hardware("cpu", "cpu-generic"), made.dense.model, calibration=given)
    watch_inputs(
        made.dense.model(), names, about, lambda n, r: rows.update({n: len(r)}), batch_size=len(given)
    )  # fmt: skip
    real = int((given.labels != NOT_SCORED).sum())
    assert rows == dict.fromkeys(names, real) | {cross.key.layer: int(given.inputs["attention_mask"].sum())}


@pytest.mark.parametrize("width", [1, 64, 100, 257, 576])
def test_a_quadratic_form_is_that_of_float64(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    rows, root = (torch.randn(30, width, generator=generator) for _ in range(2))
    moments = root.T @ root
    wanted = float((rows.double() @ moments.double() * rows.double()).sum())
    assert quadratic(rows, moments) == pytest.approx(wanted, rel=1e-5)
