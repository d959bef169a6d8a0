"""Text from outside, made safe to show: names and reasons come from models, plugins and files.

A name may hold terminal escapes, right-to-left marks, markup, HTML or a spreadsheet formula. Each function
gives text that its reader sees as text. JSON needs none of them: its own escapes are enough.
"""

from __future__ import annotations

_MARKDOWN = {
    **{character: f"\\{character}" for character in "`*_[]~"},
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"},
    # Entities, not backslashes: renderers disagree about `\\|` inside a table cell.
    **{"|": "&#124;", "\\": "&#92;"},
}
_ASCII = dict(zip("×−–✓✗·○", "x--+x.o", strict=True)) | {"≤": "<=", "≥": ">=", "…": "..."}
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def shown(text: str) -> str:
    """`text` on one line with every character that does not print written as an escape (`\\x1b`)."""
    return "".join(_printable(character) for character in text)


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


def ascii_only(text: str) -> str:
    """`text` for a terminal that shows ASCII alone."""
    plain = "".join(_ASCII.get(character, character) for character in text)
    return plain.encode("ascii", "backslashreplace").decode("ascii")


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    if character.isspace():
        return " "
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
