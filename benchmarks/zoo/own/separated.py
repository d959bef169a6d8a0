"""CSV and TSV as they are written in the field, with every line accounted for.

CSV has quotation marks around a field that holds a separator, a quotation mark or a line break. TSV has none as a rule
(GLUE's files, database dumps), and a mark that opens a text is a character of it; spreadsheets write it as CSV with
tabs. A reader that takes one for the other swallows lines, or moves columns, and says nothing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from benchmarks.zoo.own.table import DataError, Table, quoted

SEPARATORS = (",", ";", "\t", "|")
_WHOLE = re.compile(r'"(?:[^"]|"")*"')

Numbered = list[tuple[int, list[str]]]
"""Rows with the line that each begins in, from 1."""


def separated(text: str, said: str, *, tabs: bool) -> Table:
    """The rows of a file. tabs: whether it calls itself TSV. Everything is text: "NA" is a word, "007" no 7, and only
    an empty field is missing. Raises DataError with the line that is not as the heading says."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = text.lstrip("\n").partition("\n")[0]
    separator = "\t" if tabs else max(SEPARATORS, key=first.count)
    notes: list[str] = []
    if tabs and not _quoted(text, separator):
        rows = _plain(text, separator)
        if any(field.startswith('"') for _, row in rows for field in row):
            notes.append("quotation marks are taken as characters: some open a field and do not close it")
    else:
        rows = _by_quotation(text, separator, said)
        broken = sum("\n" in field for _, row in rows for field in row)
        notes += _told(broken, "fields hold line breaks within quotation marks")
    if not rows:
        raise DataError(f"{said}: no columns")
    if '"' not in text:  # else an empty line may be a part of a field
        notes += _told(len(re.findall(r"\n(?=\n)", text.rstrip("\n"))), "empty lines are left out")
    (_, heading), *rows = rows
    columns, rows = _even([name.strip() for name in heading], rows, said, notes)
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise DataError(f"{said}: two columns are called {quoted(twice[0])}")
    found = [{name: field or None for name, field in zip(columns, row, strict=True)} for _, row in rows]
    return Table(said, columns, found, notes=tuple(notes))


def _plain(text: str, separator: str) -> Numbered:
    return [(number, line.split(separator)) for number, line in enumerate(text.split("\n"), 1) if line]


def _told(count: int, what: str) -> list[str]:
    return [f"{count:,} {what}"] if count else []


def _quoted(text: str, separator: str) -> bool:
    """Whether a file with tabs is quoted as CSV is: marks that open a field close it, on its own line or, where lines
    would else have fewer fields than the heading, on a later one."""
    rows = _plain(text, separator)
    opening = [field for _, row in rows for field in row if field.startswith('"')]
    if opening and all(len(field) > 1 and _WHOLE.fullmatch(field) for field in opening):
        return True
    width = len(rows[0][1]) if rows else 0
    if all(len(row) == width for _, row in rows):
        return False
    try:
        found = [row for row in csv.reader(io.StringIO(text), delimiter=separator, strict=True) if row]
    except csv.Error:
        return False
    return all(len(row) == width for row in found)


def _by_quotation(text: str, separator: str, said: str) -> Numbered:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: Numbered = []
    begun = 1
    try:
        for row in reader:
            if row:  # of a line that is empty there is none; one that is "" is a row
                rows.append((begun, row))
            begun = reader.line_num + 1
    except csv.Error as error:
        why = "a quotation mark opens a field that none closes" if "unexpected end" in str(error) else str(error)
        raise DataError(
            f"{said}: line {begun}: {why}; double the marks within a field, or save the file as .tsv, where they are "
            "characters"
        ) from None
    return rows


def _even(columns: list[str], rows: Numbered, said: str, notes: list[str]) -> tuple[list[str], Numbered]:
    """Rows of as many fields as the heading has. A separator at the end of every line, or of the heading too, makes no
    column. Raises DataError for the first row that has another number."""
    width = len(columns)
    while columns and not columns[-1] and all(len(row) < len(columns) or not row[-1] for _, row in rows):
        columns = columns[:-1]
    ended = [row for _, row in rows if len(row) > len(columns) and not any(row[len(columns) :])]
    if ended:
        notes.append(f"{len(ended):,} rows end with a separator, which makes no column")
    cut = [(line, row[: len(columns)] if not any(row[len(columns) :]) else row) for line, row in rows]
    for line, row in cut:
        if len(row) != len(columns):
            raise DataError(f"{said}: line {line} has {_fields(row)}, the heading {width}")
    return columns, cut


def _fields(row: Sequence[str]) -> str:
    return f"{len(row)} field{'s' if len(row) != 1 else ''}"
