"""An archive of torch.export answers as the module it was exported from, and is read only where pickle is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import zoo
from benchmarks.cache import Cache
from benchmarks.matrix.artifacts import by_options
from compressors import conformance
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.given.form import GivenError
from compressors.given.given import Given
from compressors.interface import Context, Hardware, PressbenchError

CPU = Hardware("cpu", "cpu-other")
FREE = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}


def inputs(rows: int = 4) -> dict[str, np.ndarray]:
    return {name: values.numpy()[:rows] for name, values in conformance.subject("bert").examples.inputs.items()}


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in inputs().items()}


def taken(path: Path, folder: Path, **more: Any) -> Artifact:
    dense = conformance.subject("bert").dense
    given = Given(str(path), **more)
    looked = given.looked()
    given.fit(looked, dense.spec)
    return build_step(replace(given, sha256=looked.sha256), dense, Context(dense.spec, CPU, dense.model), folder)


class Scores(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, mask: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return found


@pytest.mark.parametrize("as_keywords", [True, False])
def test_it_answers_as_the_module_did_whatever_its_inputs_are_called_and_in_whatever_order(
    tmp_path: Path, as_keywords: bool
) -> None:
    model = conformance.subject("bert").dense.model()
    with torch.inference_mode():
        expected = model(**tensors()).logits.numpy()
    given = tensors()
    args = (given["attention_mask"], given["input_ids"])
    kwargs = {"mask": args[0], "ids": args[1]}
    program = (
        torch.export.export(Scores(model), (), kwargs, dynamic_shapes={"mask": FREE, "ids": FREE})
        if as_keywords
        else torch.export.export(Scores(model), args, dynamic_shapes=(FREE, FREE))
    )
    torch.export.save(program, tmp_path / "model.pt2")
    made = taken(tmp_path / "model.pt2", tmp_path / "made")
    np.testing.assert_allclose(made.load()(inputs()), expected, atol=1e-5)
    np.testing.assert_allclose(made.load()(inputs(2)), expected[:2], atol=1e-5)
    dense = conformance.subject("bert").dense
    ours, theirs = dense.executed(inputs()), made.executed(inputs())
    assert ours and theirs and theirs.total == pytest.approx(ours.total, rel=0.02)
    assert made.inventory().parameters == dense.inventory().parameters


def test_a_batch_that_was_fixed_is_refused(tmp_path: Path) -> None:
    given = tensors()
    args = (given["attention_mask"], given["input_ids"])
    torch.export.save(torch.export.export(Scores(conformance.subject("bert").dense.model()), args), tmp_path / "a.pt2")
    with pytest.raises(GivenError, match=r"a fixed batch of 4; export it with a free first axis"):
        taken(tmp_path / "a.pt2", tmp_path / "made")


def test_pickle_is_read_where_that_is_allowed_alone(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(b"PK")
    model = zoo.known_models()["vit-digits"]
    with pytest.raises(PressbenchError, match=r"--artifact a-pt2: a.pt2: a.pt2 holds pickle, .* --allow-pickle"):
        by_options(["a.pt2"], [model], tmp_path, Cache(tmp_path / "cache"))
    with pytest.raises(PressbenchError, match=r"--artifact a-pt2: a.pt2: a.pt2 cannot be read: "):
        by_options(["a.pt2"], [model], tmp_path, Cache(tmp_path / "cache"), pickle=True)
