"""A model and data of one's own as people run them: the page docs/your-own-models.md as it stands, in a folder that has
nothing else, by pytest in a process of its own. Nothing here asserts a time."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import NO_TARGETS, ROOT, Done, Place, finish, record

from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.kind import kinds
from benchmarks.zoo.own.shipped import shipped
from results.store.reproduction import anywhere
from results.store.store import Run, list_runs, read_run

PAGE = (ROOT / "docs" / "your-own-models.md").read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """The block of the page that a comment of that name stands before."""
    found = re.search(rf"^<!-- {re.escape(name)} -->\n(?:```\w+\n(.*?)^```|    (.*?)$)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1] or found[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    return Place(folder, folder / "cache", {}, NO_TARGETS)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, place: Place) -> Path:
    """A folder with what the page makes."""
    folder = tmp_path_factory.mktemp("own") / "my work"
    folder.mkdir()
    (folder / "make_models.py").write_text(quoted("make_models.py"), encoding="utf-8")
    (folder / "zoo.toml").write_text(quoted("zoo.toml"), encoding="utf-8")
    done = finish(place.start("make_models.py", at=folder))
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def page(place: Place, own: Path) -> Done:
    """The page's command."""
    program, target, *options = shlex.split(quoted("command"))
    assert (program, target) == ("pytest", "~/pressbench/benchmarks")
    command = place.command(*options, target=str(ROOT / "benchmarks"), results="page")
    state = str(place.folder / "state")
    return finish(place.start("-m", "pytest", *command, at=own, COLUMNS="100", PRESSBENCH_STATE=state))


@pytest.fixture(scope="module")
def stored(place: Place, page: Done) -> Run:
    (path,) = list_runs(place.folder / "page")
    return read_run(path)


@pytest.fixture(scope="module")
def others(place: Place, own: Path, stored: Run) -> dict[str, Done]:
    """Runs that stop early, one after another, with a hub that nobody answers for."""
    interrupted = place.folder / "interrupted"
    interrupted.mkdir()
    *lines, _ = stored.path.read_text(encoding="utf-8").splitlines(keepends=True)
    (interrupted / stored.path.name).write_text("".join(lines), encoding="utf-8")
    (own / "changed").mkdir()
    for name in ("my-model", "my-encoder"):
        (own / "changed" / name).symlink_to(own / name)
    (own / "changed" / "zoo.toml").write_text(quoted("zoo.toml"), encoding="utf-8")
    (own / "changed" / "headlines.jsonl").symlink_to(own / "headlines.jsonl")
    rows = (own / "reviews.csv").read_text(encoding="utf-8")
    (own / "changed" / "reviews.csv").write_text(f"{rows}a film,positive\r\n", encoding="utf-8")
    holes = rows.splitlines()
    holes[17], holes[30] = (holes[row].partition(",")[0] + "," for row in (17, 30))
    faulty = own / "faulty"
    faulty.mkdir()
    (faulty / "reviews.csv").write_text("\n".join(holes), encoding="utf-8")
    (faulty / "zoo.toml").write_text(quoted("zoo.toml").replace("columns", "colums"), encoding="utf-8")

    def run(*options: str, results: str = "others") -> list[str]:
        return place.command("-p", "no:cacheprovider", *options, target=str(ROOT / "benchmarks"), results=results)

    (own / "targets.toml").write_text("[my-model-reviews.quantize-weights-8bit]\nsize = 0.01\n")
    one = ["--compressor", "quantize-weights-8bit", "-m", "footprint", "--targets", "targets.toml", "--within", "3pt"]
    few = ["--compressor", "dense", "-m", "not speed"]
    turned = ["--set", "labels=positive,negative", "--set", "name=turned", *few[:2], "-m", "accuracy"]
    chosen = shlex.split(quoted("command"))[2:]
    runs = {
        "options": run("--model", "./my-model", "--data", "reviews.csv", "--collect-only", "-q"),
        "measured": run("--model", "my-model/", "--data", "reviews.csv", *one, results="one"),
        "turned": run("--model", "my-model/", "--data", "reviews.csv", *turned, results="turned"),
        "file": run("--collect-only", "-q", *few),
        "hole": run("--model", "./my-model", "--data", "faulty/reviews.csv", *few),
        "key": run("--zoo", "faulty/zoo.toml", *few),
        "within": run("--model", "./my-model", "--data", "reviews.csv", *few, "--within", "5%"),
        "typing": run("--model", "my-modle", "--data", "reviews.csv", *few),
        "hub": run("--model", "distilbert-sst2", *few, results="hub"),
        "changed": run("--zoo", "changed/zoo.toml", *chosen, "--resume", results="interrupted"),
    }
    return place.batch(runs, at=own, COLUMNS="100", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")


# -- the page --------------------------------------------------------------------------------------


def test_the_page_runs_and_tells_what_it_says(page: Done) -> None:
    assert page.code == 0, page.out + page.err
    assert quoted("told by the file") in page.out
    assert quoted("counts") in page.out


def test_the_page_ends_with_an_answer_for_each_model(page: Done, own: Path, place: Place) -> None:
    """Below all that pytest tells, with commands that are good in any folder."""
    last = page.out.rpartition("= answer =")[2]
    assert page.out.index("= short test summary" if "= short test summary" in page.out else "executed 8 of 8") < (
        page.out.index("= answer =")
    )
    reviews, _, headlines = last.partition("headlines on ")
    for model, told, bound in (("reviews", reviews, "2 points"), ("headlines", headlines, "5 points")):
        words = " ".join(told.split())
        assert f"smallest within {bound}: quantize-weights-8bit" in words
        assert "what I would ship: quantize-weights-8bit" in words and "speed was not measured" in words
        assert "fastest" not in words
        pasted = told.partition("what I would ship")[2].partition("    pytest ")[2].replace("\\\n", " ")
        assert shlex.split(pasted.partition("\n")[0])[:7] == [
            str(ROOT / "benchmarks"), "--model", model, "--cache", str(place.cache), "--zoo",
            str(own / "zoo.toml"),
        ]  # fmt: skip
        (folder,) = re.findall(r"its files, made for this run:\n +(\S.*)\n", told)
        assert list(Path(folder).glob("*.safetensors"))


def test_the_records_of_the_page(stored: Run) -> None:
    by_model = {
        model: {(r.compressor, r.measure): r for r in stored.cases if r.model == model}
        for model in ("reviews", "headlines")
    }
    assert all(len(found) == 4 for found in by_model.values())
    dense = by_model["reviews"]["dense", "accuracy"]
    assert 0.85 < dense.measures["accuracy"].value <= 1
    eight_bits = by_model["reviews"]["quantize-weights-8bit", "accuracy"]
    assert eight_bits.verdict == "pass" and eight_bits.measures["accuracy_drop"].bound == 0.02
    assert abs(eight_bits.measures["accuracy_drop"].value) < 0.02
    size = by_model["reviews"]["quantize-weights-8bit", "footprint"]
    assert size.verdict == "pass" and size.measures["size_ratio"].bound == 0.5
    found = by_model["headlines"]["quantize-weights-8bit", "accuracy"]
    assert found.verdict == "pass" and found.measures["accuracy_drop"].bound == 0.05


def test_the_header_holds_what_was_understood(stored: Run) -> None:
    understood = stored.header.extra["models"]
    assert list(understood) == ["reviews", "headlines"]
    assert understood["reviews"] | {
        "model": "./my-model", "data": "reviews.csv", "task": "text-classification", "labels": ["negative", "positive"],
        "columns": {"text": "review", "label": "sentiment"}, "test_examples": 500, "training_examples": 500,
        "where": "zoo.toml: [reviews]", "architecture": "BertForSequenceClassification",
    } == understood["reviews"]  # fmt: skip
    assert understood["headlines"]["columns"] == {"query": "headline", "document": "story"}


def test_the_run_is_found_where_it_was_written(
    place: Place, stored: Run, monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("PRESSBENCH_STATE", str(place.folder / "state"))
    code, out, err = call("table")
    assert code == 0 and "headlines on" in out
    assert f"run {stored.header.run} from {place.folder / 'page'}" in err


# -- by options, and what goes wrong ---------------------------------------------------------------


def test_a_model_named_by_options(others: dict[str, Done], place: Place, own: Path) -> None:
    """Its targets stand in the targets file, and a failure names the test as this folder sees it."""
    told = others["options"]
    assert told.code == 0 and quoted("told by options") in told.out
    assert "benchmarks/test_speed.py::test_speed[int8-openvino-my-model-reviews-cpu]" in told.ids
    (path,) = list_runs(place.folder / "one")
    (found,) = read_run(path).cases
    assert (found.model, found.verdict, others["measured"].code) == ("my-model-reviews", "fail", 1)
    again = re.search(r'pytest "(\S+)::test_footprint\[(\S+)\]" (.*)', others["measured"].out)
    assert again and (own / again[1]).resolve() == ROOT / "benchmarks" / "test_footprint.py"
    assert all(given in again[3] for given in ("--model my-model/ ", "--data reviews.csv", "--within 3pt"))


def test_labels_in_the_wrong_order_are_doubted(others: dict[str, Done]) -> None:
    done = others["turned"]
    assert done.code == 0
    (line,) = (line for line in done.out.splitlines() if line.startswith("doubt: "))
    assert re.match(r"doubt: turned: the dense model is right on \d\.\d% of 500, less than the 5\d\.\d% ", line)
    assert "doubt" not in others["options"].out + others["measured"].out


def test_a_file_is_told_without_a_run(others: dict[str, Done], place: Place) -> None:
    assert others["file"].code == 0 and quoted("told by the file") in others["file"].out
    assert [i.partition("[")[2] for i in others["file"].ids] == ["dense-reviews-cpu]", "dense-headlines-cpu]"] * 2
    assert not (place.folder / "others").exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("hole", "ERROR: --model: faulty/reviews.csv: row 17: no label in column 'sentiment' (and 1 more row)"),
        ("key", "ERROR: faulty/zoo.toml: [headlines]: unknown key 'colums'; did you mean columns?"),
        ("within", "ERROR: --within 5%: no model of this run is judged by perplexity, but by accuracy, in points: "),
        ("typing", "ERROR: --model: model: my-modle: no such file or folder in "),
    ],
)
def test_a_mistake_is_one_line(others: dict[str, Done], name: str, line: str) -> None:
    done = others[name]
    assert done.code == 4 and "Traceback" not in done.out + done.err
    (said,) = done.err.strip().splitlines()
    assert said.startswith(line)
    if name == "hole":
        assert line.replace("faulty/", "") in quoted("mistakes")


def test_a_run_is_not_resumed_with_other_data(others: dict[str, Done]) -> None:
    done = others["changed"]
    assert done.code == 4 and "Traceback" not in done.out + done.err
    assert re.search(r"run \S+ cannot be resumed: what your own models and data are made from", done.out + done.err)


def test_a_hub_that_does_not_answer_is_unsupported(others: dict[str, Done], place: Place) -> None:
    done = others["hub"]
    assert done.code == 0 and "executed 2 of 2: 2 unsupported" in done.out
    told = " ".join(done.out.partition("test_accuracy.py")[0].split())
    assert "all cases of distilbert-sst2 are unsupported: " in told and "127.0.0.1:9 is out of reach" in told
    (path,) = list_runs(place.folder / "hub")
    found = record(read_run(path), "accuracy", "dense")
    assert found.verdict == "unsupported" and "connection refused" in found.reason


def test_the_command_of_a_record_finds_its_case_from_another_folder(
    others: dict[str, Done], place: Place, own: Path, tmp_path: Path
) -> None:
    (path,) = list_runs(place.folder / "one")
    run = read_run(path)
    again = anywhere(run.header, run.cases)
    assert again.where == "" and shlex.quote(str(own)) in again.command and " --data reviews.csv " in again.command
    line = f"{again.command} --collect-only -q -p no:cacheprovider"
    environment = {**os.environ, "PYTHONPATH": f"{place.site}{os.pathsep}{ROOT}"}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = [text for text in done.stdout.splitlines() if "::" in text]
    assert found.endswith(f"test_footprint.py::test_footprint[{run.cases[0].case}]")
    (own / "reviews.csv").rename(own / "moved.csv")
    try:
        assert "they are not on this one" in anywhere(run.header, run.cases).where
    finally:
        (own / "moved.csv").rename(own / "reviews.csv")


# -- what the page lists ---------------------------------------------------------------------------


def _rows(heading: str) -> dict[str, str]:
    """First cell -> its row, of the first table after a heading."""
    (table,) = re.findall(rf"^## {heading}\n.*?((?:^\|[^\n]*\n)+)", PAGE, re.MULTILINE | re.DOTALL)
    names = {row: re.findall(r"`([\w-]+)`", row.split("|")[1]) for row in table.splitlines()[2:]}
    return {name: row for row, found in names.items() for name in found}


def test_every_key_and_task_is_on_the_page() -> None:
    assert _rows("Keys").keys() == {*Declaration.model_fields, "artifacts", "targets"}
    listed = _rows("Tasks")
    assert listed.keys() == kinds().keys()
    for name, kind in kinds().items():
        if "as translation" not in listed[name]:
            assert all(f"`{ending}`" in listed[name] for ending in kind.heads)
        assert f"| {kind.test_examples:,}; {kind.training_examples:,} |" in listed[name]


def test_every_declared_model_is_on_the_page_with_its_numbers() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (`[\w-]+/.*)$", PAGE, re.MULTILINE))
    assert listed.keys() == shipped().declared.keys()
    for name, one in shipped().declared.items():
        assert f"`{one.said.model}`" in listed[name]
        for number in one.said.published:
            shown = f"{100 * number.value:.1f} %" if number.value < 1 else f"{number.value:g}"
            assert shown in listed[name]
