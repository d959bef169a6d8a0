"""Soups and ensembles: the means against numpy in float64, what is taken in and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compressors import conformance, recipe, registry
from compressors.build import build_step, code_of
from compressors.fusion.ensemble import FuseEnsemble, fusion, mean_answer
from compressors.fusion.members import make
from compressors.fusion.soup import FuseSoup
from compressors.interface import Compressed, PressbenchError, Unsupported
from compressors.recovery import imitation
from compressors.tiny_specs import TINY_SPECS

CUT = "distil-layers:layers=1,epochs=0.7"
FASTER = "distil-layers:layers=1,epochs=0.7,learning_rate=1e-3"
UNITS = "prune-structured:recovery_epochs=0"


def states(subject: conformance.Subject, soup: FuseSoup, training: Any = None) -> list[dict[str, np.ndarray]]:
    """Of each member, made by itself as anyone would make it, the weights in float64."""
    found = []
    for number, text in enumerate(soup.members):
        context = dataclasses.replace(subject.context(soup), seed=number)
        context = context if training is None else dataclasses.replace(context, training=training)
        torch.manual_seed(number)
        model = recipe.build(text).compress(subject.dense.model(), context).model
        found.append({n: v.detach().numpy().astype(np.float64) for n, v in model.state_dict().items()})
    return found


def soup_of(subject: conformance.Subject, soup: FuseSoup) -> nn.Module:
    return soup.compress(subject.dense.model(), subject.context(soup)).model


# -- soups -----------------------------------------------------------------------------------------


def test_a_soup_is_the_mean_of_its_members(tiny: conformance.Subject) -> None:
    soup = FuseSoup(members=(CUT, CUT, FASTER), greedy=False)
    members = states(tiny, soup)
    found = soup_of(tiny, soup).state_dict()
    assert found.keys() == members[0].keys()
    for name, values in found.items():
        wanted = np.mean([member[name] for member in members], axis=0)
        assert values.numpy() == pytest.approx(wanted, rel=1e-6, abs=1e-9), name
    first, second, third = (member["classifier.weight"] for member in members)
    assert np.abs(first - second).max() > 0 and np.abs(third - second).max() > 0  # a seed, a rate of its own


def test_the_mean_of_one_model_is_that_model(tiny_bert: conformance.Subject) -> None:
    for greedy in (False, True):
        soup = FuseSoup(members=(CUT,), greedy=greedy)
        training = tiny_bert.examples[:43] if greedy else None  # a tenth of 48 is held back
        (alone,) = states(tiny_bert, soup, training)
        for name, values in soup_of(tiny_bert, soup).state_dict().items():
            assert np.array_equal(values.numpy(), alone[name].astype(values.numpy().dtype)), name


@pytest.mark.parametrize("bad", [0, 1])
def test_a_greedy_soup_is_no_worse_than_its_best_member_where_it_was_tasted(
    tiny_bert: conformance.Subject, bad: int
) -> None:
    """One member learns so fast that it is spoilt: it stays out, wherever it stands."""
    members = [CUT]
    members.insert(bad, "distil-layers:layers=1,epochs=2,learning_rate=0.3")
    soup = FuseSoup(members=tuple(members))
    context = tiny_bert.context(soup)
    result = soup.compress(tiny_bert.dense.model(), context)
    held, loss = tiny_bert.examples[43:], imitation(tiny_bert.dense.model())
    seen = dataclasses.replace(context, training=tiny_bert.examples[:43])
    alone = [make(part, tiny_bert.dense.model(), seen, i).model for i, part in enumerate(soup.parts)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        own = [float(loss(model, held)) for model in alone]
        found = float(loss(result.model, held))
    assert found <= min(own)
    assert own[bad] == max(own) and bad not in result.told["averaged"]
    weights = [alone[i].state_dict() for i in result.told["averaged"]]
    for name, values in result.model.state_dict().items():
        wanted = np.mean([one[name].numpy().astype(np.float64) for one in weights], axis=0)
        assert values.numpy() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_tied_weights_stay_tied_in_a_soup(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    soup = FuseSoup(members=("share-layers:recovery_epochs=0.1,start=first",) * 2, greedy=False)
    made = build_step(soup, tiny_bert.dense, tiny_bert.context(soup), tmp_path)
    layers = made.model().bert.encoder.layer
    assert layers[0].output.dense.weight is layers[1].output.dense.weight
    assert soup.effect == "storage" and FuseSoup().effect == "kernel"


def test_members_that_lie_elsewhere_have_no_mean(tiny_bert: conformance.Subject) -> None:
    for members, told in {
        (UNITS, "prune-structured:recovery_epochs=0,score=random"): "did not cut the same",
        (UNITS, "prune-structured:recovery_epochs=0,neurons_removed=0.25"): "did not cut the same",
        (UNITS, "low-rank-svd:recovery_epochs=0"): "did not cut the same",
        ("quantize-weights:bits=4",) * 2: "stores weights as codes, which have no mean",
        ("prune-random:recovery_epochs=0",) * 2: "lie elsewhere in each member: their mean has fewer",
    }.items():
        with pytest.raises(Unsupported, match=told) as error:
            soup_of(tiny_bert, FuseSoup(members=members, greedy=False))
        assert "\n" not in str(error.value)


def test_members_of_one_shape_that_kept_other_layers_have_no_mean(tiny_bert: conformance.Subject) -> None:
    soup, model = FuseSoup(members=(CUT, CUT)), tiny_bert.dense.model()
    soup._check([Compressed(model, {"layers": [0]}), Compressed(model, {"layers": [0]})])
    with pytest.raises(Unsupported, match="did not cut the same"):
        soup._check([Compressed(model, {"layers": [0]}), Compressed(model, {"layers": [1]})])


# -- ensembles -------------------------------------------------------------------------------------


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_what_is_taught_is_the_mean_of_the_softened_answers(temperature: float) -> None:
    logits = 5 * torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    wanted = np.mean([softmax(one.numpy().astype(np.float64) / temperature) for one in logits], axis=0)
    assert mean_answer(list(logits), temperature).exp().numpy() == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(mean_answer([logits[0]], 1.0), logits[0].log_softmax(-1))


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_the_loss_is_that_of_the_paper(kind: str) -> None:
    """Temperature squared, labels beside it, padding left out: all written anew in float64."""
    subject = conformance.subject(kind)
    examples = subject.examples[:6]
    models = [subject.dense.model() for _ in range(3)]
    torch.manual_seed(0)
    with torch.no_grad():
        for model in models:
            for weight in model.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
        answers = [model(**examples.inputs, output_hidden_states=True) for model in models]
        found = float(fusion(models[:2], 2.0, 0.7, 0.5)(models[2], examples))
    logits = [answer.logits.double().numpy() for answer in answers]
    labels = examples.labels.numpy()
    if kind == "llama":
        logits, labels = [one[labels >= 0] for one in logits], labels[labels >= 0]
    target = (softmax(logits[0] / 2) + softmax(logits[1] / 2)) / 2
    divergence = (target * np.log(target / softmax(logits[2] / 2))).sum(-1).mean() * 4
    right = -np.log(softmax(logits[2])[np.arange(len(labels)), labels]).mean()
    one, other, student = (answer.hidden_states[-1].double().numpy() for answer in answers)
    real = examples.inputs["attention_mask"].bool().numpy() if kind != "vit" else ...
    wanted = (one[real] + other[real]) / 2
    error = ((student[real] - wanted) ** 2).mean() / wanted.var(ddof=1)
    assert found == pytest.approx(0.7 * divergence + 0.3 * right + 0.5 * error, rel=1e-4)


def test_one_member_teaches_its_own_answer(tiny: conformance.Subject) -> None:
    """A student that is its only teacher has nothing to learn from it."""
    model = tiny.dense.model()
    with torch.no_grad():
        assert float(fusion([tiny.dense.model()], 2.0, 1.0, 1.0)(model, tiny.examples)) == pytest.approx(0, abs=1e-6)


def test_the_student_comes_nearer_to_the_members_mean_answer(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    members = ("prune-structured:recovery_epochs=0", "low-rank-svd:recovery_epochs=0")
    ensemble = FuseEnsemble(
        members=members, student="prune-layers:removed=0.5,recovery_epochs=0", alpha=1.0, hidden=0.0
    )
    context = tiny_bert.context(ensemble)
    models = [make(recipe.build(text), tiny_bert.dense.model(), context, i).model for i, text in enumerate(members)]
    before = make(recipe.build(ensemble.student), tiny_bert.dense.model(), context, 0).model
    made = build_step(ensemble, tiny_bert.dense, context, tmp_path)
    assert len(made.model().bert.encoder.layer) == 2
    with torch.no_grad():
        answers = [model(**tiny_bert.examples.inputs).logits.numpy() for model in (*models, before, made.model())]
    target = np.mean([softmax(one / 2) for one in answers[:2]], axis=0)
    far, near = ((target * np.log(target / softmax(one / 2))).sum(-1).mean() for one in answers[2:])
    assert near < 0.5 * far


def test_what_answers_with_states_learns_their_mean(tmp_path: Path) -> None:
    from tiny_architectures import make as made_up

    subject = made_up("bert-embedder", tmp_path)
    models = [subject.dense.model() for _ in range(3)]
    with torch.no_grad():
        for i, model in enumerate(models):
            model.encoder.layer[2].output.LayerNorm.bias.add_(i)
        found = fusion(models[:2], 2.0, 0.9, 2.0)(models[2], subject.examples)
        one, other, student = (model(**subject.examples.inputs).last_hidden_state.double() for model in models)
    real = subject.examples.inputs["attention_mask"].bool()
    wanted = ((one + other) / 2)[real]
    assert float(found) == pytest.approx(float(2 * ((student[real] - wanted) ** 2).mean() / wanted.var()), rel=1e-4)


# -- recipes ---------------------------------------------------------------------------------------


def test_a_recipe_is_read_as_the_option_is() -> None:
    assert recipe.build("prune-structured") == registry.build("prune-structured")
    assert recipe.build("prune-structured-75") == registry.variants("full")["prune-structured-75"]
    built = recipe.build("prune-structured:heads_removed=0.25,score=magnitude")
    assert (built.heads_removed, built.score) == (0.25, "magnitude")  # type: ignore[attr-defined]
    assert [step.name for step in recipe.build("distil-layers:layers=1+prune-vocabulary").steps] == [
        "distil-layers", "prune-vocabulary",
    ]  # fmt: skip
    nested = recipe.parameters('fuse-soup:members=["distil-layers:layers=1,epochs=2+prune-vocabulary"],greedy=false')
    assert nested == {"members": ["distil-layers:layers=1,epochs=2+prune-vocabulary"], "greedy": False}


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("fuse-soup", {"members": []}, "members is empty"),
        ("fuse-soup", {"members": ["prune-strctured"]}, "did you mean prune-structured"),
        ("fuse-soup", {"members": ["prune-structured:heads=1"]}, "has no parameter 'heads'"),
        ("fuse-soup", {"members": ["prune-structured:0.5"]}, "'0.5' is not key=value"),
        ("fuse-soup", {"members": ["int8-openvino"]}, "int8-openvino: openvino-fp32 makes a model of openvino"),
        ("fuse-soup", {"members": ["torch-bf16"]}, "torch-bf16 compresses nothing"),
        ("fuse-soup", {"members": "prune-structured"}, "must be a list, each text"),
        ("fuse-ensemble", {"student": "small-and-fast"}, "makes a model of openvino"),
        ("fuse-ensemble", {"temperature": 0.0}, "temperature = 0.0: must be above 0"),
        ("fuse-ensemble", {"alpha": 1.5}, "alpha = 1.5: must be a share"),
        ("fuse-ensemble", {"hidden": -1.0}, "hidden = -1.0: must be 0"),
        ("fuse-ensemble", {"epochs": 0.0}, "epochs = 0.0: must be above 0"),
    ],
)
def test_what_makes_no_sense_is_one_line(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        registry.build(name, given)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_the_code_and_the_needs_of_its_members_are_its_own() -> None:
    """Or an artifact of an older member would be taken from the cache, or a missing package be found in the midst."""
    soup = FuseSoup(members=("low-rank-svd", "low-rank-svd"))
    assert any(file.endswith("low_rank/svd.py") for file in code_of(soup))
    assert not any(file.endswith("low_rank/svd.py") for file in code_of(FuseSoup()))
    reason = registry.unsupported_reason(
        FuseSoup(members=("distil-layers:layers=4",)), TINY_SPECS["bert"], conformance.HARDWARE
    )
    assert reason and "a student of 4 would not be smaller" in reason
