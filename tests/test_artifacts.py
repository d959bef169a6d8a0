"""Models that others compressed, judged as people do it: the dense model, its data, and the files beside it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

sys.path.append(str(Path(__file__).parent))
import tiny_models
from matrix_run import NO_TARGETS, ROOT, Done, Place, finish, record
from test_own_models import quoted

from compressors.interface import InputSpec, ModelSpec
from compressors.runtimes.export import to_onnx
from results.store.store import Run, list_runs, read_run

ALONE = ("--compressor", "dense")
"""No controls beside what is named: each is exported for ten seconds, and nothing is asked of it."""
TEXTS = InputSpec("int64", ("batch", "sequence"))
TARGETS = """
[reviews]
model = "./dense"
data = "reviews.csv"

[reviews.artifacts]
int8 = "./theirs.onnx"
swapped = { path = "./swapped.onnx" }
student = "./student"
student-again = "./student"

[reviews.targets.int8]
accuracy_drop = 0.05
size = 50.0

[reviews.targets.swapped]
accuracy_drop = 0.05

[reviews.targets.student]
accuracy_drop = 0.05
"""


def student(folder: Path) -> Path:
    """Another architecture, half as deep, with another tokenizer, whose numbers mean other words."""
    torch.manual_seed(0)
    words = (*tiny_models.SPECIAL, *reversed(tiny_models.VOCABULARY[len(tiny_models.SPECIAL) :]), "more", "words")
    config = transformers.DistilBertConfig(
        vocab_size=len(words), dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=48,
        id2label={0: "negative", 1: "positive"}, label2id={"negative": 0, "positive": 1},
    )  # fmt: skip
    model, read = transformers.DistilBertForSequenceClassification(config), tiny_models.tokenizer(words)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(120):
        batch = tiny_models.reviews(32, seed=100 + step)
        encoded = read([text for text, _ in batch], padding=True, return_tensors="pt")
        encoded.pop("token_type_ids", None)
        model(**encoded, labels=torch.tensor([label for _, label in batch])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return tiny_models.save(model.eval(), folder, words)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained classifier, its reviews, the int8 that onnxruntime's own tool makes of it, and one whose head has its
    outputs in another order."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = tmp_path_factory.mktemp("own")
    tiny_models.trained_classifier(folder / "dense")
    names = ("negative", "positive")
    rows = [(text, names[label]) for text, label in tiny_models.reviews(400, seed=3)]
    tiny_models.write_csv(folder / "reviews.csv", ("text", "label"), rows)
    model = transformers.BertForSequenceClassification.from_pretrained(folder / "dense").eval()
    config = {**model.config.to_dict(), "architectures": ["BertForSequenceClassification"]}
    spec = ModelSpec("reviews", config, {"input_ids": TEXTS, "attention_mask": TEXTS, "token_type_ids": TEXTS})
    plain = to_onnx(model, spec)
    del plain.graph.value_info[:]  # onnxruntime's tool infers shapes anew, and stumbles over those that are there
    onnx.save(plain, str(folder / "fp32.onnx"))
    quantize_dynamic(folder / "fp32.onnx", folder / "theirs.onnx", weight_type=QuantType.QInt8)
    model.classifier.weight.data = model.classifier.weight.data.flip(0).clone()
    model.classifier.bias.data = model.classifier.bias.data.flip(0).clone()
    onnx.save(to_onnx(model, spec), str(folder / "swapped.onnx"))
    student(folder / "student")
    (folder / "zoo.toml").write_text(TARGETS)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    return Place(folder, folder / "cache", {}, NO_TARGETS)


Asked = Callable[..., Done]


@pytest.fixture(scope="module")
def run(place: Place, own: Path) -> Asked:
    def ask(*options: str, results: str = "results", at: Path = own) -> Done:
        command = place.command(*options, target=str(ROOT / "benchmarks"), results=results)
        return finish(place.start("-m", "pytest", *command, at=at, PRESSBENCH_STATE=str(place.folder / "state")))

    return ask


@pytest.fixture(scope="module")
def done(run: Asked) -> Done:
    return run("--compressor", "dense", "--compressor", "onnxruntime-fp32")


@pytest.fixture(scope="module")
def stored(place: Place, done: Done) -> Run:
    (path,) = list_runs(place.folder / "results")
    return read_run(path)


def test_it_is_judged_as_a_method_is(stored: Run, own: Path) -> None:
    accuracy, size = record(stored, "accuracy", "int8"), record(stored, "footprint", "int8")
    speed = record(stored, "speed", "int8")
    assert (accuracy.verdict, size.verdict) == ("pass", "pass"), (accuracy.reason, size.reason)
    assert speed.verdict in ("measured", "unqualified"), speed.reason
    assert accuracy.parameters["path"] == str(own / "theirs.onnx")
    assert size.evidence["files"]["model.onnx"]["bytes"] == (own / "theirs.onnx").stat().st_size
    assert size.measures["compress_seconds"].value is None, "nobody waited for it"
    assert size.measures["first_answer_seconds"].value
    assert accuracy.effect is None
    assert accuracy.recipe[0]["told"]["given"].startswith("ONNX (")


def test_outputs_in_another_order_fail_and_are_doubted_in_words(stored: Run) -> None:
    found = record(stored, "accuracy", "swapped")
    assert found.verdict == "fail"
    assert "agrees with the dense model no better than chance" in found.reason


def test_a_student_with_another_tokenizer_is_asked_in_its_own_tokens(stored: Run, own: Path) -> None:
    """Read by the dense model's tokenizer it would be no better than chance: its numbers mean other words."""
    accuracy, size = record(stored, "accuracy", "student"), record(stored, "footprint", "student")
    assert accuracy.verdict == "pass", accuracy.reason
    assert accuracy.evidence["owners_run_of_its_own"]["shown"]
    assert accuracy.evidence["examples"] == record(stored, "accuracy", "dense").evidence["examples"]
    again = record(stored, "accuracy", "student-again")
    assert again.measures["accuracy"] == accuracy.measures["accuracy"], "the same folder under another name"
    files = {name: facts["bytes"] for name, facts in size.evidence["files"].items()}
    assert files["model.safetensors"] == (own / "student" / "model.safetensors").stat().st_size
    assert size.measures["operations"].value is not None
    dense = record(stored, "footprint", "dense").measures["operations"].value
    assert dense and size.measures["operations"].value < 0.8 * dense
    assert record(stored, "speed", "student").verdict in ("measured", "unqualified")


def test_what_it_is_is_told_before_anything_is_measured(done: Done) -> None:
    before, _, _ = done.out.partition("test_accuracy.py")
    assert "int8: ./theirs.onnx: ONNX (onnx.quantize" in before, before


def test_no_command_pretends_to_build_it(done: Done) -> None:
    answer = done.out[done.out.index("= answer =") :]
    assert "int8" in answer
    assert "--compressor int8" not in answer
    assert "NAME of int8" not in answer


def test_named_by_options_beside_the_same_data(run: Asked, own: Path, place: Place) -> None:
    found = run(
        "--model", "./dense", "--data", "reviews.csv", *ALONE, "--artifact", "small=theirs.onnx", "-m", "footprint",
        results="options",
    )  # fmt: skip
    assert found.code == 0, found.out + found.err
    (path,) = list_runs(place.folder / "options")
    assert record(read_run(path), "footprint", "small").verdict == "measured"


def test_a_language_model_with_other_tokens_is_judged_by_the_byte(run: Asked, place: Place, tmp_path: Path) -> None:
    tiny_models.writer(tmp_path / "writer")
    tiny_models.write_csv(tmp_path / "texts.csv", ("text",), [[text] for text, _ in tiny_models.reviews(200)])
    words = (*tiny_models.SPECIAL, *reversed(tiny_models.VOCABULARY[len(tiny_models.SPECIAL) :]))
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "writer")
    order = [tiny_models.VOCABULARY.index(word) for word in words]
    for table in (model.model.embed_tokens, model.lm_head):
        table.weight.data = table.weight.data[order].clone()
    tiny_models.save(model, tmp_path / "moved", words)
    options = (
        "--model",
        "writer",
        "--data",
        "texts.csv",
        "--task",
        "causal-lm",
        *ALONE,
        "--artifact",
        "moved",
        "-m",
        "accuracy",
    )
    done = run(*options, results="bytes", at=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "judged by bits per byte" in done.out
    (path,) = list_runs(place.folder / "bytes")
    found, dense = (record(read_run(path), "accuracy", name) for name in ("moved", "dense"))
    assert found.verdict == "measured" and found.evidence["owners_run_of_its_own"]["shown"], found.reason
    assert found.measures["perplexity_rise"].value == pytest.approx(0.0, abs=1e-5), "the same model by other numbers"
    assert found.evidence["dense_perplexity"] == dense.measures["perplexity"].value
    assert found.measures["bits_per_byte"].value == pytest.approx(found.evidence["dense_bits_per_byte"], rel=1e-6)


def test_the_page_makes_one_that_is_judged(run: Asked, place: Place, tmp_path: Path) -> None:
    """The script that docs/your-own-models.md shows, and the command beside it."""
    folder = tmp_path / "page"
    folder.mkdir()
    for name in ("make_models.py", "make_int8.py"):
        (folder / name).write_text(quoted(name), encoding="utf-8")
        made = finish(place.start(name, at=folder))
        assert made.code == 0, made.err
    (folder / "serve.py").write_text(quoted("serve.py"), encoding="utf-8")
    named = ("--artifact", "int8=./model_int8.onnx", "--artifact", "mine=./serve.py:load")
    options = ("--data", "reviews.csv", *named, "-m", "accuracy or footprint")
    done = run("--model", "./my-model", *ALONE, *options, results="page", at=folder)
    assert done.code == 0, done.out + done.err
    assert "note: output scores" in done.out
    (path,) = list_runs(place.folder / "page")
    drop, mine = (record(read_run(path), "accuracy", name).measures["accuracy_drop"].value for name in ("int8", "mine"))
    assert drop is not None and abs(drop) < 0.05
    assert mine == drop
    counted = record(read_run(path), "footprint", "mine").measures
    assert counted["parameters"].value is None, "nobody counted them"
    assert (counted["disk_bytes"].value or 0) > (folder / "model_int8.onnx").stat().st_size


def test_a_file_that_lies_in_the_cache_is_seen_by_who_takes_it(run: Asked, own: Path, place: Place) -> None:
    """As all does that came from a hub; of the rest of the cache a method sees nothing."""
    folder = place.cache / "hub" / "theirs"
    folder.mkdir(parents=True)
    shutil.copy(own / "theirs.onnx", folder / "model.onnx")
    done = run(
        "--model",
        "./dense",
        "--data",
        "reviews.csv",
        *ALONE,
        "--artifact",
        f"kept={folder}",
        "-m",
        "footprint",
        results="kept",
    )
    assert done.code == 0, done.out + done.err
    (path,) = list_runs(place.folder / "kept")
    found = record(read_run(path), "footprint", "kept")
    assert found.verdict == "measured", found.reason
    assert found.evidence["files"]["model.onnx"]["bytes"] == (own / "theirs.onnx").stat().st_size


def test_another_file_of_the_same_name_is_another_artifact(run: Asked, own: Path, place: Place) -> None:
    folder = own / "again"
    folder.mkdir()
    shutil.copy(own / "fp32.onnx", folder / "m.onnx")
    options = ("--model", "./dense", "--data", "reviews.csv", *ALONE, "--artifact", "m=again/m.onnx", "-m", "footprint")
    sizes = []
    for name in ("fp32.onnx", "theirs.onnx"):
        shutil.copy(own / name, folder / "m.onnx")
        assert run(*options, results=f"again-{name}").code == 0
        (path,) = list_runs(place.folder / f"again-{name}")
        sizes.append(record(read_run(path), "footprint", "m").measures["disk_bytes"].value)
    assert sizes[1] is not None and sizes[0] is not None
    assert sizes[1] < 0.9 * sizes[0]  # of a model so small most is graph
    assert np.isfinite(sizes).all()
    # A run of the first file goes on with no other in its place.
    (first,) = list_runs(place.folder / "again-fp32.onnx")
    *begun, _end = first.read_text().splitlines(keepends=True)
    first.write_text("".join(begun))
    refused = run(*options, "--resume", results="again-fp32.onnx")
    assert refused.code == pytest.ExitCode.USAGE_ERROR, refused.out + refused.err
    assert "cannot be resumed: the files of --artifact (its SHA-256) was" in refused.out + refused.err
    shutil.copy(own / "fp32.onnx", folder / "m.onnx")
    assert run(*options, "--resume", results="again-fp32.onnx").code == 0
