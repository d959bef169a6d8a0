"""Text from outside, made safe to show: names and reasons come from models, plugins and files.

A name may hold terminal escapes, right-to-left marks, markup, HTML or a spreadsheet formula. Each function
gives text that its reader sees as text. JSON needs none of them: its own escapes are enough.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

_MARKDOWN = {
    **{character: f"\\{character}" for character in "`*_[]~"},
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"},
    # Entities, not backslashes: renderers disagree about `\\|` inside a table cell.
    **{"|": "&#124;", "\\": "&#92;"},
}
_ASCII = dict(zip("×−–✓✗·○", "x--+x.o", strict=True)) | {"≤": "<=", "≥": ">=", "…": "..."}
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}"},
    # In braces: `\\[` and `\\*` are commands where a row begins, quotes form ligatures.
    **{character: f"{{{character}}}" for character in "[]*'`"},
    **{"×": r"$\times$", "−": "$-$", "–": r"\textendash{}", "≤": r"$\leq$", "≥": r"$\geq$", "±": r"$\pm$"},
    **{"·": r"$\cdot$", "…": r"\ldots{}", "τ": r"$\tau$", "α": r"$\alpha$", "µ": r"$\mu$"},
}
_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327", "`'^~\"rvc", strict=True))


def shown(text: str) -> str:
    """`text` on one line with every character that does not print written as an escape (`\\x1b`)."""
    return "".join(_printable(character) for character in text)


def shown_path(path: Path) -> str:
    """The path as `shown` gives it."""
    return shown(str(path))


def clipped(text: str, most: int) -> str:
    """`text` as `shown` gives it, cut to `most` characters, the last of them then an ellipsis."""
    clean = shown(text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def markdown(text: str) -> str:
    """`text` for a GitHub table cell: no markup, no HTML, no cell border."""
    return "".join(_MARKDOWN.get(character, character) for character in shown(text))


def csv_text(text: str) -> str:
    """`text` for a spreadsheet cell: what would be read as a formula gets an apostrophe in front."""
    clean = shown(text)
    return f"'{clean}" if clean.lstrip().startswith(_FORMULA) else clean


def latex(text: str) -> str:
    """`text` for LaTeX, whatever the engine and its fonts: no command, no ligature, ASCII alone. A letter with an
    accent stays one; any other character that is not ASCII is written as an escape (`\\u65e5`)."""
    parts = "".join(_LATEX.get(character) or _ascii_latex(character) for character in shown(text))
    return re.sub("([-,])(?=\\1)", r"\1{}", parts)


def ascii_only(text: str) -> str:
    """`text` for a terminal that shows ASCII alone."""
    plain = "".join(_ASCII.get(character, character) for character in text)
    return plain.encode("ascii", "backslashreplace").decode("ascii")


def _ascii_latex(character: str) -> str:
    if character.isascii():
        return character
    letter, accents = (decomposed := unicodedata.normalize("NFD", character))[0], decomposed[1:]
    if letter.isascii() and letter.isalpha() and accents in _ACCENTS:
        return f"\\{_ACCENTS[accents]}{{{letter}}}"
    escape = character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return escape.replace("\\", _LATEX["\\"])


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
