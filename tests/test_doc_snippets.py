"""The Python and SQL of README.md and docs/ run as they stand; what quotes the example plugin is compared with it in
test_example_plugin.py, and the page on models of one's own runs in test_own_models.py."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import sys
from pathlib import Path

import duckdb
import pytest

from compressors import conformance

sys.path.append(str(Path(__file__).parent / "results"))
from table_runs import nightly, write

ROOT = Path(__file__).parents[1]
QUOTED = {ROOT / "docs" / name for name in ("writing-a-compressor.md", "your-own-models.md")}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPETS = {
    f"{page.name}-{number}": (language, text)
    for page in PAGES
    if page not in QUOTED
    for number, (language, text) in enumerate(
        re.findall(r"^```(python|sql)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
}


def test_there_are_snippets_of_both_languages() -> None:
    assert {language for language, _ in SNIPPETS.values()} == {"python", "sql"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_snippet_runs_where_there_are_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results" / "runs").mkdir(parents=True)
    cases = [dataclasses.replace(r, case=f"{r.compressor}-minilm-bbc-cpu") for r in nightly() if r.model == "minilm"]
    write(tmp_path / "results" / "runs", cases)
    monkeypatch.chdir(tmp_path)
    language, text = SNIPPETS[name]
    if language == "sql":
        assert duckdb.sql(text).fetchall()
        return
    file = tmp_path / "snippet.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("snippet", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "snippet", module)
    monkeypatch.syspath_prepend(tmp_path)
    spec.loader.exec_module(module)
    methods = [found for found in vars(module).values() if getattr(found, "__module__", "") == "snippet"]
    for method in methods:  # the README's compressor keeps the contract
        for check in conformance.checks(method()):
            check()
    assert methods or "int8" in capsys.readouterr().out


def test_what_the_guide_says_that_modules_have_they_have() -> None:
    """The fault: its table went on naming functions that had moved to another module."""
    guide = (ROOT / "docs" / "writing-a-compressor.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| of `([\w.]+)` \| \|\n\|---\|---\|\n((?:\|.*\n)+)", guide, re.MULTILINE)
    named = {(module, name) for module, rows in tables for name in re.findall(r"(\w+)\(", _first_cells(rows))}
    assert {module for module, _ in tables} == {"compressors.surgery", "compressors.units"} and len(named) >= 9
    for module, name in named:
        assert callable(getattr(importlib.import_module(module), name, None)), f"{module} has no {name}"


def _first_cells(rows: str) -> str:
    return "\n".join(row.split("|")[1] for row in rows.splitlines())
