"""Approximate attention from file to file: what is kept, what is random, what gains nothing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from masked_attention import inputs_of, tiny
from tiny_architectures import make, spec_of
from torch import Tensor, nn

from compressors import artifact, registry
from compressors.artifact import Artifact
from compressors.attention.approximate import ApproximateAttention
from compressors.attention.hashed import AttentionHashed
from compressors.attention.linear import AttentionLinear
from compressors.attention.projected import AttentionProjected
from compressors.build import build, build_step
from compressors.conformance import HARDWARE, Subject
from compressors.interface import Context, Examples, InputSpec, ModelSpec, Unsupported
from compressors.runtimes.executed import of_torch
from compressors.witness import witness

BRIEF = 0.1  # of an epoch, which is eight passes over so little
LINEAR, PROJECTED = AttentionLinear(BRIEF, features=8), AttentionProjected(BRIEF, rank=16)
HASHED = AttentionHashed(BRIEF, rounds=2, size=16)
ALL = pytest.mark.parametrize("method", [LINEAR, PROJECTED, HASHED], ids=lambda method: method.name)
LONG = 96


def answers(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def far(found: Tensor, wanted: Tensor) -> float:
    """The largest difference in units of how far answers lie apart."""
    return float((found - wanted).abs().max() / wanted.std())


@functools.cache
def long(name: str) -> tuple[ModelSpec, nn.Module, Examples]:
    """A tiny model of long texts, its data."""
    words = InputSpec("int64", ("batch", "sequence"))
    model: Any = tiny(name, LONG)
    config = {**model.config.to_diff_dict(), "architectures": spec_of(name).config["architectures"]}
    spec = ModelSpec(name, config, {"input_ids": words, "attention_mask": words})
    lengths = torch.arange(LONG) < torch.randint(60, LONG + 1, (12, 1), generator=torch.Generator().manual_seed(4))
    return spec, model, Examples(inputs_of(name, LONG, lengths))


def kept(name: str, folder: Path, *steps: Any, seed: int = 0) -> tuple[Artifact, Artifact]:
    """The dense model and what was made of it, both as files."""
    spec, model, examples = long(name)
    dense = artifact.save(model, folder / "dense", spec)
    context = Context(spec, HARDWARE, dense.model, seed=seed, calibration=examples[:4], training=examples)
    return dense, build(steps, dense, context, folder / "made")


@pytest.mark.parametrize(
    ("name", "method"),
    [("bert-words", LINEAR), ("llama", LINEAR), ("bert-words", PROJECTED), ("bert-words", HASHED)],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_loaded_answers_as_what_was_made_and_executes_less(
    name: str, method: ApproximateAttention, tmp_path: Path
) -> None:
    spec, _, examples = long(name)
    dense, made = kept(name, tmp_path, method, seed=3)
    context = Context(spec, HARDWARE, dense.model, seed=3, calibration=examples[:4], training=examples)
    torch.manual_seed(3)
    result = method.compress(dense.model(), context)
    inputs = {n: values.numpy() for n, values in examples.inputs.items()}
    assert np.allclose(made.load()(inputs), answers(result.model, dict(examples.inputs)).numpy(), atol=1e-4)
    assert made.recipe[0]["structure"] == ({"places": LONG} if method is PROJECTED else {"seed": 3})
    few = {n: values[:2] for n, values in inputs.items()}
    seen, fault = witness(dense, made, "kernel", few)
    assert fault is None and any(text.startswith("operations") for text in seen)
    ratio = of_torch(result.model, lambda: answers(result.model, dict(examples[:1].inputs))).total
    model = dense.model()
    ratio /= of_torch(model, lambda: answers(model, dict(examples[:1].inputs))).total
    assert result.told["operations"] == pytest.approx(ratio, abs=6e-4)
    more = {n: t.shape for n, t in made.model().state_dict().items() if n not in dense.model().state_dict()}
    assert all(n.endswith(".pools") and shape == (16, LONG) for n, shape in more.items())
    assert len(more) == (2 if method is PROJECTED else 0)  # what is random is in no file


@pytest.mark.parametrize("method", [LINEAR, HASHED], ids=lambda method: method.name)
def test_what_is_random_is_the_seeds(method: ApproximateAttention, tmp_path: Path) -> None:
    alone = type(method)(**{**method.parameters, "recovery_epochs": 0.0})
    made = [kept("bert-words", tmp_path / str(n), alone, seed=seed)[1] for n, seed in enumerate((0, 0, 1))]
    inputs = {n: values[:4].numpy() for n, values in long("bert-words")[2].inputs.items()}
    one, again, other = (of.load()(inputs) for of in made)
    assert np.array_equal(one, again) and not np.allclose(one, other, atol=1e-3)


@ALL
def test_methods_before_and_after_it_keep_it(method: ApproximateAttention, tmp_path: Path) -> None:
    chain = registry.build("prune-layers", {"removed": 0.5, "recovery_epochs": 0.0}), method
    _, made = kept("bert-words", tmp_path, *chain, registry.build("quantize-weights", {"bits": 8}))
    model = made.model()
    assert model.config._attn_implementation.startswith(f"pressbench-{method.name.removeprefix('attention-')}")
    inputs = {n: values[:4] for n, values in long("bert-words")[2].inputs.items()}
    found = made.load()({n: values.numpy() for n, values in inputs.items()})
    assert np.isfinite(found).all()
    model.set_attn_implementation("sdpa")
    assert far(torch.from_numpy(found), answers(model, inputs)) > 1e-2


def test_pools_are_learnt_and_in_the_file(tmp_path: Path) -> None:
    from compressors.attention.projected import first_pools

    _, made = kept("bert-words", tmp_path, PROJECTED)
    for name, pools in made.model().state_dict().items():
        if name.endswith(".pools"):
            assert 1e-4 < float((pools - first_pools(16, LONG)).abs().max()) < 0.1


# -- refused ---------------------------------------------------------------------------------------


@ALL
def test_texts_too_short_to_gain_are_told(method: ApproximateAttention, tiny_bert: Subject) -> None:
    """Those of the tiny BERT have 16 tokens."""
    for parameters in ({"features": 64}, {"rank": 12}, {"rounds": 4, "size": 8}):
        if set(parameters) <= set(method.parameters):
            wide = registry.build(method.name, {**parameters, "recovery_epochs": 0.0})
            with pytest.raises(Unsupported, match=rf"{method.name} is for long texts: .* execute \d\.\d\d× the"):
                wide.compress(tiny_bert.dense.model(), tiny_bert.context(wide))


@ALL
def test_one_of_them_is_all_that_a_model_can_have(method: ApproximateAttention, tmp_path: Path) -> None:
    first = AttentionProjected(rank=8, recovery_epochs=0.0)
    with pytest.raises(Unsupported, match="its attention was replaced before"):
        kept("bert-words", tmp_path, first, method)


@ALL
def test_exports_are_refused(method: ApproximateAttention, tmp_path: Path) -> None:
    subject = make("bert", tmp_path)
    steps = registry.build("onnxruntime-fp32").steps
    few = {"features": 2, "rank": 2, "rounds": 1, "size": 4, "recovery_epochs": 0.0}
    small = type(method)(**{n: v for n, v in few.items() if n in method.parameters})
    made = build_step(small, subject.dense, subject_context(subject), tmp_path / "made")
    with pytest.raises(Unsupported, match="neither ONNX Runtime nor OpenVINO can follow it"):
        build_step(steps[0], made, subject_context(subject), tmp_path / "exported")


def subject_context(subject: Any) -> Context:
    examples = subject.examples
    return Context(subject.spec, HARDWARE, subject.dense.model, calibration=examples[:16], training=examples)
