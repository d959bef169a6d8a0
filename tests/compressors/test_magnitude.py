"""Magnitude pruning: exactly the smallest weights, exactly as many as asked, and zero for good."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressors import conformance, surgery
from compressors.build import build
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.patterns import lowest


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights that the method covers, by name."""
    stack = surgery.layer_list(model)
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(stack)]
    table = surgery.word_embedding(model)
    return {n: surgery.get(model, n).weight.detach() for n in [*names, *([table] if table else [])]}


def pruned(tiny: conformance.Subject, compressor: PruneMagnitude) -> nn.Module:
    return compressor.compress(tiny.dense.model(), tiny.context(compressor)).model


def zeros(weights: dict[str, Tensor]) -> dict[str, int]:
    return {name: int((weight == 0).sum()) for name, weight in weights.items()}


@pytest.mark.parametrize("sparsity", [0.001, 0.1, 0.5, 0.875, 0.999])
def test_ties_are_cut_to_the_exact_number(sparsity: float) -> None:
    """Rounded weights tie by the thousand; a threshold would take all of them or none."""
    values = torch.randint(-2, 3, (37, 29), generator=torch.Generator().manual_seed(0)).float()
    [keep] = lowest([values.abs()], sparsity)
    assert int((~keep).sum()) == round(sparsity * values.numel())
    assert float(values[~keep].abs().max()) <= float(values[keep].abs().min())


def test_several_tensors_are_compared_with_each_other() -> None:
    small, large = torch.full((4, 4), 0.1), torch.full((4, 4), 10.0)
    keep_large, keep_small = lowest([large, small], 0.5)
    assert bool(keep_large.all()) and not bool(keep_small.any())


@pytest.mark.parametrize("sparsity", [0.3, 0.77])
def test_every_tensor_loses_its_share(tiny: conformance.Subject, sparsity: float) -> None:
    weights = tensors(pruned(tiny, PruneMagnitude(sparsity=sparsity, recovery_epochs=0)))
    assert zeros(weights) == {name: round(sparsity * weight.numel()) for name, weight in weights.items()}


def test_the_smallest_go_and_the_rest_keep_their_values(tiny: conformance.Subject) -> None:
    before, after = tensors(tiny.dense.model()), tensors(pruned(tiny, PruneMagnitude(recovery_epochs=0)))
    for name, weight in after.items():
        kept = weight != 0
        assert torch.equal(weight[kept], before[name][kept])
        assert float(before[name][~kept].abs().max()) <= float(weight[kept].abs().min())


def test_global_scope_takes_the_share_of_all_together(tiny: conformance.Subject) -> None:
    weights = tensors(pruned(tiny, PruneMagnitude(scope="global", recovery_epochs=0)))
    assert sum(zeros(weights).values()) == round(0.5 * sum(w.numel() for w in weights.values()))
    assert len({round(z / weights[n].numel(), 3) for n, z in zeros(weights).items()}) > 1


def test_what_is_not_covered_stays(tiny: conformance.Subject) -> None:
    """Pooler and classifier above all: without them MiniLM falls from 95 % to 76 %."""
    before = tiny.dense.model()
    after = pruned(tiny, PruneMagnitude(sparsity=0.9, recovery_epochs=0))
    covered = {f"{name}.weight" for name in tensors(before)}
    for name, value in before.state_dict().items():
        assert (name in covered) != torch.equal(after.state_dict()[name], value), name


def test_embeddings_can_be_left_out(tiny_bert: conformance.Subject) -> None:
    weights = tensors(pruned(tiny_bert, PruneMagnitude(embeddings=False, recovery_epochs=0)))
    table = surgery.word_embedding(tiny_bert.dense.model())
    assert zeros(weights)[str(table)] < 100  # the padding row, and no more


def test_zeros_stay_zero_through_recovery_and_the_others_learn(tiny: conformance.Subject) -> None:
    before = tensors(pruned(tiny, PruneMagnitude(sparsity=0.6, recovery_epochs=0)))
    trained = pruned(tiny, PruneMagnitude(sparsity=0.6, recovery_epochs=2, learning_rate=1e-2))
    after = tensors(trained)
    for name, weight in after.items():
        assert torch.equal(weight == 0, before[name] == 0), name
    assert all(p.requires_grad and p.grad is None for p in trained.parameters())
    table = surgery.word_embedding(trained)
    assert all(not torch.equal(after[name], before[name]) for name in after if name != table)


def test_recovery_brings_the_answers_closer_to_the_dense_ones(tiny: conformance.Subject) -> None:
    def distance(model: nn.Module) -> float:
        with torch.inference_mode():
            logits = model(**tiny.examples.inputs).logits
        return float((logits - tiny.examples.dense_logits).norm())

    one_shot = distance(pruned(tiny, PruneMagnitude(recovery_epochs=0)))
    assert distance(pruned(tiny, PruneMagnitude(recovery_epochs=8, learning_rate=1e-3))) < 0.7 * one_shot


def test_half_the_weights_make_a_file_of_little_more_than_half(tiny: conformance.Subject, tmp_path: Path) -> None:
    compressor = PruneMagnitude(recovery_epochs=0)
    made = build([compressor], tiny.dense, tiny.context(compressor), tmp_path)
    weights = tensors(made.model())
    saved = sum(w.numel() * 4 - w.numel() * 2 - -(-w.numel() // 8) for w in weights.values())
    assert tiny.dense.disk_bytes - made.disk_bytes == pytest.approx(saved, abs=8_000)  # names of the tensors


@pytest.mark.parametrize(
    "parameters,message",
    [
        ({"sparsity": 0.0}, "sparsity = 0.0: must lie between 0 and 1"),
        ({"sparsity": 1.0}, "sparsity = 1.0"),
        ({"sparsity": 50}, "sparsity = 50"),
        ({"sparsity": float("nan")}, "sparsity = nan"),
        ({"scope": "tensor"}, "scope = 'tensor': must be one of layer, global, row"),
        ({"recovery_epochs": -1}, "recovery_epochs = -1"),
        ({"learning_rate": 0}, "learning_rate = 0"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneMagnitude(**parameters)
