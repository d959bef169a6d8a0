"""The rows of a folder's run files, kept so that the next query need not parse them again.

One DuckDB file a folder, in the user's cache. It is never trusted over the run files: a query takes from it
only what stands under a file's present name, size and time, and reads the rest from the files. It can be
deleted at any time. It is never changed, only replaced as a whole: who reads the old one goes on reading it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path

import duckdb
import platformdirs

from results.store.record import SCHEMA

_VERSION = f"2-{SCHEMA}"
"""In the file's name: another one where rows, or the schema of records, have changed."""


def index_path(location: str) -> Path:
    """Where the index of a folder or URL lies: under `$PRESSBENCH_CACHE`, else the user's cache folder."""
    cache = os.environ.get("PRESSBENCH_CACHE") or platformdirs.user_cache_path("pressbench")
    where = os.path.realpath(location) if "://" not in location else location.rstrip("/")
    key = hashlib.sha256(where.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(cache) / "queries" / f"{key}-{_VERSION}.duckdb"


def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> dict[str, tuple[int, str]]:
    """Attach the index as `kept` and return what it holds: file name -> (number, stamp).

    Where there is none, or it cannot be read, nothing is attached and nothing returned.
    """
    if path.is_file():
        try:
            connection.execute(f"ATTACH {_quoted(path)} AS kept (READ_ONLY)")
            found = connection.execute("SELECT name, id, stamp FROM kept.file").fetchall()
            connection.execute("SELECT * FROM kept.record LIMIT 0")
            return {name: (number, stamp) for name, number, stamp in found}
        except duckdb.Error:  # of another DuckDB, or no longer whole
            with contextlib.suppress(duckdb.Error):
                connection.execute("DETACH kept")
    return {}


def replace(connection: duckdb.DuckDBPyConnection, path: Path, without: Collection[int]) -> bool:
    """Write the views `file` and `record` of the connection as the index, less the files numbered `without`.

    False where it cannot be written: a folder that is
    read-only or full costs time at the next query, nothing else.
    """
    aside = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    keep = f"NOT list_contains({sorted(without)}::INTEGER[], {{}})"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection.execute(f"ATTACH {_quoted(aside)} AS fresh")
        try:
            connection.execute(f"CREATE TABLE fresh.file AS SELECT * FROM file WHERE {keep.format('id')}")
            connection.execute(f"CREATE TABLE fresh.record AS SELECT * FROM record WHERE {keep.format('file')}")
        finally:
            connection.execute("DETACH fresh")
        os.replace(aside, path)
    except (OSError, duckdb.Error):
        return False
    finally:
        for left in (aside, aside.with_name(f"{aside.name}.wal")):
            with contextlib.suppress(OSError):
                left.unlink()
    return True


def _quoted(path: Path) -> str:
    return "'" + os.fspath(path).replace("'", "''") + "'"
