"""A grid as LaTeX: one `table*` with booktabs' rules, ready to paste, that needs no other package."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from results.store.text import latex
from results.table.cells import MISSING
from results.table.grid import Block, Cell, Grid, Head
from results.table.rows import PUBLISHED

_HEADING_WIDTH = 14
_NAME_WIDTH = 36
"""Where the long names of rows that were not measured are broken."""
_PAGE = 24
"""How many rows of several blocks a page holds with their notes."""
_LONGEST = 40
"""How many rows a page holds of one table."""
_MANY = 5
"""From how many columns on they need a smaller type."""
_NOTES = {
    "fail": ("f", "did not reach its bound"),
    "regressed": ("r", "worse than its accepted result"),
    "inconclusive": ("?", "the evidence decides neither way"),
    "unqualified": ("u", "not timed under conditions that allow a verdict"),
}
"""Verdict -> its mark beside the number, and what the mark means. The others say all in words or need no mark."""


def grid_latex(grid: Grid) -> str:
    """The table, with machines, counts and bounds in the notes under it; one table a block, or more, where a page
    would not hold them all. Only ASCII; needs booktabs alone. Names are text: see `results.store.text.latex`."""
    if sum(len(block.lines) for block in grid.blocks) > _PAGE and len(parts := _parts(grid)) > 1:
        return "\n".join(grid_latex(replace(grid, blocks=(part,))) for part in parts)
    several = len(grid.blocks) > 1
    about = "; ".join(dict.fromkeys(block.title for block in grid.blocks))
    size, small = ("footnotesize", "scriptsize") if len(grid.heads) < _MANY else ("scriptsize", "tiny")
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table*}[tbp]",
        "  \\centering",
        f"  \\caption{{{latex(about)}}}",
        f"  \\{size}",
        "  \\setlength{\\tabcolsep}{3pt}",
        f"  \\begin{{tabular}}{{@{{}}{''.join('r' if head.number else 'l' for head in grid.heads)}@{{}}}}",
        "    \\toprule",
        *(f"    {line}" for line in _headings(grid)),
        "    \\midrule",
    ]
    for place, block in enumerate(grid.blocks):
        if place:
            lines.append("    \\midrule")
        if several:
            lines.append(
                f"    \\multicolumn{{{len(grid.heads)}}}{{@{{}}l@{{}}}}{{\\emph{{{latex(block.title)}}}}} \\\\"
            )
        lines += [f"    {line}" for line in _rows(block, small)]
    lines += ["    \\bottomrule", "  \\end{tabular}"]
    if notes := list(_notes(grid)):
        lines += [
            "  \\par\\smallskip",
            "  \\begin{minipage}{\\linewidth}\\scriptsize\\raggedright",
            *(f"    {note}\\par" for note in notes),
            "  \\end{minipage}",
        ]
    return "\n".join([*lines, "\\end{table*}"]) + "\n"


def _parts(grid: Grid) -> list[Block]:
    """The blocks, those that are longer than a page in several parts."""
    parts = []
    for block in grid.blocks:
        for start in range(0, len(block.lines), _LONGEST):
            end = start + _LONGEST
            title = f"{block.title} (continued)" if start else block.title
            parts.append(replace(block, title=title, lines=block.lines[start:end], keys=block.keys[start:end]))
    return parts


def _headings(grid: Grid) -> Iterator[str]:
    if grid.machines:
        over, rules, place = [], [], 0
        while place < len(grid.heads):
            machine = grid.heads[place].machine
            width = sum(head.machine == machine for head in grid.heads)
            name = "" if machine is None else latex(grid.machines[machine])
            over.append(f"\\multicolumn{{{width}}}{{c}}{{{name}}}")
            if machine is not None:
                rules.append(f"\\cmidrule(lr){{{place + 1}-{place + width}}}")
            place += width
        yield f"{' & '.join(over)} \\\\"
        yield " ".join(rules)
    yield f"{' & '.join(map(_heading, grid.heads))} \\\\"


def _heading(head: Head) -> str:
    lines = textwrap.wrap(head.title, _HEADING_WIDTH, break_long_words=False, break_on_hyphens=False)
    if len(lines) < 2:
        return latex(head.title)
    return _stack(lines, "r" if head.number else "l", "b")


def _stack(lines: Sequence[str], side: str, at: str) -> str:
    """Lines below each other; at: which of them stands on the line of the row, "t" or "b"."""
    inner = " \\\\ ".join(map(latex, lines))
    return f"\\begin{{tabular}}[{at}]{{@{{}}{side}@{{}}}}{inner}\\end{{tabular}}"


def _rows(block: Block, small: str) -> Iterator[str]:
    roles = [key.get("role", "method") for key in block.keys] or ["method"] * len(block.lines)
    for place, line in enumerate(block.lines):
        if place and roles[place] in ("method", PUBLISHED) and roles[place] != roles[place - 1]:
            yield "\\addlinespace"
        cells = [_cell(cell, small) for cell in line]
        if roles[place] == PUBLISHED:
            cells[0] = _stack(textwrap.wrap(line[0].text, _NAME_WIDTH, break_on_hyphens=False), "l", "t")
        yield f"{' & '.join(cells)} \\\\"


def _cell(cell: Cell, small: str) -> str:
    if cell.text == MISSING and cell.verdict not in ("", "measured"):
        return latex(cell.verdict)
    text = f"\\textbf{{{latex(cell.text)}}}" if cell.best else latex(cell.text)
    mark = _mark(cell)
    text += f"\\textsuperscript{{{_NOTES[mark][0]}}}" if mark else ""
    # The interval stays with its number: `[` after a space is no argument of anything.
    return f"{text} {{\\{small} {latex(cell.interval)}}}" if cell.interval else text


def _mark(cell: Cell) -> str:
    word = "regressed" if cell.bound == "regressed" else cell.verdict
    return word if word in _NOTES and cell.text != MISSING else ""


def _notes(grid: Grid) -> Iterator[str]:
    for note in grid.notes:
        yield f"{latex(_sentence(note))}."
    said: dict[str, list[str]] = {}
    for block in grid.blocks:
        for note in (*block.notes, *block.bounds):
            said.setdefault(note, []).append(block.title)
    for note, titles in said.items():
        of = "" if len(titles) == len(grid.blocks) else f" ({'; '.join(titles)})"
        yield f"{latex(_sentence(note + of))}."
    used = {_mark(cell) for block in grid.blocks for line in block.lines for cell in line}
    marks = [f"\\textsuperscript{{{mark}}}~{meaning}" for word, (mark, meaning) in _NOTES.items() if word in used]
    if marks:
        yield f"{'; '.join(marks)}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
