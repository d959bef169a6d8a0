"""What is saved is what is loaded, and a file that is not what was saved is refused by name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compressors import artifact, conformance
from compressors.artifact import MANIFEST, SCHEMA, Artifact, ArtifactError, open_artifact, save
from compressors.interface import PressbenchError
from compressors.runtimes.torch import WEIGHTS, read_state, write_state
from compressors.skeleton import skeleton
from compressors.tiny_specs import TINY_SPECS

SPEC = TINY_SPECS["bert"]

UNREADABLE_LIST = "damaged, its list of files cannot be read"


@pytest.fixture
def saved(tmp_path: Path) -> Artifact:
    """A copy of the tiny BERT on disk, to be damaged."""
    shutil.copytree(conformance.subject("bert").dense.directory, tmp_path / "saved")
    return open_artifact(tmp_path / "saved")


def edit(found: Artifact, **changes: Any) -> None:
    path = found.directory / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# -- round trip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, kind: str) -> None:
    spec, examples = TINY_SPECS[kind], conformance.subject(kind).examples
    model = conformance.subject(kind).dense.model()
    made = save(model, tmp_path / "made", spec, options={"precision": "fp32"})
    again = open_artifact(tmp_path / "made")
    assert again.manifest == made.manifest
    assert again.spec == spec
    assert again.recipe == []
    assert {n: t.tolist() for n, t in again.model().state_dict().items()} == {
        n: t.tolist() for n, t in model.state_dict().items()
    }
    forward = again.load(threads=1)
    with torch.inference_mode():
        expected = model(**examples.inputs).logits.numpy()
    np.testing.assert_array_equal(forward({n: v.numpy() for n, v in examples.inputs.items()}), expected)


def test_the_same_weights_have_the_same_digest_and_one_bit_more_has_another(tmp_path: Path, saved: Artifact) -> None:
    model = saved.model()
    assert save(model, tmp_path / "same", SPEC).digest == saved.digest
    with torch.no_grad():
        model.classifier.bias[0] += 1e-6
    assert save(model, tmp_path / "other", SPEC).digest != saved.digest


def test_no_format_that_can_run_code(saved: Artifact) -> None:
    assert {p.suffix for p in saved.directory.iterdir()} == {".json", ".safetensors"}
    assert (saved.directory / WEIGHTS).read_bytes()[8:9] == b"{"  # a safetensors header, not a pickle in disguise


def test_the_size_is_that_of_all_its_files(saved: Artifact) -> None:
    whole = sum(p.stat().st_size for p in saved.directory.iterdir())
    (saved.directory / "seal.json").write_text("what a cache notes")
    assert saved.disk_bytes == whole
    assert saved.disk_bytes > 4 * saved.inventory().parameters


# -- damage ----------------------------------------------------------------------------------------


def truncate(found: Artifact) -> None:
    data = (found.directory / WEIGHTS).read_bytes()
    (found.directory / WEIGHTS).write_bytes(data[:-100])


def corrupt(found: Artifact) -> None:
    data = bytearray((found.directory / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (found.directory / WEIGHTS).write_bytes(data)


def cut_manifest(found: Artifact) -> None:
    path = found.directory / MANIFEST
    path.write_text(path.read_text()[:200])


def listed(name: str) -> Callable[[Artifact], None]:
    return lambda found: edit(found, files={name: {"bytes": 1, "sha256": "0" * 64}})


@pytest.mark.parametrize(
    ("damage", "file", "told"),
    [
        (truncate, WEIGHTS, r"\d+ bytes where \d+ were saved \(truncated\?\)"),
        (corrupt, WEIGHTS, r"its SHA-256 is not the one it was saved with \(corrupted or edited\)"),
        (lambda found: (found.directory / WEIGHTS).unlink(), WEIGHTS, "missing"),
        (lambda found: (found.directory / MANIFEST).unlink(), "", f"not an artifact, {MANIFEST} is missing"),
        (cut_manifest, MANIFEST, "damaged, not readable as JSON with a schema number"),
        (lambda found: (found.directory / MANIFEST).write_bytes(b"\xff\xfe"), MANIFEST, "damaged, not readable"),
        (lambda found: (found.directory / MANIFEST).write_text("[]"), MANIFEST, "damaged, not readable"),
        (lambda found: edit(found, schema="new"), MANIFEST, "damaged, not readable"),
        (lambda found: (found.directory / MANIFEST).write_text('{"schema": 1}'), MANIFEST, "damaged, without"),
        (lambda found: edit(found, files=[WEIGHTS]), MANIFEST, UNREADABLE_LIST),
        (lambda found: edit(found, files={WEIGHTS: 3}), MANIFEST, UNREADABLE_LIST),
        (lambda found: edit(found, files={WEIGHTS: {"sha256": "0" * 64}}), MANIFEST, UNREADABLE_LIST),
        (listed("../secret"), MANIFEST, r"names a file outside the artifact: '\.\./secret'"),
        (listed("/etc/passwd"), MANIFEST, "names a file outside the artifact: '/etc/passwd'"),
    ],
    ids=[
        "truncated", "corrupted", "missing", "no-manifest", "cut-manifest", "no-text", "a-list", "schema-a-word",
        "keys-missing", "files-a-list", "facts-a-number", "facts-missing", "path-up", "path-absolute",
    ],
)  # fmt: skip
def test_a_damaged_artifact_is_refused_by_the_file_at_fault(
    saved: Artifact, damage: Callable[[Artifact], None], file: str, told: str
) -> None:
    (saved.directory.parent / "secret").write_text("x")
    damage(saved)
    with pytest.raises(ArtifactError, match=f"^{re.escape(str(saved.directory / file))}: {told}") as error:
        open_artifact(saved.directory)
    assert "\n" not in str(error.value)


def test_a_link_out_of_the_artifact_is_refused(saved: Artifact) -> None:
    outside = saved.directory.parent / "weights"
    (saved.directory / WEIGHTS).rename(outside)
    (saved.directory / WEIGHTS).symlink_to(outside)
    with pytest.raises(ArtifactError, match="names a file outside the artifact"):
        open_artifact(saved.directory)


def test_an_artifact_of_the_future_is_refused_with_both_versions(saved: Artifact) -> None:
    edit(saved, schema=SCHEMA + 1)
    with pytest.raises(
        ArtifactError, match=rf"schema {SCHEMA + 1} is newer than this version reads \({SCHEMA}\): upgrade"
    ):
        open_artifact(saved.directory)


def test_weights_that_do_not_fit_the_recipe_are_one_line(tmp_path: Path, saved: Artifact) -> None:
    model = saved.model()
    model.classifier = nn.Linear(model.classifier.in_features, 5)  # a change that no recipe tells of
    made = save(model, tmp_path / "made", SPEC)
    with pytest.raises(PressbenchError, match=r"made: the weights do not fit the recipe: .*classifier") as error:
        made.model()
    assert "\n" not in str(error.value)


def test_a_missing_tensor_is_not_filled_with_anything(tmp_path: Path, saved: Artifact) -> None:
    model = saved.model()
    model.classifier = nn.Linear(model.classifier.in_features, 3, bias=False)
    made = save(model, tmp_path / "made", SPEC)
    with pytest.raises(PressbenchError, match="do not fit the recipe"):
        made.model()


def test_a_recipe_that_names_nobody_is_one_line(saved: Artifact) -> None:
    edit(saved, recipe=[{"compressor": "int9", "parameters": {}, "structure": {}, "seconds": 0}])
    with pytest.raises(PressbenchError, match="unknown compressor 'int9'"):
        open_artifact(saved.directory).model()


def test_a_runtime_that_is_unknown_is_one_line(saved: Artifact) -> None:
    edit(saved, runtime="opnvino")
    with pytest.raises(PressbenchError, match=r"unknown runtime 'opnvino'; did you mean openvino\?"):
        open_artifact(saved.directory).load()


def test_no_model_class_but_transformers_own_is_built(saved: Artifact) -> None:
    for name in ("os.system", "PreTrainedModel2", "AutoTokenizer", ""):
        edit(saved, config={**SPEC.config, "architectures": [name]})
        with pytest.raises(PressbenchError, match="is not a model class of transformers"):
            open_artifact(saved.directory).model()


def test_a_structure_that_is_no_json_is_refused_when_saving(tmp_path: Path, saved: Artifact) -> None:
    step = {"compressor": "x", "parameters": {}, "seconds": 0}
    for value in ({1, 2}, torch.tensor(1), float("nan")):
        with pytest.raises(ArtifactError, match="recipe and structure must be JSON values"):
            save(saved.model(), tmp_path / str(type(value)), SPEC, recipe=[{**step, "structure": {"a": value}}])


# -- sparse storage --------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.0, 0.3, 0.89, 0.95])
def test_a_tensor_is_stored_sparse_where_that_is_worth_it(tmp_path: Path, density: float) -> None:
    tensor = (torch.rand(64, 65, generator=torch.Generator().manual_seed(0)) < density).float()
    payload = write_state({"w": tensor}, tmp_path / "f")
    assert torch.equal(read_state(tmp_path / "f", payload)["w"], tensor)
    assert set(payload["sparse"]) == ({"w"} if density < 0.9 else set())
    bits = bool(density) + 32 * float(tensor.mean()) if payload["sparse"] else 32  # nothing at all is one block
    assert (tmp_path / "f").stat().st_size * 8 / tensor.numel() == pytest.approx(bits, abs=0.5)  # and a header


def test_integers_and_small_tensors_are_left_alone(tmp_path: Path) -> None:
    state = {"codes": torch.zeros(4096, dtype=torch.uint8), "bias": torch.zeros(8), "none": torch.zeros(0)}
    payload = write_state(state, tmp_path / "f")
    assert payload["sparse"] == {}
    assert {n: t.tolist() for n, t in read_state(tmp_path / "f", payload).items()} == {
        n: t.tolist() for n, t in state.items()
    }


def test_a_shared_tensor_is_stored_once_and_comes_back_under_both_names(tmp_path: Path) -> None:
    table = torch.randn(64, 64)
    payload = write_state({"embedding": table, "head": table, "copy": table.clone()}, tmp_path / "f")
    assert payload["shared"] == {"head": "embedding"}
    assert (tmp_path / "f").stat().st_size < 2.1 * table.numel() * 4
    again = read_state(tmp_path / "f", payload)
    assert all(torch.equal(again[name], table) for name in ("embedding", "head", "copy"))


def test_parts_of_one_tensor_are_stored_each(tmp_path: Path) -> None:
    table = torch.randn(64, 64)
    parts = {"query": table[:32], "key": table[32:], "turned": table.T}
    again = read_state(tmp_path / "f", write_state(parts, tmp_path / "f"))
    assert all(torch.equal(again[name], part) for name, part in parts.items())


def test_a_model_with_tied_weights_is_stored_once_and_loads(tmp_path: Path) -> None:
    config = {**SPEC.config, "architectures": ["BertForMaskedLM"]}
    torch.manual_seed(0)
    model = skeleton(config)
    made = artifact.save(model, tmp_path / "made", type(SPEC)("tied", config, SPEC.inputs))
    assert made.manifest["payload"]["shared"]
    inputs = {n: v[:2] for n, v in conformance.subject("bert").examples.inputs.items()}
    with torch.inference_mode():
        assert torch.equal(made.model()(**inputs).logits, model(**inputs).logits)
