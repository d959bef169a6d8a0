"""An adapter of PEFT on the dense model answers as PEFT does, beside its layers and merged into them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compressors import conformance
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.interface import Context, Hardware, PressbenchError
from compressors.tiny_specs import TINY_SPECS

CPU = Hardware("cpu", "cpu-other")


def inputs(rows: int = 4) -> dict[str, np.ndarray]:
    return {name: values.numpy()[:rows] for name, values in conformance.subject("bert").examples.inputs.items()}


def write(folder: Path, **more: Any) -> np.ndarray:
    """An adapter with values of its own, and a head that was trained along with it; what PEFT answers with it."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4, lora_alpha=12, target_modules=["query", "value"], modules_to_save=["classifier"], **more
    )  # fmt: skip
    model: Any = peft.get_peft_model(conformance.subject("bert").dense.model(), config)
    for name, values in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            nn.init.normal_(values, std=0.1)
    model.save_pretrained(folder)
    with torch.inference_mode():
        found = model.eval()(**{name: torch.from_numpy(values) for name, values in inputs().items()}).logits
    return np.asarray(found.numpy())


def taken(path: Path, folder: Path, merged: bool = False) -> Artifact:
    dense = conformance.subject("bert").dense
    given = Given(str(path), merged=merged)
    looked = given.looked()
    assert "put on the dense model here" in given.fit(looked, dense.spec).notes[0]
    return build_step(replace(given, sha256=looked.sha256), dense, Context(dense.spec, CPU, dense.model), folder)


@pytest.mark.parametrize("rslora", [False, True])
def test_it_answers_as_peft_does_beside_and_merged(tmp_path: Path, rslora: bool) -> None:
    expected = write(tmp_path / "adapter", use_rslora=rslora)
    beside, merged = (taken(tmp_path / "adapter", tmp_path / str(way), way) for way in (False, True))
    shutil.rmtree(tmp_path / "adapter")  # an artifact is whole by itself
    dense = conformance.subject("bert").dense
    assert np.abs(expected - dense.load()(inputs())).max() > 0.05
    np.testing.assert_allclose(beside.load()(inputs()), expected, atol=1e-5)
    np.testing.assert_allclose(merged.load()(inputs()), expected, atol=1e-5)
    executed = [one.executed(inputs()) for one in (dense, merged, beside)]
    assert all(executed)
    totals = [one.total for one in executed if one]
    assert totals[0] == totals[1] < totals[2], "beside, it is work of its own"
    sizes = [one.inventory().parameters for one in (dense, merged, beside)]
    assert sizes[0] == sizes[1] < sizes[2]


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return changed


def _config(**more: Any) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))

    return changed


def _led_out(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.symlink_to(weights.rename(folder.parent / "elsewhere.safetensors"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_tensors(lambda t: t.pop(next(n for n in t if "lora_A" in n))), "1 tensors of the adapter are not in"),
        (_tensors(lambda t: t.pop(next(n for n in t if "classifier" in n))), "it is not of this model: "),
        (_tensors(lambda t: t.update({"base_model.model.more.lora_A.weight": torch.ones(4, 8)})), "of no layer here"),
        (_tensors(lambda t: t.update({sorted(t)[-1]: torch.ones(3, 5)})), "it is not of this model: "),
        (_config(target_modules=["q_proj"]), "it is not of this model: |are of no layer here"),
        (_config(peft_type="IA3"), "IA3, not LORA: merge it"),
        (_config(use_dora=True), "LORA with use_dora: merge it"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not readable as JSON with a peft_type"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors; pickle is not"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"abc"), "damaged or truncated"),
        (_led_out, "adapter_model.safetensors leads out of its folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, change: Callable[[Path], Any], told: str) -> None:
    write(tmp_path / "adapter")
    change(tmp_path / "adapter")
    with pytest.raises(PressbenchError, match=told) as error:
        taken(tmp_path / "adapter", tmp_path / "made")
    assert "\n" not in str(error.value)


def test_ports_are_said_of_graphs_alone(tmp_path: Path) -> None:
    write(tmp_path / "adapter")
    given = Given(str(tmp_path / "adapter"), output="logits")
    with pytest.raises(GivenError, match="an adapter has the dense model's"):
        given.fit(given.looked(), TINY_SPECS["bert"])
