"""Run files read into DuckDB tables: a row for each case record, without the raw evidence.

DuckDB parses the lines and keeps the columns named here. It judges only whether a file is a plain run: its
header first, then records of that run, then its end, each with what a record must have. A file that is not
so, by damage or by an older schema, is read again by `results.store.store`, which says for every line what is
wrong with it; what is sound in it is then scanned like the rest.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from results.store.record import MEASURES, ROLES, SCHEMA, VERDICTS, CaseRecord, to_line
from results.store.run_files import RunFile, RunFolder
from results.store.store import Run, run_of
from results.store.strict_json import ResultsError
from results.store.text import shown

Sheet = tuple[int, RunFile]
"""A run file and the number that its rows carry."""
FileRow = tuple[int, str, str, str, str, str | None, str, bool, list[str]]
"""A row of the table `file`."""
_TEXTS = (
    "run", "started", "case", "measure", "verdict", "role", "compressor", "family", "model", "task", "hardware",
    "hardware_class", "workload", "reason", "fingerprint", "ended",
)  # fmt: skip
_COLUMNS = {
    "kind": "VARCHAR",
    "schema": "BIGINT",
    **dict.fromkeys(_TEXTS, "VARCHAR"),
    "measures": "MAP(VARCHAR, STRUCT(value DOUBLE, low DOUBLE, high DOUBLE, bound DOUBLE, verdict VARCHAR))",
    "comparison": "STRUCT(outcome VARCHAR)",
    "evidence": "STRUCT(measured_on STRUCT(model VARCHAR, examples VARCHAR, metric VARCHAR))",
    "machine": 'STRUCT("name" VARCHAR, cpu VARCHAR, "hash" VARCHAR)',
}
_BATCH = 256 * 2**20
"""Bytes of run files that are parsed at once, and again where one of them turns out to be damaged."""
_LINE_LIMIT = 32 * 2**20
"""Bytes of the longest line that DuckDB reads; a file with a longer one is read without it."""
_GLOB = set("*?[]{}")

_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)

_FILES = """
CREATE TABLE {0}.file (id INTEGER, name VARCHAR, stamp VARCHAR, run VARCHAR, started VARCHAR, machine VARCHAR,
    fingerprint VARCHAR, ended BOOLEAN, problems VARCHAR[])
"""
"""A run file with what its header says. problems: what of the file could not be read."""
_KINDS = ", ".join(f'"{name}" {kind}' for name, kind in _COLUMNS.items())
_LINES = f"CREATE TABLE {{0}}.line (file INTEGER, {_KINDS})"
"""Every line of the plain runs."""
_RECORDS = """
CREATE VIEW {0}.record AS
SELECT l.file, l.rowid AS seq, l."case", l.measure, l.workload,
    coalesce(nullif(l.fingerprint, ''), f.fingerprint, '') AS fingerprint, l.verdict, l.role, l.compressor, l.family,
    l.model, l.task, l.hardware, l.hardware_class, l.reason, l.comparison.outcome AS outcome, l.ended, l.measures,
    concat_ws(' ', l.evidence.measured_on.model, l.evidence.measured_on.examples, l.evidence.measured_on.metric)
        AS measured_on
FROM {0}.line l JOIN {0}.file f ON f.id = l.file WHERE l.kind = 'case'
"""
"""A case record. seq: the order of a file's records. fingerprint: the record's, else its run's."""


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _list(texts: Sequence[str]) -> str:
    return f"({', '.join(map(_literal, texts))})"


_FINITE = " AND ".join(f"isfinite(coalesce(m.{name}, 0))" for name in ("value", "low", "high", "bound"))
_SOUND = f"""coalesce("schema" = {SCHEMA} AND run IS NOT NULL AND CASE kind
    WHEN 'run' THEN started IS NOT NULL
    WHEN 'end' THEN ended IS NOT NULL
    WHEN 'case' THEN "case" IS NOT NULL AND compressor IS NOT NULL AND model IS NOT NULL AND hardware IS NOT NULL
        AND measures IS NOT NULL AND measure IN {_list(MEASURES)} AND verdict IN {_list(VERDICTS)}
        AND role IN {_list(ROLES)}
        AND len(list_filter(map_values(measures), lambda m: NOT ({_FINITE}))) = 0
    ELSE false END, false)"""
_JUDGE = f"""
SELECT file,
    count(*) FILTER (NOT {_SOUND}) = 0
        AND count(DISTINCT run) = 1
        AND count(*) FILTER (kind = 'run') = 1 AND min(place) FILTER (kind = 'run') = min(place)
        AND (count(*) FILTER (kind = 'end') = 0
            OR count(*) FILTER (kind = 'end') = 1 AND max(place) FILTER (kind = 'end') = max(place)) AS plain,
    any_value(run) AS run,
    any_value(started) FILTER (kind = 'run') AS started,
    any_value(coalesce(machine.name, machine.cpu)) FILTER (kind = 'run') AS machine,
    any_value(machine.hash) FILTER (kind = 'run') AS fingerprint,
    count(*) FILTER (kind = 'end') > 0 AS ended
FROM (SELECT *, rowid AS place FROM {{0}}.line WHERE file IN (SELECT id FROM sheet)) GROUP BY file ORDER BY file
"""


class Scanner:
    """Reads run files of `folder` into `file` and `record` of the schema `into`, which is empty.

    scratch: a folder for what has to be written down again before DuckDB can read it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: RunFolder, into: str, scratch: Path) -> None:
        self._connection, self._folder, self._into, self._scratch = connection, folder, into, scratch
        self.live: set[int] = set()
        """The numbers of the files that were still being written."""
        for statement in (_FILES, _LINES, _RECORDS):
            connection.execute(statement.format(into))
        if folder.filesystem is not None:
            connection.register_filesystem(folder.filesystem)

    def read(self, sheets: Sequence[Sheet]) -> None:
        """Read the files, each with every record in it that is sound."""
        for batch in _batches(sheets):
            for sheet in self._scan(batch):
                self._read_again(sheet)

    def _scan(self, batch: Sequence[Sheet]) -> list[Sheet]:
        """Keep what is in the plain runs among the files; the others come back."""
        able: list[Sheet] = []
        odd: list[Sheet] = []
        for sheet in batch:  # DuckDB sometimes passes over a last line without an end, whatever is in it
            plain = not _GLOB & set(sheet[1].path) and self._folder.ends_with_a_line(sheet[1])
            (able if plain else odd).append(sheet)
        try:
            return odd + self._load(able)
        except duckdb.Error:  # one of them cannot be opened, or holds what DuckDB will not parse
            damaged = self._damaged(able)
        known = {number for number, _ in damaged}
        return odd + damaged + self._load_halves([sheet for sheet in able if sheet[0] not in known])

    def _load_halves(self, sheets: Sequence[Sheet]) -> list[Sheet]:
        """As `_load`, where a file that DuckDB refuses costs the others nothing but time."""
        try:
            return self._load(sheets)
        except duckdb.Error:
            if len(sheets) == 1:
                return list(sheets)
            half = len(sheets) // 2
            return self._load_halves(sheets[:half]) + self._load_halves(sheets[half:])

    def _damaged(self, sheets: Sequence[Sheet]) -> list[Sheet]:
        """The files with lines that are no JSON, found in one go; not all that are damaged."""
        try:
            self._parse(sheets, lenient=True)
        except duckdb.Error:
            return []
        plain = {number for number, good, *_ in self._judged() if good}
        self._forget([number for number, _ in sheets])
        return [sheet for sheet in sheets if sheet[0] not in plain]

    def _parse(self, sheets: Sequence[Sheet], *, lenient: bool) -> None:
        """Add the lines of the files, all or none. lenient: with nulls for what is damaged; else it raises."""
        execute = self._connection.execute
        execute("CREATE OR REPLACE TEMP TABLE sheet (id INTEGER, name VARCHAR)")
        execute(
            f"INSERT INTO sheet VALUES {', '.join(f'({number}, {_literal(file.name)})' for number, file in sheets)}"
        )
        paths = f"[{', '.join(_literal(file.path) for _, file in sheets)}]"
        columns = ", ".join(f"{_literal(name)}: {_literal(kind)}" for name, kind in _COLUMNS.items())
        # No line is longer than its file, and DuckDB makes its buffers as large as the longest line may be.
        longest = min(_LINE_LIMIT, max(file.size for _, file in sheets) + 4096)
        # Straight to where they stay: copying a million rows of text once more takes as long as half the parsing.
        execute(
            f"INSERT INTO {self._into}.line SELECT s.id, {_NAMES} FROM read_json({paths}, "
            f"format = 'newline_delimited', columns = {{{columns}}}, ignore_errors = {lenient}, filename = true, "
            f"hive_partitioning = false, maximum_object_size = {longest}) l "
            "JOIN sheet s ON s.name = parse_filename(l.filename, false, 'both_slash')"
        )

    def _judged(self) -> list[tuple[Any, ...]]:
        """What was parsed last: of each file its number, whether it is a plain run, and what its header says."""
        return self._connection.execute(_JUDGE.format(self._into)).fetchall()

    def _forget(self, numbers: Sequence[int]) -> None:
        """Drop the lines of the files with these numbers."""
        if numbers:
            self._connection.execute(f"DELETE FROM {self._into}.line WHERE file IN ({', '.join(map(str, numbers))})")

    def _load(self, sheets: Sequence[Sheet]) -> list[Sheet]:
        """Keep what is in the plain runs among the files; the others come back."""
        if not sheets:
            return []
        self._parse(sheets, lenient=False)
        rest = dict(sheets)
        notes: list[FileRow] = []
        for number, good, run, started, machine, fingerprint, ended in self._judged():
            if good:
                file = rest.pop(number)
                notes.append((number, file.name, file.stamp, run, started, machine, fingerprint or "", ended, []))
                if not ended and self._folder.is_live(file):
                    self.live.add(number)
        self._forget(list(rest))
        if notes:
            self._note(notes)
        return list(rest.items())

    def _read_again(self, sheet: Sheet) -> None:
        """Read a file that is no plain run, and keep what is wrong with it beside what is sound."""
        number, file = sheet
        live = self._folder.is_live(file)
        if live:
            self.live.add(number)
        try:
            run = run_of(self._folder.read(file), Path(file.name))
        except ResultsError as error:
            problems = [] if live else [str(error)]
            self._note([(number, file.name, file.stamp, "", "", None, "", False, problems)])
            return
        copy = self._scratch / f"{number}.jsonl"
        copy.write_bytes(b"".join(_slim(run)))
        try:
            left = self._load([(number, dataclasses.replace(file, name=copy.name, path=os.fspath(copy)))])
        except duckdb.Error as error:
            left = [sheet]
            run = dataclasses.replace(run, damaged=(*run.damaged, (1, shown(str(error).splitlines()[0]))))
        finally:
            copy.unlink()
        problems = [
            f"{shown(file.name)} line {line}: {why}"
            for line, why in run.damaged
            if not (live and why.startswith("cut short"))  # it is being written just now
        ]
        if left:
            self._note([(number, file.name, file.stamp, "", "", None, "", False, problems)])
        else:
            self._connection.execute(
                f"UPDATE {self._into}.file SET name = ?, problems = ? WHERE id = ?", [file.name, problems, number]
            )

    def _note(self, rows: Sequence[FileRow]) -> None:
        kinds = ("INTEGER", *("VARCHAR",) * 6, "BOOLEAN", "VARCHAR[]")
        columns = ", ".join(f"unnest(?::{kind}[])" for kind in kinds)
        self._connection.execute(
            f"INSERT INTO {self._into}.file SELECT {columns}", [list(c) for c in zip(*rows, strict=True)]
        )


def _slim(run: Run) -> Iterator[bytes]:
    """The lines of a run without what no column holds."""
    yield to_line(dataclasses.replace(run.header, expected=(), extra={}))
    for record in run.cases:
        yield to_line(_without_evidence(record))
    if run.end is not None:
        yield to_line(run.end)


def _without_evidence(record: CaseRecord) -> CaseRecord:
    return dataclasses.replace(record, evidence={}, recipe=(), seconds={}, parameters={}, expected={}, extra={})


def _batches(sheets: Sequence[Sheet]) -> Iterator[list[Sheet]]:
    batch: list[Sheet] = []
    size = 0
    for sheet in sheets:
        batch.append(sheet)
        size += sheet[1].size
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
