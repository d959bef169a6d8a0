"""Recovery: what it compares, what it leaves alone."""

from __future__ import annotations

import pytest
import torch

from compressors import conformance, recovery, surgery
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.tokens import PruneTokens
from compressors.recovery import imitation, recover, relative_error


def test_padding_is_not_compared() -> None:
    wanted = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    found = wanted.clone()
    found[0, 3:] += 100
    assert float(relative_error(found, wanted, mask.bool())) == 0
    assert float(relative_error(found, wanted, None)) > 1


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


def test_a_small_set_is_gone_through_more_often(tiny: conformance.Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to eight times, until so many positions were seen; a large one once, and no recovery stays none."""
    model, examples = tiny.dense.model(), tiny.examples
    positions = 17 if "pixel_values" in examples.inputs else 16
    assert recovery.passes(0.5, model, examples) == 4
    for seen, times in ((3.0, 3.0), (1.5, 1.5), (0.5, 1.0), (100.0, 8.0)):
        monkeypatch.setattr(recovery, "PASS", seen * len(examples) * positions)
        assert recovery.passes(2.0, model, examples) == pytest.approx(2 * times)


def test_where_tokens_were_merged_the_first_is_compared(tiny_bert: conformance.Subject) -> None:
    compressor = PruneTokens(recovery_epochs=0)
    model = compressor.compress(tiny_bert.dense.model(), tiny_bert.context(compressor)).model
    batch = tiny_bert.examples[:4]
    loss = recovery.imitation(tiny_bert.dense.model())(model, batch)
    loss.backward()
    assert bool(loss.isfinite()) and loss.item() > 0
