"""`pressbench new`: what it writes passes all that the guide says, in a copy of the checkout; a mistake writes
nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compressors.interface import PressbenchError
from pressbench import new as module
from pressbench.new import LONGEST, rendered

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "writing-a-compressor.md").read_text(encoding="utf-8")
NAME = "prune-my-score"
COMMANDS = [shlex.split(line) for line in re.findall(r"^    ((?:pressbench|pytest) .*)$", GUIDE, re.MULTILINE)]
"""What the guide tells to type."""
RUN = """
import contextlib, io, json, sys, pytest
from compressors import registry
from pressbench import cli

def run(program, *arguments):
    told = io.StringIO()
    sys.argv = [program, *arguments]
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            code = cli.main() if program == "pressbench" else pytest.main(list(arguments))
        except SystemExit as end:
            code = end.code
    registry._compressors.cache_clear()  # as in a new process
    return [int(code or 0), told.getvalue()]

print(json.dumps([run(*command) for command in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the commands need."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("__pycache__", "runs", "qualifications", "test_[!c]*")
    for part in ("pressbench", "compressors", "benchmarks", "results", "baselines"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    shutil.copytree(ROOT / "tests" / "compressors", folder / "tests" / "compressors", ignore=ignored)
    for file in ("pyproject.toml", "conftest.py", "tests/conftest.py"):
        shutil.copy(ROOT / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def done(checkout: Path) -> dict[str, tuple[int, str]]:
    """What each command of the guide does, one after another. Of those that measure, which cases they select."""
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    commands = []
    for program, *arguments in COMMANDS:
        more = [] if program == "pressbench" else [*quiet, *["--collect-only"] * ("benchmarks" in arguments)]
        commands.append([program, *arguments, *more])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))}
    ended = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=checkout, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = zip(COMMANDS, json.loads(ended.stdout.splitlines()[-1]), strict=True)
    return {shlex.join(command): (code, told) for command, (code, told) in found}


def test_every_command_of_the_guide_ends_well(done: dict[str, tuple[int, str]]) -> None:
    assert len(done) == len(COMMANDS) == 8
    assert {command: told[-2000:] for command, (code, told) in done.items() if code} == {}


def test_it_writes_three_files_and_says_the_next_three_commands(
    checkout: Path, done: dict[str, tuple[int, str]]
) -> None:
    told = done[f"pressbench new {NAME}"][1]
    files = rendered(NAME, "pruning")
    assert all(f"  {path}\n" in told and (checkout / path).read_text() == text for path, text in files.items())
    assert [shlex.split(line) for line in told.partition("next:\n")[2].splitlines()] == COMMANDS[1:4]
    assert max(map(len, told.splitlines())) <= 80


def test_conformance_and_its_own_test_ran(done: dict[str, tuple[int, str]]) -> None:
    passed = [re.search(r"(\d+) passed", done[shlex.join(command)][1]) for command in COMMANDS[1:3]]
    counts = [int(found[1]) for found in passed if found]
    assert counts[0] == 21  # seven checks on each of three tiny models
    assert counts[1] > 5


def test_its_cases_are_those_that_the_guide_names(done: dict[str, tuple[int, str]]) -> None:
    quick = done[shlex.join(COMMANDS[3])][1]
    assert set(re.findall(r"::(\w+\[.*\])", quick)) == {
        f"test_{measure}[{NAME}-50-vit-digits-cpu]" for measure in ("accuracy", "footprint")
    }


@pytest.mark.parametrize("folder", ["pruning", "distillation", "low_rank"])
def test_what_is_written_is_as_make_lint_wants_it(tmp_path: Path, folder: str) -> None:
    """However long the name. mypy reads the template itself, as any other module."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "compressors", tmp_path / "compressors", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("a", NAME, "x" * LONGEST, "-".join(["word"] * 8)):
        for path, text in rendered(name, folder).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    for command in (["check"], ["format", "--check"]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_family_is_that_of_the_folder() -> None:
    text = rendered(NAME, "low_rank")[f"compressors/low_rank/{NAME.replace('-', '_')}.py"]
    assert 'family: ClassVar[str] = "low-rank"' in text and "pruning" not in text


# -- mistakes --------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, which this process takes for its own."""
    for family in ("pruning", "low_rank"):
        (tmp_path / "compressors" / family).mkdir(parents=True)
        (tmp_path / "compressors" / family / "__init__.py").touch()
    (tmp_path / "tests" / "compressors").mkdir(parents=True)
    (tmp_path / "baselines").mkdir()
    monkeypatch.setattr(module, "_checkout", lambda: tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != "__init__.py"}


@pytest.mark.parametrize(
    "name",
    [
        "Prune", "prune_it", "../evil", "a/b", "/tmp/x", "4bit", "x-", "x--y", "", "a b", "é", "x\n",
        "x" * (LONGEST + 1), "lambda", "none", "compressor", "tensor", "conformance",
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_one_line(call: Callable[..., tuple[int, str, str]], place: Path, name: str) -> None:
    if name == "conformance":
        (place / "tests" / "compressors" / "test_conformance.py").write_text("theirs")
    before = files(place)
    code, out, err = call("new", name)
    assert (code, out, files(place)) == (4, "", before)
    assert re.fullmatch(r"pressbench: .*(cannot be a method's name|is there already).*\n", err)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune-magnitude"], "the name 'prune-magnitude' is taken by compressors.pruning.magnitude; nothing was wr"),
        (["prune-magnitude-50"], "the name 'prune-magnitude-50' is taken by compressors.pruning.magnitude; nothing"),
        ([NAME, "--family", "prunning"], "--family prunning: there is no such folder of methods; did you mean pru"),
        ([NAME, "--family", "runtimes"], "--family runtimes: there is no such folder of methods; "),
        ([NAME, "--family", "../pruning"], "--family ../pruning: there is no such folder of methods; "),
    ],
)
def test_what_is_taken_or_unknown_is_one_line(
    call: Callable[..., tuple[int, str, str]], place: Path, arguments: list[str], said: str
) -> None:
    code, _, err = call("new", *arguments)
    assert (code, err.count("\n"), files(place)) == (4, 1, set())
    assert err.startswith(f"pressbench: {said}")


def test_an_id_of_another_method_is_not_made_twice(
    call: Callable[..., tuple[int, str, str]], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressors import registry

    ids = {f"{NAME}-50": registry.build("prune-magnitude")}
    monkeypatch.setattr(registry, "variants", lambda tier: ids)
    assert f"'{NAME}-50', which is taken; nothing was written" in call("new", NAME)[2]
    assert files(place) == set()


@pytest.mark.parametrize("path", [*rendered(NAME, "pruning"), "compressors/pruning/prune_my_score/__init__.py"])
def test_a_file_that_is_there_stays_and_no_other_is_written(
    call: Callable[..., tuple[int, str, str]], place: Path, path: str
) -> None:
    (place / path).parent.mkdir(exist_ok=True)
    (place / path).write_text("theirs")
    before = files(place)
    code, _, err = call("new", NAME)
    there = path.removesuffix("/__init__.py")
    assert (code, err) == (4, f"pressbench: {there} is there already; nothing was written\n")
    assert (place / path).read_text() == "theirs" and files(place) == before


def test_where_one_cannot_be_written_the_others_go_again(
    call: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    (place / "baselines" / "targets.d").write_text("no folder")
    code, _, err = call("new", NAME)
    assert (code, err.count("\n")) == (4, 1) and "targets.d/prune-my-score.toml cannot be written: " in err
    assert files(place) == {"baselines/targets.d"}


def test_elsewhere_than_in_its_checkout_it_says_where_to_begin(call: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = call("new", NAME)
    assert code == 4 and err.startswith("pressbench: this folder is no checkout of pressbench, and nothing was written")
    assert "docs/example-plugin" in err and list(Path().iterdir()) == []
    for part in module._CHECKOUT:
        Path(part).parent.mkdir(parents=True, exist_ok=True)
        Path(part).touch()
    code, _, err = call("new", NAME)
    assert code == 4 and err.startswith("pressbench: this folder is another checkout than the pressbench that runs")
    assert files(Path()) == {part for part in module._CHECKOUT}


def test_a_name_is_checked_before_anything_is_looked_for() -> None:
    with pytest.raises(PressbenchError, match="cannot be a method's name"):
        rendered("../evil", "pruning")
