"""A model that is quantized already in the place of the dense one: last month's, which this month's is held against."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import transformers

sys.path.append(str(Path(__file__).parent))
import tiny_models
from matrix_run import NO_TARGETS, ROOT, Done, Place, finish, record
from packed_folders import compressed_tensors

from benchmarks.cache import Cache
from benchmarks.zoo.own.declaration import declare
from benchmarks.zoo.own.understanding import understand
from compressors.interface import PressbenchError
from results.store.store import list_runs, read_run

pytest.importorskip("compressed_tensors")
LEFT = ("classifier", "bert.pooler.dense")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained classifier packed in 8 bits and in 3, and its reviews."""
    folder = tmp_path_factory.mktemp("own")
    tiny_models.trained_classifier(folder / "dense")
    for name, bits in (("int8", 8), ("int4", 4)):
        compressed_tensors(folder / "dense", folder / name, bits=bits, size=16, left=LEFT)
        transformers.AutoTokenizer.from_pretrained(folder / "dense").save_pretrained(folder / name)
    names = ("negative", "positive")
    rows = [(text, names[label]) for text, label in tiny_models.reviews(400, seed=3)]
    tiny_models.write_csv(folder / "reviews.csv", ("text", "label"), rows)
    return folder


@pytest.fixture(scope="module")
def done(own: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    folder = tmp_path_factory.mktemp("place")
    place = Place(folder, folder / "cache", {}, NO_TARGETS)
    options = (
        "--model", "./int8", "--data", "reviews.csv", "--artifact", "int4=./int4", "--compressor", "dense",
        "--compressor", "quantize-weights-8bit", "--tau", "0", "--unqualified-ok",
    )  # fmt: skip
    command = place.command(*options, target=str(ROOT / "benchmarks"), results="results")
    state = str(folder / "state")
    return finish(place.start("-m", "pytest", *command, at=own, PRESSBENCH_STATE=state)), folder / "results"


def test_it_is_what_others_are_held_against(own: Path, done: tuple[Done, Path]) -> None:
    """Its own file as it is, and the words say so: nothing of a dense model in fp32."""
    ended, results = done
    assert ended.code == 0, ended.out + ended.err
    run = read_run(list_runs(results)[0])
    other, itself = record(run, "footprint", "int4"), record(run, "footprint", "dense")
    assert itself.measures["size_ratio"].value == 1.0
    bytes_of = {name: (own / name / "model.safetensors").stat().st_size for name in ("int8", "int4")}
    apart = other.measures["disk_bytes"].value - itself.measures["disk_bytes"].value
    assert apart == pytest.approx(bytes_of["int4"] - bytes_of["int8"], abs=2000)  # and what is said of each
    assert record(run, "accuracy", "int4").measures["accuracy_drop"].value is not None
    assert record(run, "speed", "int4").measures["speedup"].value > 0
    assert record(run, "accuracy", "dense").evidence["owners_run"]["shown"]
    text = " ".join(ended.out.split())
    assert "in the place of a dense model: compressed-tensors by transformers" in text
    assert "torch fp32" not in text
    assert "quantized already (compressed-tensors): others are held against it as its library runs it" in text


def test_no_method_is_run_on_it(done: tuple[Done, Path]) -> None:
    run = read_run(list_runs(done[1])[0])
    found = record(run, "accuracy", "quantize-weights-8bit")
    assert found.verdict == "unsupported"
    assert found.reason.endswith(
        "is quantized already (compressed-tensors): quantize-weights needs the model before that"
    )


def test_a_quantization_that_nothing_reads_is_told_at_once(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "int8"
    folder.mkdir()
    for file in (own / "int8").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["quant_method"] = "fewest"
    (folder / "config.json").write_text(json.dumps(config))
    said = {"model": str(folder), "data": str(own / "reviews.csv")}
    with pytest.raises(PressbenchError, match=r"config.json names the quantization 'fewest', which is not read here"):
        understand(declare("own", "--model", tmp_path, said), Cache(tmp_path / "cache"))
