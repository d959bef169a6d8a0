"""Adapters that stay beside packed weights: what they begin as, what they win, what is in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressors import conformance, registry, surgery
from compressors.adapters.beside import AdaptersBeside, Beside
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.interface import PressbenchError, Unsupported
from compressors.low_rank.factors import factorise
from compressors.quantization.packed_layers import PackedLinear


def made(subject: conformance.Subject, folder: Path, method: AdaptersBeside) -> Artifact:
    artifact, context = subject.dense, subject.context(*method.steps)
    for number, step in enumerate(method.steps):
        artifact = build_step(step, artifact, context, folder / str(number))
    return artifact


def distance(artifact: Artifact, subject: conformance.Subject) -> float:
    with torch.inference_mode():
        return float((artifact.model()(**subject.examples.inputs).logits - subject.examples.dense_logits).norm())


COARSE = "quantize-gptq:bits=2,group_size=32"


def test_training_them_wins_and_the_codes_stay(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    far = distance(
        made(tiny_bert, tmp_path / "a", AdaptersBeside(weights=COARSE, rank=4, recovery_epochs=0.0)), tiny_bert
    )
    method = AdaptersBeside(weights=COARSE, rank=4, recovery_epochs=0.5, learning_rate=3e-3)
    trained = made(tiny_bert, tmp_path / "b", method)
    assert distance(trained, tiny_bert) < 0.8 * far
    bare = build_step(method.steps[0], tiny_bert.dense, tiny_bert.context(*method.steps), tmp_path / "c")
    assert far < distance(bare, tiny_bert)  # what of the error has the rank is less of an error
    codes, own = trained.model().state_dict(), bare.model().state_dict()
    for name, values in own.items():
        found = codes.get(name)
        if found is None:  # the layer moved one level down
            layer = next(n for n in own if name.startswith(n.rpartition(".weight.")[0] + ".")).rpartition(".weight.")[0]
            found = next(v for n, v in codes.items() if n.replace(".base.", ".") == name)
            assert layer
        assert torch.equal(found, values), name


def test_the_start_is_the_nearest_of_its_rank(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    method = AdaptersBeside(weights=COARSE, rank=4, recovery_epochs=0.0)
    model, dense = made(tiny_bert, tmp_path, method).model(), tiny_bert.dense.model()
    beside = {name: module for name, module in model.named_modules() if isinstance(module, Beside)}
    assert set(beside) == set(surgery.block_linears(dense))
    for name, layer in beside.items():
        error = surgery.get(dense, name).weight.detach() - layer.base.weight
        left = float((surgery.get(dense, name).weight - layer.weight).norm())
        lost = torch.linalg.svdvals(error.double())[4:].square().sum().sqrt()  # Eckart and Young
        assert left == pytest.approx(float(lost), rel=1e-2), name
        second, first = factorise(error, 4)
        assert float((error - second @ first).norm()) == pytest.approx(float(lost), rel=1e-4)


def test_its_weight_is_what_it_answers_with(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    model = made(tiny_bert, tmp_path, AdaptersBeside(rank=4, recovery_epochs=0.25)).model()
    layer = next(module for module in model.modules() if isinstance(module, Beside))
    values = torch.randn(3, layer.base.in_features, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.linear(values.double(), layer.weight.double(), layer.bias.double())  # type: ignore[union-attr]
    torch.testing.assert_close(layer(values).double(), wanted, rtol=1e-4, atol=1e-4)


def test_the_adapters_are_in_the_file_and_counted(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    method = AdaptersBeside(rank=4, recovery_epochs=0.25)
    artifact = made(tiny_bert, tmp_path / "a", method)
    bare = build_step(method.steps[0], tiny_bert.dense, tiny_bert.context(*method.steps), tmp_path / "b")
    layers = [m for m in artifact.model().modules() if isinstance(m, Beside)]
    numbers = sum(4 * (m.base.in_features + m.base.out_features) for m in layers)
    added = artifact.inventory().parameters - bare.inventory().parameters
    assert added == numbers and artifact.inventory().dtypes["float16"] == numbers
    assert artifact.disk_bytes - bare.disk_bytes >= 2 * numbers
    assert all(type(m.base) is PackedLinear for m in layers)


def test_what_cannot_be_is_refused(tiny_bert: conformance.Subject) -> None:
    for given, told in (
        ({"rank": 0}, "rank = 0: must be a whole number"),
        ({"start": "one"}, "start = 'one': must be one of error, zero"),
        ({"start": "zero", "recovery_epochs": 0.0}, "stay zero"),
        ({"weights": "quantize-nothing"}, "weights = 'quantize-nothing': "),
        ({"weights": "int8-openvino"}, "must make a torch model"),
        ({"recovery_epochs": -1.0}, "recovery_epochs = -1.0"),
    ):
        with pytest.raises(PressbenchError, match=told):
            registry.build("adapters-beside", given)
    whole = AdaptersBeside(weights=None)
    with pytest.raises(Unsupported, match="no layer of the blocks is packed"):
        whole.compress(tiny_bert.dense.model(), tiny_bert.context(whole))


def test_a_rank_as_wide_as_a_layer_is_refused(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    with pytest.raises(PressbenchError, match="rank = 64 is no less than a side of"):
        made(tiny_bert, tmp_path, AdaptersBeside(rank=64))
