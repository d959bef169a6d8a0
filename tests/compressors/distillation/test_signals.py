"""What a student is taught by: each signal against its definition, and that it teaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import run_step
from compressors.distillation import shape as shapes
from compressors.distillation import signals as taught
from compressors.distillation.signals import Signals, counterparts
from compressors.distillation.student import DistilStudent
from compressors.interface import Examples

ALL = Signals(hidden=1.0, embeddings=1.0, attention=1.0, relations=1.0, relation_heads=4)
NONE = {"answers": 0.0, "hidden": 0.0, "embeddings": 0.0, "attention": 0.0, "relations": 0.0}


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def batch_of(lengths: list[int], positions: int) -> Examples:
    mask = (torch.arange(positions) < torch.tensor(lengths)[:, None]).long()
    return Examples({"attention_mask": mask})


def only(kind: str) -> Signals:
    return Signals(
        **{**{k: 0.0 for k in ("hidden", "embeddings", "attention", "relations")}, kind: 1.0}, relation_heads=4
    )  # type: ignore[arg-type]


def test_relations_are_those_of_minilm() -> None:
    found, wanted, lengths = some(2, 5, 8).double(), some(2, 5, 16).double(), [5, 3]
    total, count = 0.0, 0
    for example, length in enumerate(lengths):
        for position in range(length):
            for head in range(4):

                def like(values: np.ndarray, head: int = head, length: int = length, at: int = position) -> np.ndarray:
                    own = values[:length, head * values.shape[1] // 4 : (head + 1) * values.shape[1] // 4]
                    return np.asarray(log_softmax(own @ own[at] / np.sqrt(own.shape[1])))

                own, other = like(found[example].numpy()), like(wanted[example].numpy())
                total += float((np.exp(other) * (other - own)).sum()) / 4
            count += 1
    seen, said = {"relations 0 keys": found}, {"relations 0 keys": wanted}
    value = taught.loss(only("relations"), seen, said, nn.ModuleDict(), batch_of(lengths, 5))
    assert float(value) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("heads", [3, 2])
def test_maps_are_compared_by_divergence_of_each_head_or_of_their_mean(heads: int) -> None:
    found, wanted = some(2, heads, 4, 4).softmax(-1), (2 * some(2, 3, 4, 4)).softmax(-1)
    own, other = found.double().numpy(), wanted.double().numpy()
    if heads != 3:
        own, other = own.mean(1, keepdims=True), other.mean(1, keepdims=True)
    apart = (other * np.log(other / own)).sum(-1).mean(1)  # (examples, positions)
    value = taught.loss(
        only("attention"), {"attention 0 0": found}, {"attention 0 0": wanted}, nn.ModuleDict(), batch_of([4, 2], 4)
    )
    assert float(value) == pytest.approx(np.concatenate([apart[0], apart[1, :2]]).mean(), rel=1e-4)


def test_hidden_states_are_compared_through_one_projection_and_without_padding() -> None:
    found = {"hidden 0 0": some(2, 4, 3), "hidden 0 1": some(2, 4, 3) + 1}
    wanted = {"hidden 0 0": some(2, 4, 6), "hidden 0 1": some(2, 4, 6) * 2}
    through = taught.projections(found, wanted)
    assert list(through) == ["hidden 0"]
    weight = through.state_dict()["hidden 0.weight"].double().numpy()
    errors = []
    for name in found:
        own, other = (np.concatenate([v[name][0].numpy(), v[name][1, :1].numpy()]) for v in (found, wanted))
        errors.append(((own @ weight.T - other) ** 2).mean() / other.var(ddof=1))
    value = taught.loss(only("hidden"), found, wanted, through, batch_of([4, 1], 4))
    assert float(value.detach()) == pytest.approx(np.mean(errors), rel=1e-4)


def test_a_projection_begins_where_the_stream_was_cut() -> None:
    stream = torch.tensor([1, 4, 5])
    through = taught.projections({"embeddings 0": some(1, 2, 3)}, {"embeddings 0": some(1, 2, 6)}, stream)
    told = through.state_dict()["embeddings 0.weight"] @ torch.tensor([7.0, 8.0, 9.0])
    assert told.tolist() == [0, 7, 0, 0, 8, 9]
    assert not taught.projections({"embeddings 0": some(1, 2, 6)}, {"embeddings 0": some(1, 2, 6)}, stream)


def test_the_last_layers_are_compared_with_each_other() -> None:
    assert counterparts(3, 6) == [1, 3, 5]
    assert counterparts(2, 12) == [5, 11]
    assert counterparts(4, 4) == [0, 1, 2, 3]


def test_as_many_relation_heads_as_fit_both_models() -> None:
    bert, llama = (conformance.subject(kind).dense.model() for kind in ("bert", "llama"))
    assert Signals(0, 0, 0, 1.0, 0).fitting(bert, llama).relation_heads == 8  # 64 numbers, keys of 32
    other = shapes.student(bert, {"hidden_size": 36, "num_attention_heads": 3}, empty=False)
    assert Signals(0, 0, 0, 1.0, 0).fitting(bert, other).relation_heads == 4


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_what_is_seen_is_what_transformers_itself_tells(kind: str) -> None:
    subject = conformance.subject(kind)
    model = subject.dense.model()
    model.set_attn_implementation("eager")
    few = subject.examples[:4]
    with torch.no_grad():
        seen = taught.see(model, few, ALL, [[0, 1]])
        answer = model(**few.inputs, output_hidden_states=True, output_attentions=True)
    assert torch.equal(seen["embeddings 0"], answer.hidden_states[0])
    assert torch.equal(seen["hidden 0 0"], answer.hidden_states[1])
    assert torch.equal(seen["attention 0 1"], answer.attentions[1])
    assert torch.equal(seen["answers"], answer.logits)
    last: Any = surgery.get(model, surgery.layer_list(model))[-1]
    part = {"bert": "attention.self.key", "llama": "self_attn.k_proj"}[kind]
    before = answer.hidden_states[-2] if kind == "bert" else last.input_layernorm(answer.hidden_states[-2])
    assert torch.allclose(seen["relations 0 keys"], surgery.get(last, part)(before), atol=1e-5)


@pytest.mark.parametrize("signal", ["answers", "hidden", "embeddings", "attention", "relations"])
def test_each_signal_by_itself_brings_the_student_nearer_in_that_signal(
    signal: str, tiny_bert: conformance.Subject
) -> None:
    def apart(epochs: float) -> float:
        parameters = {**NONE, signal: 1.0, "start": "random", "layers": 2, "alpha": 1.0, "learning_rate": 2e-3}
        step = DistilStudent(**parameters, relation_heads=4, epochs=epochs)  # type: ignore[arg-type]
        student = run_step(step, tiny_bert.dense, tiny_bert.context(step))[0].model
        teacher = tiny_bert.dense.model()
        for model in (student, teacher):
            model.set_attn_implementation("eager")
        few = tiny_bert.examples
        with torch.no_grad():
            found = taught.see(student, few, ALL, [[0, 1]])
            wanted = taught.see(teacher, few, ALL, [[1, 3]])
            if signal == "answers":
                return float((found["answers"].softmax(-1) - wanted["answers"].softmax(-1)).abs().mean())
            # The best projection there is, as the one that was learnt is not kept.
            through = taught.projections(found, wanted)
            for name, layer in through.items():
                own, other = (
                    torch.cat([v.flatten(0, -2) for n, v in seen.items() if n.startswith(name)])
                    for seen in (found, wanted)
                )
                layer.get_parameter("weight").copy_(torch.linalg.lstsq(own, other).solution.T)
            return float(taught.loss(only(signal), found, wanted, through, few))

    assert apart(8.0) < 0.9 * apart(0.01)
