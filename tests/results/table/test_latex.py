"""LaTeX that can be pasted: names are text, the table is whole, and what it says is under it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import case, nightly, three, write

from results.store.record import Measure, RunHeader
from results.store.store import Run
from results.store.text import latex, shown
from results.table.choice import Choice
from results.table.grid import grid
from results.table.latex import grid_latex
from results.table.table import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
HOSTILE = [
    r"\input{/etc/passwd}", "a_b & c % d # e $ f ^ g ~ h", "{unbalanced", r"}\end{tabular}", r"\\[5cm]", "[red]x[/red]",
    "*star", "--- '' `` !` ?` ,, << >>", '"quoted"', "日本語モデル", "naïve Å ç", "\u202eevil", "\ud800lone",
    "two\r\nlines", r"\verb|x|", "% comment", "^^41", "a--b", "", "é\u0301", "ﬁ ∞ 😀",
]  # fmt: skip

# LaTeX commands that the parser has no text for.
UNKNOWN_TO_IT = {r"\symbol{34}": '"', r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|"}


def as_read(source: str) -> str:
    """What a reader of the page sees, by a parser that knows nothing of ours."""
    plain = source
    for macro, character in UNKNOWN_TO_IT.items():
        plain = plain.replace(macro, character)
    return str(LatexNodes2Text(strict_latex_spaces=True, keep_comments=True).latex_to_text(plain)).replace(
        "ˆ", "^"
    )  # it has no plain circumflex


@pytest.mark.parametrize("name", [name for name in HOSTILE if shown(name).isascii()])
def test_a_name_reads_as_it_is(name: str) -> None:
    assert as_read(latex(name)) == shown(name)


@given(st.text(alphabet=[chr(code) for code in range(32, 127)], max_size=30))
def test_any_ascii_name_reads_as_it_is(name: str) -> None:
    assert as_read(latex(name)) == name


def test_other_letters_keep_their_accent_or_are_written_as_escapes() -> None:
    assert as_read(latex("naïve Å ç")) == "naïve Å ç"
    assert as_read(latex("日 ∞ é\u0323")) == r"\u65e5 \u221e é\u0323"
    assert all(latex(name).isascii() and latex(name).isprintable() for name in HOSTILE)


def hostile_run(folder: Path) -> Run:
    speed = {"speedup": Measure(value=-1.5, low=-2, bound=2)}
    named = ("model", "task", "hardware", "hardware_class", "reason", "workload", "family")
    cases = [
        case(
            name,
            "speed",
            case=f"{place}-{name}",
            measures=speed,
            evidence={"control": name},
            **dict.fromkeys(named, name),
        )
        for place, name in enumerate(HOSTILE)
    ]
    run = write(folder, [*cases, case("[first", verdict="fail")])
    machine = {"name": HOSTILE[1], "gpu": HOSTILE[3], "threads": 2}
    return replace(run, header=RunHeader(run=HOSTILE[0], started=HOSTILE[4], machine=machine))


def columns_of(row: str) -> int:
    """How many columns a row of the table has, `\\multicolumn` counted as what it spans."""
    spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans)


def rows_of(source: str) -> list[str]:
    body = source.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    return [line.strip() for line in body.splitlines() if line.endswith(r"\\")]


def test_hostile_names_leave_the_table_whole(tmp_path: Path) -> None:
    source = render(hostile_run(tmp_path), "latex")
    (node,) = [
        n
        for n in LatexWalker(source, tolerant_parsing=False).get_latex_nodes()[0]
        if isinstance(n, LatexEnvironmentNode)
    ]
    assert node.environmentname == "table*"
    assert [n.environmentname for n in node.nodelist if isinstance(n, LatexEnvironmentNode)] == ["tabular", "minipage"]
    assert source.isascii()
    assert {columns_of(row) for row in rows_of(source)} == {3}  # nothing but an accuracy was recorded
    assert not re.search(r"\\\\\s*[\[*]", source)
    assert r"\input" not in source and not re.search(r"(?<!\\)%(?! needs)", source)


def test_units_stand_in_the_heading_and_notes_under_the_table(tmp_path: Path) -> None:
    source = render(write(tmp_path, nightly()), "latex", choice=Choice(rows=("*-minilm-*",)))
    head, _, rest = source.partition(r"\midrule")
    body, _, notes = rest.partition(r"\bottomrule")
    for unit in (r"\%", "points", r"$\times$"):
        assert unit in head
    assert not re.findall(r"\\%|\$\\times\$", body)
    assert (
        r"int8-openvino & 96.8 & \textbf{+0.3} {\tiny {[}$-$0.2, +0.9{]}}"
        r" & \textbf{2.61} {\tiny {[}2.55, 2.70{]}}" in body
    )
    assert r"svd-rank-64 & 96.9\textsuperscript" not in body and r"1.93\textsuperscript{u}" in body
    assert r"+36.0\textsuperscript{f}" in body and r"\textsuperscript{f}~did not reach its bound" in notes
    assert "Intel Xeon Platinum 8488C, 2 threads" in notes and "24 pairs of timings at 8x128" in notes
    assert r"Bounds on speed-up over dense, $\times$: $\geq$ 2.00 (int8-openvino, svd-rank-64)" in notes
    assert (
        body.index("dense") < body.index("openvino-fp32") < body.index(r"\addlinespace") < body.index("int8-openvino")
    )


def test_no_table_has_more_rows_than_a_page(tmp_path: Path) -> None:
    many = [case(f"m{place}", "footprint", measures={"size_ratio": Measure(value=place)}) for place in range(90)]
    source = render(write(tmp_path, many), "latex")
    tables = source.split(r"\begin{table*}")[1:]
    assert [len(re.findall(r"^    m\d+ &", table, re.MULTILINE)) for table in tables] == [40, 40, 10]
    assert [f"m{place} &" in source for place in range(90)] == [True] * 90
    assert [r"(continued)}" in table for table in tables] == [False, True, True]
    assert sum(r"\textbf" in table for table in tables) == 1  # the best of all, not of each page


def test_machines_stand_over_their_columns(tmp_path: Path) -> None:
    runs = []
    for name, machine in (("one", "EPYC & co"), ("two", "Xeon_8488C")):
        (tmp_path / name).mkdir()
        stored = write(tmp_path / name, three("int8", (0.96, 0.01, 0, 0.02), (2.6, 2.5, 2.7, 1), 0.25))
        runs.append(replace(stored, header=RunHeader(run=name, started="", machine={"name": machine, "hash": name})))
    source = grid_latex(grid(runs, Choice(columns=("speedup", "size"))))
    assert r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{EPYC \& co} & \multicolumn{2}{c}{Xeon\_8488C} \\" in source
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in source
    assert {columns_of(row) for row in rows_of(source)} == {5}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_it_compiles(tmp_path: Path) -> None:
    tables = [render(hostile_run(tmp_path / "a"), "latex"), render(write(tmp_path / "b", nightly()), "latex")]
    document = "\n".join([r"\documentclass{article}\usepackage{booktabs}\begin{document}", *tables, r"\end{document}"])
    (tmp_path / "t.tex").write_text(document, encoding="ascii")
    command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
