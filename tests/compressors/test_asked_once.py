"""What the dense model says is asked once, and is what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compressors import asked_once as module
from compressors import conformance, recovery, surgery
from compressors.asked_once import apart, asked_once
from compressors.conformance import HARDWARE
from compressors.distillation import layers as distil
from compressors.distillation.layers import DistilLayers
from compressors.distillation.student import DistilStudent
from compressors.held_out import held_out
from compressors.interface import Context, Examples, Hardware, Said, no_progress
from compressors.pruning.magnitude import PruneMagnitude
from compressors.recovery import ask, depths_of, everything, imitation, of_depths, recover, said_of_all


def depths(model: nn.Module, tiny: conformance.Subject) -> dict[str, int]:
    with torch.no_grad():
        return depths_of(model(**tiny.examples[:1].inputs, output_hidden_states=True))


@pytest.mark.parametrize("layers", [[0, 1, 2, 3], [0]], ids=["as-deep", "shallower"])
def test_what_was_said_teaches_what_the_model_itself_would(tiny: conformance.Subject, layers: list[int]) -> None:
    teacher, student = tiny.dense.model().eval(), tiny.dense.model()
    surgery.keep_layers(student, layers[: max(depths(teacher, tiny).values())])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.02)
        of = depths(student, tiny)
        said, once = asked_once(lambda batch: ask(teacher, batch, of), tiny.examples, exact=("logits",))
        picked = torch.tensor([3, 0, 5])
        loss = imitation(teacher)
        live, kept = float(loss(student, tiny.examples[picked])), float(loss(student, said[picked]))
        nobody = float(imitation(nn.Identity())(student, said[picked]))
    assert once and live > 1e-4 and kept == nobody == pytest.approx(live, rel=0.01)
    plain, answers = apart(said[picked])
    assert plain.inputs.keys() == tiny.examples.inputs.keys()
    assert all(torch.equal(plain.inputs[name], values[picked]) for name, values in tiny.examples.inputs.items())
    states = [name for name in answers if name != "logits"]
    assert len(states) == (1 if len(layers) == 1 else sum(depths(teacher, tiny).values()))
    assert {answers[name].dtype for name in states} == {torch.bfloat16} and answers["logits"].dtype == torch.float32


def test_a_recovery_of_several_passes_asks_once(
    tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(teacher: nn.Module, batch: Examples, of: Any) -> Any:
        asked.append(len(batch))
        return ask(teacher, batch, of)

    monkeypatch.setattr(recovery, "ask", counted)
    context = tiny_bert.context(PruneMagnitude())
    count = len(context.require_training())
    for epochs, wanted in ((0.1, 0.8 * count), (1.0, count + 2)):  # eight passes an epoch over so few; two to weigh it
        asked.clear()
        recover(tiny_bert.dense.model(), context, epochs=epochs, learning_rate=1e-4, what="test")
        assert sum(asked) == pytest.approx(wanted, abs=16)


def kept(said: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """As the suite hands it on: from a file, which has its own order of names."""
    save_file(said, folder / "said.safetensors")
    return load_file(folder / "said.safetensors")


def with_said(context: Context, said: dict[str, torch.Tensor] | None) -> Context:
    return dataclasses.replace(context, said=None if said is None else Said(context.require_training(), said))


def test_what_was_said_of_some_examples_is_not_taken_for_others(tiny_bert: conformance.Subject) -> None:
    context = tiny_bert.context(PruneMagnitude())
    context = with_said(context, {"logits": torch.zeros(len(context.require_training()), 2)})
    assert context.dense_said() is not None
    for other in (context.require_training()[:4], context.require_training()[torch.arange(40).flip(0)], None):
        assert dataclasses.replace(context, training=other).dense_said() is None
    assert dataclasses.replace(context, seed=5).dense_said() is not None
    assert held_out(context, "test").dense_said() is None


@pytest.mark.parametrize("depth", [12, 3])
def test_layers_are_told_apart_by_their_number_not_by_the_order_of_a_file(depth: int, tmp_path: Path) -> None:
    said = {f"hidden_states {n}": torch.full((1, 2), float(n)) for n in range(12)} | {"logits": torch.zeros(1)}
    found = of_depths(kept(said, tmp_path), {"hidden_states": depth})
    wanted = range(12) if depth == 12 else [11]
    assert [float(found[f"hidden_states {n}"][0, 0]) for n in range(len(wanted))] == list(wanted)
    assert len(found) == len(wanted) + 1 and "logits" in found


@pytest.mark.parametrize("layers", [[0, 1, 2, 3], [0]], ids=["as-deep", "shallower"])
def test_a_recovery_learns_from_what_is_kept_what_the_model_itself_would_say(
    tiny: conformance.Subject, layers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tiny.context(PruneMagnitude())
    said = kept(said_of_all(context.dense().eval(), context.require_training(), HARDWARE, no_progress), tmp_path)
    teacher = tiny.dense.model().eval()
    for name, wanted in everything(teacher, tiny.examples[:4]).items():
        assert torch.allclose(said[name][:4].float(), wanted.float(), atol=0.05), name
    learnt = []
    for given in (None, said):
        student = tiny.dense.model()
        surgery.keep_layers(student, layers[: max(depths(teacher, tiny).values())])
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.mul_(1.02)
        start = torch.cat([p.detach().flatten() for p in student.parameters()])
        if given:
            monkeypatch.setattr(recovery, "ask", lambda *_: pytest.fail("asked again"))
        recover(student, with_said(context, given), epochs=0.1, learning_rate=1e-3, what="test")
        learnt.append(torch.cat([p.detach().flatten() for p in student.parameters()]) - start)
    assert learnt[0].norm() > 0
    assert float(learnt[1].norm() / learnt[0].norm()) == pytest.approx(1, rel=0.05)
    assert float(torch.nn.functional.cosine_similarity(*learnt, 0)) > 0.9


def test_of_more_than_a_gibibyte_the_answers_alone_are_kept_and_nothing_of_too_many(
    tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, examples = tiny_bert.dense.model().eval(), tiny_bert.examples
    with torch.no_grad():
        wanted = teacher(**examples.inputs).logits
    monkeypatch.setattr(module, "KEPT", 2 * wanted.nbytes)
    said = said_of_all(teacher, examples, Hardware("cpu", "cpu"), no_progress)
    assert list(said) == ["logits"] and torch.allclose(said["logits"], wanted, atol=1e-5)
    monkeypatch.setattr(module, "KEPT", 2 * wanted.nbytes - 2)
    assert said_of_all(teacher, examples, Hardware("cpu", "cpu"), no_progress) == {}


def test_who_recovers_for_less_than_half_a_pass_asks_the_model_itself() -> None:
    asks = [PruneMagnitude(recovery_epochs=epochs).asks_dense for epochs in (0.0, 0.4, 0.5, 2.0)]
    assert asks == [False, False, True, True]


def test_a_student_of_answers_alone_takes_them_from_what_was_asked_for_all() -> None:
    alone = {"hidden": 0.0, "embeddings": 0.0, "relations": 0.0}
    assert DistilLayers().asks_dense and DistilLayers(hidden=0.0).asks_dense
    assert DistilStudent(**alone).asks_dense and not DistilStudent().asks_dense


@pytest.mark.parametrize("name", ["bert", "llama", "vit"])
def test_distillation_takes_last_states_from_what_is_kept_where_no_norm_is_in_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = conformance.subject(name)
    method = DistilLayers(layers=1, epochs=1.0)
    context = subject.context(method)
    said = kept(said_of_all(context.dense().eval(), context.require_training(), HARDWARE, no_progress), tmp_path)
    asked: list[int] = []
    last = distil._last_hidden

    def counted(teacher: nn.Module, hardware: Hardware) -> Any:
        told = last(teacher, hardware)
        return lambda batch: (asked.append(len(batch)), told(batch))[1]

    monkeypatch.setattr(distil, "_last_hidden", counted)
    made = []
    for given in (None, said):
        asked.clear()
        torch.manual_seed(0)
        made.append(method.compress(subject.dense.model(), with_said(context, given)).model)
        count = len(context.require_training())
        whole = given is None or name == "llama"  # whose last norm is in what it says
        assert sum(asked) in ((count + 2, count + 4) if whole else (2,))
    first, second = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in made)
    assert float((first - second).norm() / first.norm()) < 0.01


def test_what_would_fill_the_memory_is_asked_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    examples, asked = Examples({"x": torch.arange(70)[:, None]}), []

    def told(batch: Examples) -> dict[str, torch.Tensor]:
        asked.append(len(batch))
        values = batch.inputs["x"].float().expand(-1, 8)
        return {"wide": values, "exact": values[:, 0] + 2**-20}

    for limit, once in ((70 * (8 * 2 + 4), True), (70 * (8 * 2 + 4) - 1, False)):
        monkeypatch.setattr(module, "KEPT", limit)
        asked.clear()
        found, kept = asked_once(told, examples, exact=("exact",))
        assert kept is once and sum(asked) == (2 + 70 if once else 2)
        assert (found is examples) is not once
    monkeypatch.setattr(module, "KEPT", 1 << 20)
    _, said = apart(asked_once(told, examples, exact=("exact",))[0][torch.tensor([69, 1])])
    assert said["wide"].dtype == torch.bfloat16 and torch.equal(said["wide"][:, 3], torch.tensor([69.0, 1]).bfloat16())
    assert torch.equal(said["exact"], torch.tensor([69.0, 1]) + 2**-20)
    assert apart(examples[:2])[1] == {}
