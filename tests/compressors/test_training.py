"""The loop learns, repeats itself and stops on nonsense; its losses are what the papers say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from scipy import special
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from compressors import conformance
from compressors.distillation.student import DistilStudent
from compressors.divergence import divergence
from compressors.fusion.ensemble import fusion
from compressors.interface import Context, Examples, Hardware, PressbenchError
from compressors.recovery import imitation
from compressors.training import autocast, distillation, soft_targets, supervised, train

CPU = Hardware("cpu", "cpu-generic")
BF16 = Hardware("cpu", "cpu-vnni", frozenset({"bf16"}))


@pytest.fixture(params=["bert", "vit"])
def tiny(request: pytest.FixtureRequest) -> conformance.Subject:
    return conformance.subject(request.param)


class _Model(nn.Module):
    """Logits that are a parameter, one row an example: what a loss gives for known numbers."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, rows: Tensor) -> _Model:
        picked = _Model.__new__(_Model)
        object.__setattr__(picked, "__dict__", {"logits": self.logits[rows]})
        return picked


# -- the loop --------------------------------------------------------------------------------------


def test_it_learns_a_handful_of_examples_by_heart(tiny: conformance.Subject) -> None:
    examples = tiny.examples[:8]
    model = tiny.dense.model()
    before = float(supervised(model, examples).detach())
    same = train(model, examples, supervised, CPU, epochs=30, learning_rate=2e-3, batch_size=8)
    assert same is model
    assert not model.training
    assert float(supervised(model, examples).detach()) < 0.1 * before
    with torch.no_grad():
        assert (model(**examples.inputs).logits.argmax(1) == examples.labels).all()


def weights(tiny: conformance.Subject, *, seed: int, hardware: Hardware = CPU) -> dict[str, Tensor]:
    torch.manual_seed(torch.randint(1000, ()).item())  # the state before must not matter
    return train(
        tiny.dense.model(), tiny.examples, supervised, hardware, epochs=0.5, learning_rate=1e-3, batch_size=4, seed=seed
    ).state_dict()


def test_a_seed_fixes_the_weights_and_another_changes_them(tiny: conformance.Subject) -> None:
    first, again, other = (weights(tiny, seed=s) for s in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_example_is_seen_once_an_epoch_in_an_order_drawn_anew() -> None:
    count, size = 10, 4  # batches do not fill an epoch
    seen: list[int] = []

    def loss(model: nn.Module, batch: Examples) -> Tensor:
        seen.extend(batch.inputs["rows"].tolist())
        return model.logits.sum()  # type: ignore[operator]

    examples = Examples({"rows": torch.arange(count)}, torch.zeros(count, dtype=torch.int64))
    train(_Model(torch.zeros(count, 2)), examples, loss, CPU, epochs=6, learning_rate=1e-3, batch_size=size)
    assert len(seen) == 6 * count
    epochs = [seen[i : i + count] for i in range(0, len(seen), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_only_what_is_asked_for_is_trained() -> None:
    tiny = conformance.subject("bert")
    model = tiny.dense.model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(
        model, tiny.examples, supervised, CPU, epochs=0.2, learning_rate=1e-2, parameters=model.classifier.parameters()
    )
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_progress_counts_the_steps_it_takes() -> None:
    tiny = conformance.subject("vit")
    seen: list[tuple[str, int, int]] = []
    train(
        tiny.dense.model(), tiny.examples, supervised, CPU, epochs=0.5, learning_rate=1e-4, batch_size=8,
        progress=lambda *told: seen.append(told), what="recovering",
    )  # fmt: skip
    assert seen == [("recovering", step, 3) for step in (1, 2, 3)]


def test_a_loss_that_runs_away_is_one_line_with_what_to_do(tiny: conformance.Subject) -> None:
    with pytest.raises(PressbenchError) as told:
        train(tiny.dense.model(), tiny.examples, supervised, CPU, epochs=20, learning_rate=1e20, what="distilling")
    message = str(told.value)
    assert message.startswith("distilling: the loss became ")
    assert message.endswith("lower learning_rate")
    assert " of 60" in message
    assert "\n" not in message


def test_bf16_is_used_where_the_cpu_has_it_and_the_weights_stay_fp32() -> None:
    used = []

    def loss(model: nn.Module, batch: Examples) -> Tensor:
        used.append(torch.is_autocast_enabled("cpu"))
        return supervised(model, batch)

    tiny = conformance.subject("vit")
    for hardware in (CPU, BF16):
        model = train(tiny.dense.model(), tiny.examples, loss, hardware, epochs=0.1, learning_rate=1e-4)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert used == [False] * (len(used) // 2) + [True] * (len(used) // 2)
    assert isinstance(autocast(Hardware("cuda0", "cuda-sm90", frozenset({"cuda"}))), type(autocast(CPU)))


# -- losses, against a reference in double precision by another library ------------------------------

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.normal(size=(6, 5)) * 3, RNG.normal(size=(6, 5)) * 3
LABELS = RNG.integers(0, 5, size=6)


def reference_soft(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    p = special.softmax(teacher / temperature, axis=1)
    q = special.softmax(student / temperature, axis=1)
    return float(special.rel_entr(p, q).sum(axis=1).mean() * temperature**2)


def reference_hard(student: np.ndarray) -> float:
    return float((special.logsumexp(student, axis=1) - student[np.arange(6), LABELS]).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_soft_targets_are_the_divergence_of_the_softened_distributions(temperature: float) -> None:
    found = float(soft_targets(torch.tensor(STUDENT), torch.tensor(TEACHER), temperature))
    assert found == pytest.approx(reference_soft(STUDENT, TEACHER, temperature), rel=1e-5)
    # Not the other way round, which is another number.
    assert found != pytest.approx(reference_soft(TEACHER, STUDENT, temperature), rel=1e-3)


def test_a_student_that_answers_like_its_teacher_has_no_loss() -> None:
    teacher = torch.tensor(TEACHER)
    assert float(soft_targets(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(soft_targets(teacher + 7, teacher, 2.0)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_keeps_its_size_as_the_temperature_grows() -> None:
    sizes = []
    for temperature in (4.0, 8.0, 16.0):
        student = torch.tensor(STUDENT, requires_grad=True)
        soft_targets(student, torch.tensor(TEACHER), temperature).backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert max(sizes) < 1.5 * min(sizes)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_distillation_mixes_teacher_and_labels(alpha: float) -> None:
    batch = Examples({"rows": torch.arange(6)}, torch.tensor(LABELS), torch.tensor(TEACHER).float())
    found = float(distillation(temperature=2.0, alpha=alpha)(_Model(torch.tensor(STUDENT)), batch).detach())
    expected = alpha * reference_soft(STUDENT, TEACHER, 2.0) + (1 - alpha) * reference_hard(STUDENT)
    assert found == pytest.approx(expected, rel=1e-5)


# -- labels that do not exclude each other ------------------------------------------------------------

MARKS = torch.tensor(RNG.integers(0, 2, size=(6, 5)), dtype=torch.float32)
SEVERAL = Examples({"rows": torch.arange(6)}, MARKS, torch.tensor(TEACHER).float())


def reference_bernoulli(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    p, q = special.expit(teacher / temperature), special.expit(student / temperature)
    apart = special.rel_entr(p, q) + special.rel_entr(1 - p, 1 - q)
    return float(apart.sum(axis=1).mean() * temperature**2)


def test_the_loss_of_several_labels_is_the_one_transformers_trains_with() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=5,
        problem_type="multi_label_classification",
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config).eval()
    ids = torch.randint(1, 30, (6, 7))
    found, own = supervised(model, Examples({"input_ids": ids}, MARKS)), model(input_ids=ids, labels=MARKS).loss
    assert float(found) == pytest.approx(5 * float(own), rel=1e-5), "theirs is the mean over the labels"


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_distillation_of_several_labels_is_by_sigmoid(alpha: float) -> None:
    found = float(distillation(temperature=2.0, alpha=alpha)(_Model(torch.tensor(STUDENT)), SEVERAL).detach())
    hard = float(-np.where(MARKS > 0, special.log_expit(STUDENT), special.log_expit(-STUDENT)).sum(axis=1).mean())
    soft = reference_bernoulli(STUDENT, TEACHER, 2.0)
    assert found == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-5)
    assert soft != pytest.approx(reference_soft(STUDENT, TEACHER, 2.0), rel=1e-2)


def test_a_student_whose_outputs_are_all_shifted_answers_otherwise() -> None:
    """To a softmax it would answer the same: the fault of a loss that takes labels to exclude each other."""
    teacher = torch.tensor(TEACHER)
    assert float(soft_targets(teacher, teacher, 2.0, exclusive=False)) == pytest.approx(0, abs=1e-6)
    assert float(soft_targets(teacher + 7, teacher, 2.0, exclusive=False)) > 1


class _Answering(nn.Module):
    """Logits by row, as an answer of transformers has them."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(logits, dtype=torch.float32))

    def forward(self, rows: Tensor, **_: object) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.table[rows])


def test_recovery_ensembles_and_divergences_of_several_labels_are_by_sigmoid() -> None:
    student, teacher = _Answering(STUDENT), _Answering(TEACHER)
    wanted = reference_bernoulli(STUDENT, TEACHER, 2.0)
    assert float(imitation(teacher)(student, SEVERAL).detach()) == pytest.approx(wanted, rel=1e-5)
    assert float(fusion([teacher, teacher], 2.0, 1.0, 0.0)(student, SEVERAL).detach()) == pytest.approx(
        wanted, rel=1e-5
    )
    spec = conformance.subject("bert").spec
    context = Context(spec, CPU, lambda: teacher, calibration=SEVERAL)
    wanted = reference_bernoulli(STUDENT, TEACHER, 1.0)
    assert divergence(student, teacher, context) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_a_student_is_taught_several_labels_by_sigmoid(alpha: float) -> None:
    method = DistilStudent(alpha=alpha, temperature=2.0)
    found = float(method._of_answers(torch.tensor(STUDENT), torch.tensor(TEACHER), SEVERAL))
    hard = float(-np.where(MARKS > 0, special.log_expit(STUDENT), special.log_expit(-STUDENT)).sum(axis=1).mean())
    assert found == pytest.approx(alpha * reference_bernoulli(STUDENT, TEACHER, 2.0) + (1 - alpha) * hard, rel=1e-5)
