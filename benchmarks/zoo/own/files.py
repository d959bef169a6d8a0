"""Data out of files: CSV, TSV, JSON Lines, JSON, Parquet, and folders of images by class."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.zoo.own.separated import separated
from benchmarks.zoo.own.table import DataError, Table

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SPLITS = {"train": ("train", "training"), "test": ("test", "validation", "valid", "val", "dev", "eval")}
"""Split -> the names it goes by, the first that is there being taken."""

Splits = Mapping[str, Table]
"""`train` and `test`, or `all` where nobody has split it."""


def read(path: Path, said: str, encoding: str) -> Splits:
    """What `path` holds. said: how the user named it. Raises DataError with the file and line."""
    if path.is_dir():
        return _folder(path, said.rstrip("/") or said, encoding)
    return {"all": read_file(path, said, encoding)}


def read_file(path: Path, said: str, encoding: str = "utf-8") -> Table:
    """One file."""
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{said}: data is read from {', '.join(READERS)}, and from folders of images by class")
    if path.stat().st_size == 0:
        raise DataError(f"{said}: the file is empty")
    table = READERS[suffix](path, said, encoding)
    if not table.rows:
        raise DataError(f"{said}: no rows")
    return table


def _decoded(path: Path, said: str, encoding: str) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise DataError(f"{said}: no encoding is called {encoding!r}; try utf-8, latin-1 or cp1252") from None
    except UnicodeDecodeError as error:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(f"{said}: not {encoding}; save the file as UTF-8 or say encoding=utf-16") from None
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{said}: line {line} is not {encoding} (byte 0x{raw[error.start]:02x}); "
            "save the file as UTF-8 or say encoding=latin-1 (or cp1252)"
        ) from None


def _lines(path: Path, said: str, encoding: str) -> Table:
    rows, places = [], []
    for number, line in enumerate(_decoded(path, said, encoding).split("\n"), 1):
        if line.strip():
            rows.append(_object(line, f"{said}: line {number}"))
            places.append(f"line {number}")
    return Table(said, _columns(rows), rows, places=places)


def _json(path: Path, said: str, encoding: str) -> Table:
    try:
        found = json.loads(_decoded(path, said, encoding))
    except ValueError as error:
        raise DataError(f"{said}: not JSON: {error} (one object a line is .jsonl)") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DataError(f"{said}: must be a list of objects")
    return Table(said, _columns(found), found)


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f'{where}: must be an object, like {{"text": …}}')
    return found


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _parquet(path: Path, said: str, encoding: str) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{said}: not readable as Parquet: {str(error).splitlines()[0]}") from None
    return Table(said, found.column_names, found.to_pylist(), class_names(found.schema.metadata or {}))


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> the names of its numbers, as `datasets` writes them into a Parquet file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[column] = list(inner["names"])
    return found


def _separated(path: Path, said: str, encoding: str) -> Table:
    return separated(_decoded(path, said, encoding), said, tabs=path.suffix.lower() == ".tsv")


READERS: dict[str, Callable[[Path, str, str], Table]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".parquet": _parquet,
}


def _folder(path: Path, said: str, encoding: str) -> Splits:
    found: dict[str, Table] = {}
    for split, names in SPLITS.items():
        for name in names:
            files = [file for file in sorted(path.glob(f"{name}.*")) if file.suffix.lower() in READERS]
            if len(files) > 1:
                raise DataError(f"{said}: {files[0].name} or {files[1].name}? name one of them")
            if files:
                found[split] = read_file(files[0], f"{said}/{files[0].name}", encoding)
            elif (path / name).is_dir():
                found[split] = _images(path / name, f"{said}/{name}")
            if split in found:
                break
    if "train" in found and "test" in found:
        return found
    if found:
        return {"all": next(iter(found.values()))}
    return {"all": _images(path, said)}


def _images(path: Path, said: str) -> Table:
    """A folder for each class, named by it."""
    rows, places = [], []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in IMAGES:
                rows.append({"image": file.read_bytes(), "label": folder.name})
                places.append(file.relative_to(path).as_posix())
    if not rows:
        raise DataError(
            f"{said}: no data: neither {', '.join(f'*{suffix}' for suffix in READERS)} called train and test, nor "
            "a folder of images for each class"
        )
    return Table(said, ["image", "label"], rows, places=places)
