"""Adapters that become part of the weights: what they train, what they leave, and that merged equals beside."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_architectures import spec_of

from compressors import conformance, recovery, registry, surgery
from compressors.adapters.lora import adaptable, adapted
from compressors.interface import PressbenchError
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.patterns import n_of_m
from compressors.skeleton import skeleton


def answers(model: torch.nn.Module, subject: conformance.Subject) -> torch.Tensor:
    with torch.inference_mode():
        return model(**subject.examples.inputs).logits


@pytest.mark.parametrize("keep_zeros", [False, True])
def test_merged_is_what_stood_beside(keep_zeros: bool, tiny: conformance.Subject) -> None:
    model = tiny.dense.model()
    torch.manual_seed(0)
    with adapted(model, 3, keep_zeros=keep_zeros) as chosen:
        with torch.no_grad():
            for values in chosen:
                values.normal_(std=0.1)
        beside = answers(model, tiny)
    merged = answers(model, tiny)
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-4)
    assert float((merged - answers(tiny.dense.model(), tiny)).abs().max()) > 0.1
    assert {type(m) for m in model.modules()} == {type(m) for m in tiny.dense.model().modules()}
    assert set(model.state_dict()) == set(tiny.dense.model().state_dict()) and not hasattr(model, "peft_config")
    assert all(p.requires_grad for p in model.parameters())


def test_the_change_of_a_weight_has_the_rank_and_nothing_else_changes(tiny_bert: conformance.Subject) -> None:
    model, before = tiny_bert.dense.model(), tiny_bert.dense.model()
    recovery.recover(
        model, tiny_bert.context(PruneMagnitude()), epochs=0.5, learning_rate=1e-2, what="test", adapter_rank=3
    )
    layers = {f"{name}.weight" for name in adaptable(before)}
    # It is its own teacher: nothing to learn but by rounding. So the teacher here is another one.
    other = copy.deepcopy(before)
    with torch.no_grad():
        for name in layers:
            surgery.get(other, name).mul_(1.5)
    student = copy.deepcopy(before)
    context = tiny_bert.context(PruneMagnitude())
    object.__setattr__(context, "dense", lambda: copy.deepcopy(other))
    recovery.recover(student, context, epochs=0.5, learning_rate=1e-2, what="test", adapter_rank=3)
    for name, values in student.state_dict().items():
        change = values - before.state_dict()[name]
        if name in layers:
            sizes = torch.linalg.svdvals(change.double())
            assert sizes[2] > 1e-4 and float(sizes[3]) < 1e-4 * float(sizes[0]), name
        else:
            assert not change.any(), name


@pytest.mark.parametrize("pattern", ["weights", "2:4"])
def test_zeros_stay_zeros_and_the_others_learn(pattern: str, tiny_bert: conformance.Subject) -> None:
    cut = {"sparsity": 0.5, "pattern": pattern, "embeddings": False}

    def distance(**more: object) -> tuple[float, torch.nn.Module]:
        method = PruneMagnitude(**cut, **more)  # type: ignore[arg-type]
        model = method.compress(tiny_bert.dense.model(), tiny_bert.context(method)).model
        return float((answers(model, tiny_bert) - tiny_bert.examples.dense_logits).norm()), model

    bare, pruned = distance(recovery_epochs=0.0)
    recovered, model = distance(recovery_epochs=1.0, learning_rate=1e-2, adapter_rank=8)
    assert recovered < 0.8 * bare
    for name in adaptable(model):
        weight, was = surgery.get(model, name).weight, surgery.get(pruned, name).weight
        assert torch.equal(weight == 0, was == 0), name
    assert pattern == "weights" or n_of_m(pattern) == (2, 4)


@pytest.mark.parametrize("kind", ["gpt2", "t5", "llama"])
def test_models_of_other_layers_take_them(kind: str) -> None:
    """GPT-2 holds its weights transposed, T5 has two stacks and asks a layer for its type, a Llama has no bias."""
    torch.manual_seed(0)
    model = skeleton(spec_of(kind).config)
    for keep_zeros in (False, True):
        whole = copy.deepcopy(model)
        torch.manual_seed(1)
        with adapted(whole, 2, keep_zeros=keep_zeros) as chosen:
            assert len(chosen) == 2 * len(adaptable(model))
            with torch.no_grad():
                for values in chosen:
                    values.normal_(std=0.2)
        for name in adaptable(model):
            change = surgery.get(whole, name).weight - surgery.get(model, name).weight
            assert int(torch.linalg.matrix_rank(change.double(), rtol=1e-4)) == 2, name


def test_a_failure_leaves_the_model_as_it_was(tiny_bert: conformance.Subject) -> None:
    model = tiny_bert.dense.model()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PressbenchError, match="the loss"):
        recovery.recover(
            model, tiny_bert.context(PruneMagnitude()), epochs=4, learning_rate=1e30, what="test", adapter_rank=2
        )
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


RECOVERING = sorted(n for n, c in registry.compressor_classes().items() if issubclass(c, recovery.Recovering))


def test_every_method_that_recovers_has_the_field() -> None:
    assert {"prune-layers", "prune-structured", "prune-sparsegpt", "prune-tokens", "low-rank-svd"} <= set(RECOVERING)
    for name in RECOVERING:
        assert registry.build(name).parameters["adapter_rank"] == 0
        assert "peft" not in registry.build(name).requires


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"adapter_rank": -1}, "adapter_rank = -1: must be a whole number"),
        ({"adapter_rank": 2.5}, "adapter_rank is 2.5, must be a whole number"),
        ({"adapter_rank": 4, "recovery_epochs": 0.0}, "nothing trains adapters"),
        ({"adapter_rank": 4, "schedule": "gradual", "recovery_epochs": 1.0}, "adapter_rank must be 0"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(PressbenchError, match=told):
        registry.build("prune-wanda", given)


def test_without_the_library_it_says_what_to_install(
    tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = registry.build("prune-layers", {"adapter_rank": 4})
    assert registry.unsupported_reason(method, tiny_bert.spec, conformance.HARDWARE) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in str(registry.unsupported_reason(method, tiny_bert.spec, conformance.HARDWARE))
