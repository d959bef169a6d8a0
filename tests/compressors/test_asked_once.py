"""What the dense model says is asked once, and is what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressors import asked_once as module
from compressors import conformance, recovery, surgery
from compressors.asked_once import apart, asked_once
from compressors.interface import Examples
from compressors.pruning.magnitude import PruneMagnitude
from compressors.recovery import ask, depths_of, imitation, recover


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
