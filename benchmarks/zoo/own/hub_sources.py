"""Models and data sets of the hub, by name and revision: at one commit, which is recorded."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.cache import Cache
from benchmarks.hub.errors import HubMistake, endpoint
from benchmarks.hub.fetch import fetch, total_bytes
from benchmarks.hub.model_files import model_patterns
from benchmarks.hub.repository import HubFile, Kind, Repository, resolve
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.files import READERS, SPLITS, read_file
from benchmarks.zoo.own.table import Table
from compressors.interface import Progress, no_progress
from compressors.registry import nearest

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
MOST_BYTES = 2 * 10**9
"""Of data that is fetched without being asked for by name."""
POOLING = "1_Pooling/config.json"
"""How sentence-transformers says what becomes of the hidden states."""


PATIENCE, IMPATIENCE = 20.0, 2.0
"""Seconds for a look-up, and for each that follows one which waited in vain: with ten models to look up, a hub that
does not answer must not be waited for ten times."""
_silent: set[str] = set()


def _resolve(kind: Kind, name: str, revision: str | None, cache: Cache) -> Repository:
    where, started, failed = endpoint(), time.monotonic(), True
    try:
        found = resolve(kind, name, revision, cache, seconds=IMPATIENCE if where in _silent else PATIENCE)
        failed = bool(found.note)
        return found
    finally:
        if failed and time.monotonic() - started >= IMPATIENCE:
            _silent.add(where)
        elif not failed:
            _silent.discard(where)


def hub_name(text: str) -> tuple[str, str | None] | None:
    """(name, revision) where `text` can be a name on the hub, `org/name@revision`; None for what looks like a path."""
    name, _, revision = text.partition("@")
    if text.startswith((".", "/", "~")) or not NAME.fullmatch(name) or Path(name).suffix.lower() in READERS:
        return None
    return name, revision or None


@dataclass(frozen=True)
class HubWeights:
    """A model's files at one commit, fetched when they are first needed."""

    repository: Repository
    patterns: tuple[str, ...]

    @property
    def name(self) -> str:
        """With the commit, as a record has it."""
        return f"{self.repository.name}@{self.repository.commit[:12]}"

    def folder(self, cache: Cache, progress: Progress = no_progress) -> Path:
        """Raises HubOutOfReach, HubDamage or HubMistake, one line."""
        return fetch(self.repository, self.patterns, cache, progress=progress)

    def identity(self) -> dict[str, Any]:
        """What decides the content."""
        return {"name": self.repository.name, "commit": self.repository.commit, "patterns": self.patterns}


def hub_model(name: str, revision: str | None, said: Declaration, cache: Cache) -> tuple[Path, HubWeights]:
    """The folder of its small files, fetched, and its weights, to be fetched."""
    repository = _resolve("model", name, revision, cache)
    pooling = (POOLING,) if any(file.path == POOLING for file in repository.files) else ()
    patterns = (*model_patterns(repository, allow_pickle=said.allow_pickle), *pooling)
    small = tuple(p for p in patterns if not p.endswith((".safetensors", ".bin")))
    return fetch(repository, small, cache), HubWeights(repository, patterns)


@dataclass(frozen=True)
class HubData:
    """The files of a data set that are wanted. splits: `train` and `test`, or `all` -> their paths."""

    repository: Repository
    splits: Mapping[str, tuple[str, ...]]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the content."""
        return {"name": self.repository.name, "commit": self.repository.commit, "splits": dict(self.splits)}

    def read(self, cache: Cache, encoding: str) -> dict[str, Table]:
        """Fetch and read them."""
        paths = [path for found in self.splits.values() for path in found]
        folder = fetch(self.repository, tuple(map(_literal, paths)), cache)
        return {split: self._table(folder, found, encoding) for split, found in self.splits.items()}

    def _table(self, folder: Path, paths: Sequence[str], encoding: str) -> Table:
        tables = [read_file(folder / path, f"{self.repository.name}: {path}", encoding) for path in paths]
        rows = [row for table in tables for row in table.rows]
        places = [f"row {i + 1} of {PurePosixPath(p).name}" for p, t in zip(paths, tables, strict=True)
                  for i in range(len(t.rows))]  # fmt: skip
        return replace(tables[0], where=f"{self.repository.name} {split_of(paths[0])}", rows=rows, places=places)


def hub_data(name: str, revision: str | None, said: Declaration, cache: Cache, *, test_only: bool = False) -> HubData:
    """Which of a data set's files are wanted. Raises HubMistake where that cannot be told.

    By the names of files and folders, as `datasets` finds splits: `sst2/train-00000-of-00001.parquet`. What methods
    train on is the first file of its split, as it is cut short anyway."""
    repository = _resolve("dataset", name, revision, cache)
    every = {file.path: file for file in repository.files if PurePosixPath(file.path).suffix.lower() in READERS}
    every = {p: f for p, f in every.items() if not p.startswith(".") and PurePosixPath(p).name != "dataset_infos.json"}
    if not every:
        raise HubMistake(
            f"hub: {name}: no files of data ({', '.join(READERS)}); scripts that make data are not run here, but "
            f"the hub keeps most of such sets as Parquet: {name}@refs/convert/parquet"
        )
    chosen = _of_configuration(name, every, said)
    by_split: dict[str, list[HubFile]] = {}
    for path in sorted(chosen):
        by_split.setdefault(split_of(path), []).append(chosen[path])
    wanted = _splits(name, by_split, said)
    if "train" in wanted and not said.files:
        wanted["train"] = wanted["train"][:1]
    if test_only:
        wanted = {"all": wanted.get("test") or wanted["all"]}
    found = {split: tuple(file.path for file in files) for split, files in wanted.items()}
    patterns = tuple(_literal(path) for paths in found.values() for path in paths)
    if (size := total_bytes(repository, patterns)) > MOST_BYTES:
        raise HubMistake(
            f'hub: {name}: {size / 1e9:.1f} GB of data; name a part of it, like files = ["{patterns[-1]}"]'
        )
    return HubData(repository, found)


def split_of(path: str) -> str:
    """The split that a file's path tells: `validation_matched` of `mnli/validation_matched-00000-of-00001.parquet`."""
    at = PurePosixPath(path)
    stem = re.sub(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$", "", at.name.partition(".")[0])
    return at.parent.name if stem.isdigit() and at.parent.name else stem


def _of_configuration(name: str, every: Mapping[str, HubFile], said: Declaration) -> dict[str, HubFile]:
    if said.files:
        found = {p: f for p, f in every.items() if any(fnmatch.fnmatchcase(p, pattern) for pattern in said.files)}
        if not found:
            raise HubMistake(f"hub: {name}: no file fits {', '.join(said.files)}{nearest(said.files[0], every)}")
        return found
    tops = {PurePosixPath(path).parts[0] for path in every if "/" in path} - {"data"}
    if said.configuration is not None:
        if said.configuration not in tops:
            raise HubMistake(f"hub: {name}: no configuration {said.configuration!r}{nearest(said.configuration, tops)}")
        return {p: f for p, f in every.items() if PurePosixPath(p).parts[0] == said.configuration}
    top = {p: f for p, f in every.items() if "/" not in p or p.startswith("data/")}
    if not top and len(tops) > 1:
        raise HubMistake(f"hub: {name} has several configurations; say which, configuration = {'|'.join(sorted(tops))}")
    return top or dict(every)


def _splits(name: str, by_split: dict[str, list[HubFile]], said: Declaration) -> dict[str, list[HubFile]]:
    wanted: dict[str, list[HubFile]] = {}
    for split, asked in (("train", said.split), ("test", said.test_split)):
        if asked is not None and asked not in by_split:
            raise HubMistake(f"hub: {name}: no split {asked!r}{nearest(asked, by_split)}")
        found = asked or next((usual for usual in SPLITS[split] if usual in by_split), None)
        if found:
            wanted[split] = by_split[found]
    if len(wanted) == 2 and wanted["train"] is not wanted["test"]:
        return wanted
    only = next(iter(wanted.values()), None) or next(iter(by_split.values()))
    return {"all": only}


def _literal(path: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", path)
