"""The example in docs/example-plugin is a real package: pip installs it here, and the suite must find it."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compressors.calibration import watch_inputs
from pressbench.new import rendered

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "example-plugin"
GUIDE = ROOT / "docs" / "writing-a-compressor.md"

PIP = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
COMMANDS = {
    "cases": [*PYTEST, "benchmarks", "--collect-only"],
    "classes": ["-c", "from compressors import registry as r; print(r.broken_plugins(), *r.compressor_classes())"],
    "listing": ["-m", "pressbench.cli", "list", "compressors", "--tier", "quick", "--json"],
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What each command prints where the example is installed."""
    folder = tmp_path_factory.mktemp("example")
    source, site = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])

    def run(name, arguments, where=ROOT):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=where, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{name}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    run("install", [*PIP, "--target", site, source])
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(run, name, arguments) for name, arguments in COMMANDS.items()}
        running["conformance"] = pool.submit(run, "conformance", PYTEST, source)
    return lambda name: running[name].result()


@pytest.mark.parametrize("measure", ["accuracy", "footprint", "speed"])
def test_its_cases_are_in_the_matrix(output, measure):
    cases = output("cases").splitlines()
    assert f"benchmarks/test_{measure}.py::test_{measure}[float16-weights-vit-digits-cpu]" in cases


def test_the_registry_finds_it_by_its_entry_point(output):
    broken, *names = output("classes").split()
    assert broken == "[]"
    assert {"float16-weights", "dense"} <= set(names)


def test_the_command_line_lists_it_with_its_source(output):
    (found,) = [c for c in json.loads(output("listing")) if c["id"] == "float16-weights"]
    assert (found["effect"], found["source"]) == ("storage", "pressbench_example.float16")


def test_its_own_conformance_tests_pass(output):
    (summary,) = re.findall(r"^(\d+) passed in", output("conformance"), re.MULTILINE)
    assert int(summary) > 12  # six checks on each of two tiny models, and its own


def test_the_guide_quotes_what_is_run_and_nothing_else():
    """The example, the method that `pressbench new` writes (run in test_new.py), and the loop over calibration data."""
    sources = [p.read_text(encoding="utf-8") for p in EXAMPLE.rglob("*") if p.suffix in (".py", ".toml")]
    sources += [*rendered("prune-my-score", "pruning").values(), inspect.getsource(watch_inputs)]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"python", "toml"} and len(blocks) > 7
    assert [text for _, text in blocks if not any(text in source for source in sources)] == []
