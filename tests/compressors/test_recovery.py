"""Recovery: what it compares, what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from compressors import conformance, surgery
from compressors.pruning.magnitude import PruneMagnitude
from compressors.recovery import _relative_error, imitation, recover


def test_padding_is_not_compared() -> None:
    wanted = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    found = wanted.clone()
    found[0, 3:] += 100
    assert float(_relative_error(found, wanted, mask.bool())) == 0
    assert float(_relative_error(found, wanted, None)) > 1


def test_the_teacher_has_nothing_to_learn_from_itself(tiny: conformance.Subject) -> None:
    model = tiny.dense.model()
    with torch.no_grad():
        loss = imitation(tiny.dense.model())(model, tiny.examples)
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_a_shallower_student_is_compared_at_the_end(tiny: conformance.Subject) -> None:
    student = tiny.dense.model()
    surgery.keep_layers(student, [0, 1])
    with torch.no_grad():
        assert float(imitation(tiny.dense.model())(student, tiny.examples)) > 1e-3


def test_the_token_embedding_is_held_and_can_be_trained_again(tiny_bert: conformance.Subject) -> None:
    model = PruneMagnitude(recovery_epochs=0).compress(tiny_bert.dense.model(), tiny_bert.context()).model
    table = surgery.get(model, str(surgery.word_embedding(model))).weight
    before = table.detach().clone()
    others = [p.detach().clone() for p in model.parameters() if p is not table]
    recover(model, tiny_bert.context(PruneMagnitude()), epochs=1, learning_rate=1e-3, what="test")
    assert torch.equal(table, before) and table.requires_grad
    now = [p for p in model.parameters() if p is not table]
    assert any(not torch.equal(a, b) for a, b in zip(now, others, strict=True))
