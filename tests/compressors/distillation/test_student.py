"""A student of another shape: what it is, what it begins with, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_architectures import make, spec_of
from torch import nn

from compressors import conformance, registry, surgery, units
from compressors.build import build, run_step
from compressors.conformance import HARDWARE
from compressors.distillation import shape as shapes
from compressors.distillation import start
from compressors.distillation.student import DistilStudent
from compressors.interface import Context, Examples, PressbenchError
from compressors.skeleton import skeleton


def shape_of(model: nn.Module) -> tuple[list[int], int, list[int], list[int]]:
    """Depths, width, heads and neurons as the modules themselves have them."""
    blocks = units.blocks(model)
    depths = [len(surgery.get(model, stack)) for stack in surgery.layer_lists(model)]
    width = surgery.get(model, blocks[0].feed_forward.contract).out_features
    return depths, width, [b.attention.heads for b in blocks], [b.feed_forward.neurons for b in blocks]


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("bert", {"layers": 2, "width": 32, "neurons": 40}, ([2], 32, [2, 2], [40, 40])),
        ("bert", {"layers": 0.34, "width": 0.5, "neurons": 0.5}, ([1], 32, [2], [64])),
        ("bert", {"layers": 0, "width": 0, "neurons": 0.25}, ([3], 64, [4] * 3, [32] * 3)),
        ("bert", {"layers": 1, "width": 48, "heads": 2, "start": "random"}, ([1], 48, [2], [64])),
        ("llama", {"layers": 1, "width": 0.5, "neurons": 0.5}, ([1], 32, [2], [64])),
        ("llama", {"layers": 1, "width": 24, "heads": 4}, ([1], 24, [4], [64])),
        ("t5", {"layers": 2, "width": 0.5, "neurons": 0.5}, ([2, 2], 32, [2] * 4, [64] * 4)),
        ("albert", {"layers": 1, "width": 32, "neurons": 64}, ([1], 32, [2], [64])),
        ("gpt2", {"layers": 2, "width": 0.5, "neurons": 0.25}, ([2], 32, [2, 2], [64, 64])),
    ],
)  # fmt: skip
def test_a_student_has_the_shape_that_was_asked_for(
    name: str, parameters: dict[str, Any], wanted: object, tmp_path: Path
) -> None:
    subject = make(name, tmp_path)
    made = subject.artifact((DistilStudent(**parameters, epochs=0.5),))
    assert shape_of(surgery.as_linears(made.model())) == wanted
    assert made.disk_bytes < subject.dense.disk_bytes


def test_groups_that_share_a_key_go_whole_where_they_can(tmp_path: Path) -> None:
    subject = make("llama", tmp_path)  # four heads in two groups
    of_two = units.blocks(subject.artifact((DistilStudent(heads=2, epochs=0.5),)).model())[0].attention
    assert (of_two.heads, of_two.groups) == (2, 1)
    three = registry.unsupported_reason(DistilStudent(heads=3), subject.spec, HARDWARE)
    assert three == "distil-student: 3 heads: whole groups of 2, or as many from each of its 2, must stay"


def test_with_a_stream_of_which_half_is_dead_nothing_is_lost_by_the_cut(tmp_path: Path) -> None:
    """The numbers that stay are those that carry something, wherever they are read and written."""
    subject = make("llama", tmp_path)
    model = subject.dense.model()
    living = torch.randperm(64, generator=torch.Generator().manual_seed(1))[:32].sort().values
    dead = torch.ones(64, dtype=torch.bool)
    dead[living] = False
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_tokens" in name:
                parameter[:, dead] = 0
            elif "o_proj" in name or "down_proj" in name:
                parameter[dead] = 0
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
        expected = model(**subject.examples.inputs).logits
    shape = shapes.shape(model, layers=0, width=32, heads=4, neurons=0)
    student = shapes.student(model, shape.config, empty=False)
    context = Context(subject.spec, HARDWARE, subject.dense.model, calibration=subject.examples)
    assert torch.equal(start.begin(student, model, shape, context), living)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "norm" in name:  # the mean of squares is that of half as many numbers
                parameter.mul_(2**0.5)
        found = student(**subject.examples.inputs).logits
    real = subject.examples.inputs["attention_mask"].bool()
    assert float((found - expected)[real].abs().max()) < 1e-3 * float(expected[real].std())


def test_the_heads_and_neurons_that_do_something_stay(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    with torch.no_grad():
        for block in units.blocks(model):
            surgery.get(model, block.attention.output).weight[:, :32] = 0  # the first two heads
            surgery.get(model, block.feed_forward.contract).weight[:, 1::2] = 0
        expected = model(**tiny_bert.examples.inputs).logits
    shape = shapes.shape(model, layers=0, width=0, heads=2, neurons=64)
    assert shape.head_size == 32  # BERT's heads share the width: two of it are wider than two of four
    with pytest.raises(surgery.UnknownStructure, match="heads of 32 numbers cannot begin with heads of 16"):
        start.check(shapes.student(model, shape.config, device="meta"), tiny_bert.dense.model(), shape)
    shape = shapes.shape(model, layers=0, width=0, heads=4, neurons=64)
    student = shapes.student(model, shape.config, empty=False)
    start.begin(student, model, shape, tiny_bert.context(DistilStudent()))
    with torch.no_grad():
        found = student(**tiny_bert.examples.inputs).logits
    assert float((found - expected).abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"layers": 9}, "layers = 9: the model has 4, and its student cannot be larger"),
        ({"width": 128}, "width = 128: the model has 64, and its student cannot be larger"),
        ({"neurons": 129}, "neurons = 129: the model has 128, and its student cannot be larger"),
        ({"heads": 5}, "heads = 5: the model has 4, and its student cannot be larger"),
        ({"layers": 0, "width": 0, "neurons": 0}, "a student of this shape is not smaller than its teacher"),
        ({"width": 32, "heads": 3}, "a width of 32 has no 3 heads of one size"),
        ({"width": 24, "heads": 2}, "start = 'teacher': heads of 12 numbers cannot begin with heads of 16"),
        ({"relation_heads": 7}, "relation_heads = 7 does not divide the 32 numbers of"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_student_is_refused_in_one_line(
    parameters: dict[str, Any], told: str, tiny_bert: conformance.Subject
) -> None:
    reason = registry.unsupported_reason(DistilStudent(**parameters), tiny_bert.spec, HARDWARE)
    assert reason is not None and told in reason and "\n" not in reason


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"layers": -1}, "layers = -1: must be a whole number, a share below 1, or 0 for all of them"),
        ({"width": 32.5}, "width = 32.5: must be a whole number"),
        ({"start": "dense"}, "start = 'dense': must be 'teacher' or 'random'"),
        ({"hidden": -1.0}, "hidden = -1.0: must be 0 (left out) or more"),
        (dict.fromkeys(("answers", "hidden", "embeddings", "relations"), 0.0), "nothing would be taught"),
        ({"alpha": 1.5}, "alpha = 1.5: must lie between 0 and 1"),
        ({"temperature": 0.0}, "temperature = 0.0: must be above 0"),
        ({"relation_heads": -1}, "relation_heads = -1: must be at least 1"),
    ],
)
def test_a_field_out_of_range_is_one_line(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError, match="distil-student") as raised:
        registry.build("distil-student", parameters)
    assert told in str(raised.value)


def test_an_embedder_needs_more_than_answers() -> None:
    alone = DistilStudent(hidden=0, embeddings=0, relations=0)
    reason = registry.unsupported_reason(alone, spec_of("bert-embedder"), HARDWARE)
    assert reason == "distil-student: its answers are hidden states: hidden must be above 0"


def test_it_comes_first(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    chain = (registry.build("prune-structured", {"recovery_epochs": 0.0}), DistilStudent(epochs=0.5))
    with pytest.raises(PressbenchError, match="distil-student must come first"):
        build(chain, tiny_bert.dense, tiny_bert.context(*chain), tmp_path)


def test_what_the_teacher_says_is_the_same_asked_once_or_at_every_step(
    tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = DistilStudent(epochs=1, attention=1.0)
    without = Examples(tiny_bert.examples.inputs, tiny_bert.examples.labels)  # so that the answers are asked for, too
    asked: list[str] = []
    context = Context(
        tiny_bert.spec,
        HARDWARE,
        tiny_bert.dense.model,
        calibration=without[:16],
        training=without,
        progress=lambda what, done, total: asked.append(what),
    )
    once = run_step(step, tiny_bert.dense, context)[0].model
    assert "asking the teacher" in asked
    asked.clear()
    monkeypatch.setattr("compressors.asked_once.KEPT", 0)
    always = run_step(step, tiny_bert.dense, context)[0].model
    assert "asking the teacher" not in asked
    with torch.no_grad():
        found, wanted = (model(**without.inputs).logits for model in (once, always))
    assert float((found - wanted).abs().max()) < 1e-2 * float(wanted.std())  # bf16


def test_attention_is_fused_again_once_its_maps_were_learnt(tiny_bert: conformance.Subject) -> None:
    context = tiny_bert.context(DistilStudent())
    made = run_step(DistilStudent(epochs=0.5, attention=1.0), tiny_bert.dense, context)[0].model
    fresh: Any = skeleton(tiny_bert.spec.config)
    assert made.config._attn_implementation == fresh.config._attn_implementation != "eager"
