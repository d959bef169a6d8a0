"""Imports point one way, and nothing that is loaded can run code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pressbench", "compressors", "benchmarks", "results")

# -- imports ---------------------------------------------------------------------------------------


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages in a folder of their own, to plant faults in."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "runs", "qualifications")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


def test_imports_point_one_way(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("compressors/planted.py", "import results.store"),
        ("compressors/pruning/planted.py", "def f():\n    from benchmarks.verdicts import Verdict"),
        ("results/planted.py", "from compressors import interface"),
        ("benchmarks/measure/planted.py", "import pressbench.cli"),
    ],
)
def test_an_import_the_wrong_way_is_seen(copy: Path, module: str, line: str) -> None:
    (copy / module).write_text(line + "\n")
    try:
        done = lint_imports(copy)
    finally:
        (copy / module).unlink()
    assert done.returncode != 0
    assert "0 broken" not in done.stdout
    assert Path(module).with_suffix("").as_posix().replace("/", ".") in done.stdout


def test_results_are_read_without_torch() -> None:
    modules = (
        "results.store.store, results.table.table, results.table.export, results.history.qualification, "
        "results.history.qualification_table, results.store.query, results.history.trend, "
        "results.exchange.pytest_benchmark_json, results.exchange.github, results.exchange.card"
    )
    ask = f"import sys, {modules}; print(*(m in sys.modules for m in ('torch', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr


def rooms() -> set[str]:
    """The packages that have code, and whose own packages are told with them."""
    found = {"compressors", "compressors/given", "compressors/peers", "compressors/runtimes", "pressbench"}
    for package in ("benchmarks", "results"):
        found |= {p.parent.relative_to(ROOT).as_posix() for p in (ROOT / package).glob("*/__init__.py")}
    return found


def test_the_page_on_architecture_names_every_room_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## Rooms")[2].partition("## Where")[0]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w/.]+)`", line.split("|")[1])
    }
    folders = {name for name in named if "." not in name}
    assert folders == rooms() | {"baselines"}
    files = {name if "/" in name else f"benchmarks/{name}" for name in named - folders - {"conftest.py"}}
    assert all((ROOT / name).is_file() for name in files), files
    for path in re.findall(r"`((?:benchmarks|results|tests|compressors|baselines)/[\w/.-]+)`", page):
        assert (ROOT / path).exists(), path


# -- what can run code -----------------------------------------------------------------------------

LOADERS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.hub.load",
    "yaml.load",
    "os.system",
    "numpy.load",
}


def faults(source: str) -> list[str]:
    """What in a source could run code that came from a file or the network. `numpy.load` is sound only
    where it says allow_pickle=False; subprocesses only without a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"imports {n}" for n in names if n.partition(".")[0] in LOADERS]
        if not isinstance(node, ast.Call):
            continue
        options = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
        name = ast.unparse(node.func).replace("np.", "numpy.")
        if name == "numpy.load" and options.get("allow_pickle") is False:
            continue
        if name in FORBIDDEN:
            found.append(f"calls {name}")
        found += [f"{key}={options[key]}" for key in ("trust_remote_code", "allow_pickle", "shell") if options.get(key)]
        if options.get("weights_only") is False:
            found.append("weights_only=False")
    return found


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))
    yield ROOT / "conftest.py"


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_loaded_can_run_code(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "def f(p):\n    return torch.load(p)",
        "torch.load(p, weights_only=False)",
        "eval(text)",
        "exec(compile(text, 'x', 'exec'))",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "np.load(p)",
        "numpy.load(p, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_what_could_run_code_is_seen(source: str) -> None:
    assert faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(text)",
        "np.load(p, allow_pickle=False)",
        "json.load(f)",
        "f(trust_remote_code=False)",
    ],
)
def test_what_is_sound_is_left_alone(source: str) -> None:
    assert not faults(source)
