"""From a declaration to a model: everything that can be wrong with it is looked at here, before any costly work.

What was read and checked is a data entry of the cache, under the hashes of the files it came from:
    splits/            the rows of `train` and `test`
    understood.json    how they become inputs, and what a person should know of them
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from benchmarks.cache import Cache, content_hash, hash_files, versions
from benchmarks.hub.errors import HubMistake, HubOutOfReach
from benchmarks.hub.repository import Repository
from benchmarks.zoo.model import Asset
from benchmarks.zoo.own import checkpoint, files
from benchmarks.zoo.own.checkpoint import Checkpoint
from benchmarks.zoo.own.columns import find_columns
from benchmarks.zoo.own.declaration import Declaration, Declared
from benchmarks.zoo.own.hub_sources import HubWeights, hub_data, hub_model, hub_name
from benchmarks.zoo.own.kind import Kind, Read, Row, find_kind
from benchmarks.zoo.own.model import SPLITS, LocalWeights, OwnModel, OwnTask
from benchmarks.zoo.own.table import DataError, Table, flattened
from benchmarks.zoo.workload import Workload, parse_workload
from compressors.artifact import file_hash
from compressors.given.forms import folder as quantized
from compressors.interface import InputSpec, PressbenchError
from compressors.registry import source_closure

UNDERSTOOD = "understood.json"
FEWEST = 20
"""Rows from which a data set can be split at all."""
NOT_IN_KEY = {"model", "data", "test_data", "workloads", "nightly_workloads", "published", "compressors"}


def understand(declared: Declared, cache: Cache) -> OwnModel:
    """Raises PressbenchError, in one line that begins with where it was declared, for whatever cannot be used."""
    try:
        return _understand(declared, cache)
    except PressbenchError as error:
        raise type(error)(f"{declared.where}: {error}") from None


def _understand(declared: Declared, cache: Cache) -> OwnModel:
    said = declared.said
    model, weights = _model(declared, cache)
    kind = find_kind(said.task, model)
    model = kind.settled(model)
    for number, one in enumerate(said.published):
        if kind.bound != "perplexity_rise" and not 0 <= one.value <= 1:
            raise PressbenchError(f"published.{number}.value: {one.value:g} is no share of 1; 93.2 % is 0.932")
    sources = {
        name: _source(declared, name, text, cache)
        for name, text in (("data", said.data), ("test_data", said.test_data))
        if text is not None
    }
    key = {
        "data": {name: source.identity for name, source in sources.items()},
        "said": said.model_dump(mode="json", exclude=NOT_IN_KEY),
        "model": {"files": _small_hashes(model.folder), "said": model.said, "notes": model.notes},
        "kind": kind.name,
        "source": hash_files({*source_closure(type(kind), "benchmarks"), *source_closure(_read, "benchmarks")}),
        "versions": versions("transformers", "tokenizers", "datasets", "pandas"),
    }
    entry = cache.build("data", declared.name, key, lambda folder: _read(said, sources, kind, model, cache, folder))
    found = _model_of(declared, kind, model, weights, entry)
    facts = {name: source.facts for name, source in sources.items() if source.facts}
    if isinstance(weights, HubWeights):
        facts["model"] = _facts(weights.repository)
    return dataclasses.replace(found, understood={**found.understood, "hub": facts}) if facts else found


def _model(declared: Declared, cache: Cache) -> tuple[Checkpoint, Asset]:
    said = declared.said
    if (path := declared.path(said.model)) is not None:
        if not path.is_dir():
            raise PressbenchError(f"{said.model}: a file; a model is the folder that save_pretrained writes")
        found = checkpoint.look(path, said.model, allow_pickle=said.allow_pickle)
        return _reference(found), LocalWeights(said.model, path)
    if (name := hub_name(said.model)) is None:
        raise PressbenchError(f"model: {said.model}: no such folder in {declared.folder}")
    with _no_folder_either("model", declared, said.model):
        folder, weights = hub_model(*name, said, cache)
    return _reference(checkpoint.look_at_config(folder, said.model)), weights


def _reference(found: Checkpoint) -> Checkpoint:
    """The same, with a note where it is quantized already. Raises PressbenchError where no library is known that reads
    it."""
    if found.quantization is None:
        return found
    quantized.FORM.needed(found.folder / quantized.CONFIG, found.said)
    note = (
        f"{found.said} is quantized already ({found.quantization}): others are held against it as its library runs it, "
        "and no method is run on it; name what was made of its model elsewhere with --artifact"
    )
    return dataclasses.replace(found, notes=(*found.notes, note))


@contextlib.contextmanager
def _no_folder_either(key: str, declared: Declared, text: str) -> Iterator[None]:
    """A name without an organisation is a path with a mistake in it as likely as the name of something on the hub."""
    try:
        yield
    except (HubMistake, HubOutOfReach) as error:
        if "/" in text:
            raise
        raise PressbenchError(f"{key}: {text}: no such file or folder in {declared.folder}; and {error}") from None


def _small_hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): file_hash(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.stat().st_size < checkpoint.SMALL and p.suffix in (".json", ".txt", ".model", ".spm")
    }


@dataclass(frozen=True)
class Source:
    """Data, found. read: its tables by split. facts: what a record keeps of where it is from, if that is the hub."""

    identity: Any
    read: Callable[[Cache, str], Mapping[str, Table]]
    facts: Mapping[str, Any]


def _source(declared: Declared, key: str, text: str, cache: Cache) -> Source:
    path = declared.path(text)
    if path is None:
        if (name := hub_name(text)) is None:
            raise DataError(f"{key}: {text}: no such file or folder in {declared.folder}")
        with _no_folder_either(key, declared, text):
            found = hub_data(*name, declared.said, cache, test_only=key == "test_data")
        facts = {**_facts(found.repository), "files": dict(found.splits)}
        return Source(found.identity, found.read, facts)
    every = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    hashes = [(p.relative_to(path).as_posix(), file_hash(p)) for p in every]
    return Source(hashes, lambda cache, encoding: files.read(path, text, encoding), {})


def _facts(repository: Repository) -> dict[str, Any]:
    facts = {"name": repository.name, "revision": repository.revision, "commit": repository.commit}
    return facts | ({"note": repository.note} if repository.note else {})


# -- reading -----------------------------------------------------------------------------------------------------


def _read(
    said: Declaration, sources: Mapping[str, Source], kind: Kind, model: Checkpoint, cache: Cache, folder: Path
) -> None:
    """Read, check, split, and write the entry."""
    notes = list(model.notes)
    tables = dict(sources["data"].read(cache, said.encoding))
    if "test_data" in sources:
        test = sources["test_data"].read(cache, said.encoding)
        tables = {"train": tables.get("train") or tables["all"], "test": test.get("test") or test["all"]}
    tables = {split: flattened(table) for split, table in tables.items()}
    notes += [f"{table.where}: {note}" for table in tables.values() for note in table.notes]
    read: dict[str, Read] = {}
    columns: dict[str, str] = {}
    for split, table in tables.items():
        kind.expects(table, model, said)
        columns = find_columns(table.where, table.columns, kind.roles, kind.optional, said.columns)
        read[split] = kind.read(table, columns, model, said)
    labels = next(iter(read.values())).labels
    notes += list(dict.fromkeys(note for found in read.values() for note in found.notes))
    rows = {split: list(found.rows) for split, found in read.items()}
    if not kind.in_order(said):
        rows, copies = _without_copies(rows, kind.distinct)
        notes += [f"{copies:,} exact copies were left out"] if copies else []
    splits, how = _split(rows, said, kind)
    arranged = {split: kind.arrange(found, model, said) for split, found in splits.items()}
    arranged = {
        "train": arranged["train"][: said.training_examples or kind.training_examples],
        "test": arranged["test"][: said.test_examples or kind.test_examples],
    }
    if (left := len(arranged["test"])) < kind.fewest_tested:
        raise DataError(
            f"{said.test_data or said.data}: {left} examples to test on; {kind.name} needs {kind.fewest_tested}"
        )
    fitted = kind.fit(arranged, model, said)
    understood = {
        "columns": columns,
        "labels": labels,
        "rows": {table.where: len(table.rows) for table in tables.values()},
        "split": how,
        "training_examples": len(arranged["train"]),
        "test_examples": len(arranged["test"]),
        "settings": dict(fitted.settings),
        "inputs": {name: dataclasses.asdict(spec) for name, spec in fitted.inputs.items()},
        "notes": [*notes, *fitted.notes],
    }
    found = {split: datasets.Dataset.from_list(list(chosen)) for split, chosen in arranged.items()}
    with _no_bars():
        datasets.DatasetDict(found).save_to_disk(str(folder / SPLITS))
    (folder / UNDERSTOOD).write_text(json.dumps(understood, ensure_ascii=False, indent=1), encoding="utf-8")


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Within it `datasets` draws no bars of progress for what takes a moment."""
    drawn = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not drawn:
            datasets.enable_progress_bars()


def _without_copies(rows: Mapping[str, list[Row]], keys: Sequence[str]) -> tuple[dict[str, list[Row]], int]:
    """Rows of which no other has the same value under a key, or under all keys together where they are parts of one
    input; those of the test split are kept."""
    seen: set[str] = set()
    kept: dict[str, list[Row]] = {}
    for split in sorted(rows, key=lambda name: name != "test"):
        kept[split] = []
        for row in rows[split]:
            marks = _marks(row, keys)
            if not seen & marks:
                kept[split].append(row)
            seen |= marks
    return kept, sum(map(len, rows.values())) - sum(map(len, kept.values()))


def _marks(row: Row, keys: Sequence[str]) -> set[str]:
    if "query" in keys:  # each by itself: two queries with one document would both be right
        return {content_hash([key, row[key]]) for key in keys}
    return {content_hash([_hashable(row[key]) for key in keys if key in row])}


def _hashable(value: Any) -> Any:
    return content_hash(value.hex()) if isinstance(value, bytes) else value


def _split(rows: dict[str, list[Row]], said: Declaration, kind: Kind) -> tuple[dict[str, list[Row]], str]:
    """`train` and `test`, and how they came about."""
    most = said.test_examples or kind.test_examples
    in_order = kind.in_order(said)
    if "all" not in rows:
        for split, found in rows.items():
            if not found:
                raise DataError(f"{said.data}: no rows are left for {split}")
        if in_order:
            return rows, "as the data has it"
        return {s: [found[i] for i in _sample(found, len(found))] for s, found in rows.items()}, "as the data has it"
    every = rows["all"]
    if len(every) < FEWEST:
        raise DataError(f"{said.data}: {len(every)} rows are too few to test on and to calibrate with: needs {FEWEST}")
    if in_order:
        half = len(every) // 2
        return {"train": every[:half], "test": every[half:]}, "the second half is tested on"
    count = min(most, len(every) // 2)
    test = _sample(every, count)
    chosen = set(test)
    rest = [every[i] for i in _sample(every, len(every)) if i not in chosen]
    by_class = ", of each class its share" if "label" in every[0] else ""
    return {"train": rest, "test": [every[i] for i in test]}, f"drawn from {len(every):,} rows{by_class}"


def _sample(rows: Sequence[Row], count: int) -> list[int]:
    """`count` rows at random, always the same ones, of each class its share; in random order."""
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(rows))
    by_class = sorted(shuffled, key=lambda i: rows[i].get("label", 0))
    picked = [int(by_class[int((i + 0.5) * len(rows) / count)]) for i in range(count)]
    return [picked[i] for i in random.permutation(count)]


# -- the model ---------------------------------------------------------------------------------------------------


def _model_of(declared: Declared, kind: Kind, model: Checkpoint, weights: Asset, entry: Path) -> OwnModel:
    said = declared.said
    understood = json.loads((entry / UNDERSTOOD).read_text(encoding="utf-8"))
    settings = understood["settings"]
    usual, nightly = workloads_of(said, kind, settings)
    task = OwnTask(
        name=f"{kind.name}-{slug(Path(said.data).stem)}",
        kind=kind.name,
        settings=settings,
        folder=model.folder.absolute(),
        entry=entry,
        quote=said.quote,
        labels=tuple(understood["labels"]),
        test_examples=understood["test_examples"],
    )
    return OwnModel(
        name=declared.name,
        task=task,
        inputs={name: InputSpec(i["dtype"], tuple(i["axes"])) for name, i in understood["inputs"].items()},
        workloads=usual,
        nightly_workloads=nightly,
        memory_workload=kind.memory_workload(settings),
        evaluation_batch=kind.evaluation_batch,
        flip_examples=kind.flip_examples,
        also=(*kind.also, *said.compressors),
        said=said.model,
        configuration=model.config,
        weights=weights,
        folder=model.folder.absolute(),
        allow_pickle=said.allow_pickle,
        understood={
            "where": declared.where,
            "model": said.model,
            "architecture": model.architecture,
            "data": said.data,
            "task": kind.name,
            **{key: value for key, value in understood.items() if key not in ("inputs",)},
            "published": [one.model_dump() for one in said.published],
        },
    )


def workloads_of(
    said: Declaration, kind: Kind, settings: Mapping[str, Any]
) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
    """Those of every tier and those of the nightly one: as declared, else as usual for the kind."""
    usual, nightly = kind.workloads(settings)
    if said.workloads:
        usual, nightly = tuple(map(parse_workload, said.workloads)), ()
    return usual, tuple(map(parse_workload, said.nightly_workloads)) or nightly


def slug(text: str) -> str:
    """A name that ids can hold."""
    return re.sub(r"[^a-z0-9_]+", "-", text.casefold()).strip("-_") or "own"
