"""Layers executed without their zeros: the same answers, fewer operations and bytes, and only where most are zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.matrix.selection import parse_compressors
from compressors import conformance, registry, surgery
from compressors.build import build
from compressors.interface import PressbenchError, Unsupported
from compressors.pruning.csr import CsrLinear, SparseCsr
from compressors.pruning.magnitude import PruneMagnitude
from compressors.runtimes.executed import of_torch


@pytest.mark.parametrize("rows", [(), (1,), (3,), (2, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_equals_the_dense_product(rows: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(1)
    layer = CsrLinear(24, 40, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(40, 24) > 0.9)
        layer.weight[7] = 0  # a row of nothing
    values = torch.randn(*rows, 24, dtype=torch.float64)
    wanted = layer(values)
    layer.place()
    assert torch.allclose(layer(values), wanted, rtol=0, atol=1e-14)
    layer.release()
    assert torch.allclose(layer(values), wanted, rtol=0, atol=1e-14) and layer.weight.untyped_storage().nbytes() == 0


@pytest.mark.parametrize("rows", [1, 6])
def test_what_is_counted_is_what_is_left(rows: int) -> None:
    model = nn.Sequential(CsrLinear(64, 32, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()[:, ::16] = 1.0  # 4 of 64
    before = of_torch(model, lambda: model(torch.ones(rows, 64)))
    model[0].place()
    model[0].release()
    after = of_torch(model, lambda: model(torch.ones(rows, 64)))
    assert before.total == 2 * rows * 64 * 32 and after.total == 2 * rows * 4 * 32
    assert before.weight_bytes == 4 * 64 * 32
    assert after.weight_bytes == (4 + 4) * 4 * 32 + 4 * (32 + 1)  # values, their columns, where rows begin


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_file_executes_fewer_operations_and_answers_as_the_pruned_model(kind: str, tmp_path: Path) -> None:
    subject = conformance.subject(kind)
    method = SparseCsr(recovery_epochs=0.0)
    made = build(method.steps, subject.dense, subject.context(*method.steps), tmp_path)
    inputs = {name: values.numpy() for name, values in subject.examples.inputs.items()}
    pruned = build(method.steps[:1], subject.dense, subject.context(*method.steps), tmp_path / "pruned")
    assert made.load(threads=1)(inputs) == pytest.approx(pruned.load(threads=1)(inputs), abs=1e-4)
    dense, sparse = subject.dense.executed(inputs), made.executed(inputs)
    assert dense is not None and sparse is not None
    assert sparse.total < 0.45 * dense.total and sparse.weight_bytes < 0.5 * dense.weight_bytes
    assert made.disk_bytes == pytest.approx(pruned.disk_bytes, rel=0.05)


def test_it_follows_another_method_in_a_chain(tmp_path: Path) -> None:
    subject = conformance.subject("bert")
    steps = registry.build("pipeline", {"chain": (
        ("prune-wanda", (("sparsity", 0.95), ("recovery_epochs", 0.0))), ("sparse-csr", (("sparsity", None),)),
    )}).steps  # fmt: skip
    assert [step.name for step in steps] == ["prune-wanda", "sparse-csr"]
    made = build(steps, subject.dense, subject.context(*steps), tmp_path)
    model = made.model()
    layers = [surgery.get(model, name) for name in surgery.block_linears(model)]
    assert all(isinstance(layer, CsrLinear) for layer in layers)


def test_two_artifacts_of_the_same_bytes_that_compute_otherwise_are_two(tmp_path: Path) -> None:
    """The fault: what one executes was taken for what the other does."""
    subject = conformance.subject("bert")
    pruned, sparse = SparseCsr(recovery_epochs=0.0).steps
    one = build([pruned], subject.dense, subject.context(pruned), tmp_path / "one")
    other = build([sparse], one, subject.context(sparse), tmp_path / "other")
    assert [facts["sha256"] for facts in one.manifest["files"].values()] == [
        facts["sha256"] for facts in other.manifest["files"].values()
    ]
    assert one.digest != other.digest


@pytest.mark.parametrize("after", ["torch-bf16", "quantize-weights", "weight-only", "prune-layers", "sparse-csr"])
def test_nothing_may_follow_it(after: str) -> None:
    """Others would pass its layers by and say nothing, or train values where it has none."""
    with pytest.raises(PressbenchError, match=f"sparse-csr must be the last of a chain: {after}|prune-magnitude"):
        parse_compressors([f"prune-magnitude-50+sparse-csr:sparsity=null+{after}"], "full")


def test_weights_of_16_bits_are_unsupported(tmp_path: Path) -> None:
    subject, alone = conformance.subject("bert"), SparseCsr(sparsity=None)
    steps = (registry.build("torch-bf16"), PruneMagnitude(sparsity=0.95, embeddings=False, recovery_epochs=0), alone)
    with pytest.raises(Unsupported, match=r"its weights are torch.bfloat16: torch multiplies such rows in"):
        build(steps, subject.dense, subject.context(*steps), tmp_path)


def test_a_layer_with_few_zeros_stays_dense_and_a_model_of_such_is_unsupported(tmp_path: Path) -> None:
    subject = conformance.subject("bert")
    alone = SparseCsr(sparsity=None)
    with pytest.raises(Unsupported, match=r"no layer has 90 % zeros, the most is \d+ %|no layer has 90%") as told:
        build([alone], subject.dense, subject.context(alone), tmp_path / "a")
    assert "\n" not in str(told.value)
    half = (PruneMagnitude(sparsity=0.5, embeddings=False, recovery_epochs=0.0), alone)
    with pytest.raises(Unsupported, match="the most is 50"):
        build(half, subject.dense, subject.context(*half), tmp_path / "b")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"sparsity": 0.5}, "sparsity = 0.5: must be at least 0.9"),
        ({"sparsity": 1.0}, "below 1"),
        ({"least": 0.0}, "least = 0.0: must lie between 0 and 1"),
        ({"recovery_epochs": -1.0}, "recovery_epochs = -1.0"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(parameters: dict[str, float], told: str) -> None:
    with pytest.raises(PressbenchError, match=told) as caught:
        registry.build("sparse-csr", parameters)
    assert "\n" not in str(caught.value)
