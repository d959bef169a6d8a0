"""Two files of one model, held against each other: the one that is shipped today, and the one that is to be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

sys.path.append(str(Path(__file__).parent))
import tiny_models
from matrix_run import NO_TARGETS, ROOT, Done, Place, finish, record

from results.store.record import CaseRecord
from results.store.store import Run, list_runs, read_run

Asked = Callable[..., Done]
NAMED = ("--model", "./dense", "--data", "reviews.csv", "--compressor", "dense")
FILES = ("--artifact", "may=./good", "--artifact", "june=./dense-again", "--artifact", "july=./good-again")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model that calls too much praise, and artifacts: a good one, the same again in other bytes, and the dense
    model's own weights."""
    folder = tmp_path_factory.mktemp("own")
    good = tiny_models.trained_classifier(folder / "good")
    rows = tiny_models.reviews(400, seed=3)
    names = ("negative", "positive")
    tiny_models.write_csv(folder / "reviews.csv", ("text", "label"), [(text, names[label]) for text, label in rows])
    model = transformers.BertForSequenceClassification.from_pretrained(good).eval()
    encoded = tiny_models.tokenizer()([text for text, _ in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoded).logits
    # So much that of the blamed half is praised.
    margins = (logits[:, 0] - logits[:, 1])[[label == 0 for _, label in rows]]
    model.classifier.bias.data[1] += float(margins.median())
    for name in ("dense", "dense-again"):
        tiny_models.save(model, folder / name)
    again = transformers.BertForSequenceClassification.from_pretrained(good).eval()
    again.bert.pooler.dense.weight.data *= 1 + 1e-6
    tiny_models.save(again, folder / "good-again")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    return Place(folder, folder / "cache", {}, NO_TARGETS)


@pytest.fixture(scope="module")
def run(place: Place, own: Path) -> Asked:
    def ask(*options: str, results: str = "results") -> Done:
        command = place.command(*NAMED, *options, target=str(ROOT / "benchmarks"), results=results)
        return finish(place.start("-m", "pytest", *command, at=own, PRESSBENCH_STATE=str(place.folder / "state")))

    return ask


@pytest.fixture(scope="module")
def done(run: Asked) -> Done:
    return run(*FILES, "--against", "may", "--within", "8pt")


@pytest.fixture(scope="module")
def stored(place: Place, done: Done) -> Run:
    (path,) = list_runs(place.folder / "results")
    return read_run(path)


def right(found: CaseRecord) -> list[bool]:
    return [a == b for a, b in zip(found.evidence["predictions"], found.evidence["labels"], strict=True)]


def test_what_loses_nothing_against_dense_fails_where_it_loses_against_the_other(stored: Run) -> None:
    june, may = record(stored, "accuracy", "june"), record(stored, "accuracy", "may")
    assert june.measures["accuracy_drop"].value == 0.0 and june.measures["accuracy_drop"].verdict == "pass"
    lost = june.measures["loss_against"]
    assert lost.value == pytest.approx((sum(right(may)) - sum(right(june))) / len(right(june)))
    assert lost.value is not None and lost.value > 0.1 and lost.bound == 0.08
    assert (lost.verdict, june.verdict) == ("fail", "fail")
    assert "; against may: +" in june.reason
    assert june.evidence["against"] == {"compressor": "may", "artifact": may.artifact}


def test_what_is_as_good_as_the_other_passes(stored: Run) -> None:
    july = record(stored, "accuracy", "july")
    assert july.measures["loss_against"].value == 0.0 and july.verdict == "pass", july.reason


def test_bytes_and_times_are_over_the_others(stored: Run) -> None:
    june, may = record(stored, "footprint", "june"), record(stored, "footprint", "may")
    sizes = [one.measures["disk_bytes"].value or 0 for one in (june, may)]
    assert june.measures["size_against"].value == pytest.approx(sizes[0] / sizes[1])
    speed = record(stored, "speed", "june")
    assert speed.verdict in ("measured", "unqualified"), speed.reason
    if not speed.measures["speedup_against"].reason:
        assert len(speed.evidence["against_seconds"]) == len(speed.evidence["compressed_seconds"])
        assert 0.2 < (speed.measures["speedup_against"].value or 0) < 5, "two models of one shape"
        assert "; against may: " in speed.reason


def test_neither_the_other_nor_dense_is_held_against_it(stored: Run) -> None:
    for name in ("may", "dense"):
        for measure, number in (("accuracy", "loss"), ("speed", "speedup"), ("footprint", "size")):
            found = record(stored, measure, name)
            assert f"{number}_against" not in found.measures and "against" not in found.evidence


def test_the_end_of_the_run_sets_them_side_by_side(done: Done) -> None:
    lines = [line.strip() for line in done.out.splitlines()]
    (start,) = (n for n, line in enumerate(lines) if line.startswith("against may") and "size over its" in line)
    table = lines[start : lines.index("", start)]
    (june,) = (line for line in table if line.startswith("june"))
    assert "✗ fail ≤ +8" in june and june.count("×") == 2, june
    assert any(line.startswith("july") for line in table)
    assert not any(line.startswith(("may ", "dense ")) for line in table)


def test_a_bound_is_not_kept_where_the_other_cannot_answer(run: Asked, own: Path, place: Place) -> None:
    broken = own / "broken"
    tiny_models.save(transformers.BertForSequenceClassification.from_pretrained(own / "good"), broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    files = ("--artifact", "may=./broken", "--artifact", "june=./dense-again")
    run(*files, "--against", "may", "--within", "8pt", "-m", "accuracy", results="broken")
    (path,) = list_runs(place.folder / "broken")
    june = record(read_run(path), "accuracy", "june")
    assert june.verdict == "inconclusive" and "against may: not told, as " in june.reason
    assert june.measures["loss_against"].value is None and june.measures["accuracy_drop"].verdict == "pass"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mai", "--against mai: no compressor or artifact of this run; did you mean may?"),
        ("dense", "--against dense: every case is held against the dense model as it is; name another"),
    ],
)
def test_a_name_that_means_nothing_is_one_line(run: Asked, name: str, said: str) -> None:
    found = run(*FILES, "--against", name, "--collect-only", results=f"refused-{name}")
    assert found.code == pytest.ExitCode.USAGE_ERROR
    assert said in found.out + found.err and "Traceback" not in found.out + found.err
