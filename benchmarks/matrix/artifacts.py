"""What was compressed elsewhere and is judged here: `--artifact [NAME=]PATH`, and `artifacts` of a zoo file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.hub.errors import HubMistake, HubOutOfReach
from benchmarks.measure.worker import Worker, WorkerError
from benchmarks.zoo.model import Model
from benchmarks.zoo.own.beside import beside
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.hub_sources import hub_model, hub_name
from benchmarks.zoo.own.model import OwnModel
from benchmarks.zoo.own.understanding import slug
from benchmarks.zoo.own.zoo_file import check_name
from compressors import install, recipe, registry
from compressors.given.companions import check_companions
from compressors.given.form import GivenError, Looked, form_of
from compressors.given.given import Given
from compressors.interface import PressbenchError
from compressors.registry import nearest

KEYS = ("path", "inputs", "output", "function")
FILES = (".onnx", ".xml", ".gguf", ".pt2", ".py")
"""Endings of what is no name on the hub."""


@dataclass(frozen=True)
class GivenArtifact:
    """One of them, for one model. said: how a person named it. told: what it is, for people, a line each. asked: what
    is asked in the model's place, where it reads its inputs in its own way."""

    said: str
    given: Given
    told: tuple[str, ...]
    asked: Model | None = None


def by_options(
    texts: Sequence[str], models: Sequence[Model], start: Path, cache: Cache, pickle: bool = False
) -> dict[str, dict[str, GivenArtifact]]:  # fmt: skip
    """Model -> name -> artifact, of `--artifact`. start: the folder that paths start from. pickle: whether
    files that hold it are read. Raises PressbenchError."""
    if not texts:
        return {}
    if len(models) != 1:
        named = ", ".join(model.name for model in models)
        raise PressbenchError(f"--artifact: is held against one dense model, name it with --model (there are {named})")
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, values = _parsed(text, start)
        if name in found:
            raise PressbenchError(f"--artifact {text}: two are called {name!r}; name one, NAME=PATH")
        found[name] = values
    return {models[0].name: of_model(found, models[0], "--artifact", start, cache, pickle)}


def of_model(
    stated: Mapping[str, Any], model: Model, where: str, start: Path, cache: Cache, pickle: bool = False
) -> dict[str, GivenArtifact]:  # fmt: skip
    """Name -> artifact, of name -> path, or a table of `KEYS`. where: as mistakes name it."""
    found: dict[str, GivenArtifact] = {}
    for name, value in stated.items():
        at = f"{where} {name}"
        check_name(at, name)
        if name in registry.compressor_classes() or name in registry.variants("full"):
            raise PressbenchError(f"{at}: a method has that name; take another")
        values = {"path": value} if isinstance(value, str) else value
        if not isinstance(values, dict) or not isinstance(values.get("path"), str):
            raise PressbenchError(f"{at}: must be a path, or a table with path")
        if unknown := [key for key in values if key not in KEYS]:
            raise PressbenchError(f"{at}: unknown key {unknown[0]!r}{nearest(unknown[0], KEYS)}")
        one = _looked_at(name, values, model, at, start, cache, pickle)
        ways = {"": False} if one.given.absent else one.given.form[0].ways
        found |= {name + way: replace(one, given=replace(one.given, merged=merged)) for way, merged in ways.items()}
    return found


def _looked_at(
    name: str, values: Mapping[str, Any], model: Model, where: str, start: Path, cache: Cache, pickle: bool
) -> GivenArtifact:  # fmt: skip
    inputs, output, function = values.get("inputs", {}), values.get("output"), values.get("function", "")
    strings = isinstance(inputs, dict) and all(isinstance(one, str) for one in inputs.values())
    if not strings or not (output is None or isinstance(output, str)) or not isinstance(function, str):
        raise PressbenchError(f"{where}: inputs must be a table NAME = INPUT, output and function names")
    said, ports = values["path"], tuple(f"{theirs}={ours}" for theirs, ours in inputs.items())
    try:
        path, commit = _found(said, start, cache)
        form, main = form_of(path, said)
        if form.pickled and not pickle:
            raise GivenError(
                f"{said}: {main.name} holds pickle, a format that can run code; pass --allow-pickle if you trust "
                "whoever made it"
            )
        given = Given(str(path), inputs=ports, output=output, function=function)
        if absent := install.absent(given.requires):
            return GivenArtifact(said, given, (f"{form.name}, not looked at without {', '.join(absent)}",))
        looked, asked = (
            _read_apart(given, name, said, model, cache) if form.reads_by_itself else (given.looked(said), None)
        )
        fit = given.fit(looked, (asked or model).spec())
    except HubOutOfReach as error:
        return GivenArtifact(said, Given(said, absent=str(error)), (f"out of reach: {error}",))
    except PressbenchError as error:
        raise PressbenchError(f"{where}: {error}") from None
    size = sum(file.stat().st_size for file in looked.files.values())
    notes = (*fit.notes, *(asked.understood["notes"] if asked else ()))
    lines = (f"{form.told(looked)}{commit}, {size:,} bytes", *(f"note: {note}" for note in notes))
    return GivenArtifact(said, replace(given, sha256=looked.sha256), lines, asked)


def _read_apart(given: Given, name: str, said: str, model: Model, cache: Cache) -> tuple[Looked, OwnModel | None]:
    """Of a folder its files, and what is asked in the model's place, read in a process of its own: what its tokenizer
    or a header does there ends no run. Raises PressbenchError."""
    try:
        with Worker(said) as worker:
            found: tuple[Looked, OwnModel | None] = worker.call(read_folder, given, name, said, model, cache.root)
            return found
    except WorkerError as error:
        raise PressbenchError(
            f"{said}: damaged, or no folder of transformers' own: reading it failed: {error}"
        ) from None


def read_folder(
    state: dict[str, Any], given: Given, name: str, said: str, model: Model, root: Path
) -> tuple[Looked, OwnModel | None]:
    """What a worker does for `_read_apart`."""
    looked, path = given.looked(said), Path(given.path)
    looked.sha256  # noqa: B018  (kept with it: the parent asks for it)
    if isinstance(model, OwnModel):
        return looked, beside(model, name, path, said, Cache(root))
    check_companions(path, said, model.spec())
    return looked, None


def _found(said: str, start: Path, cache: Cache) -> tuple[Path, str]:
    """Where it is, and of a model of the hub at which commit, in words. Raises PressbenchError."""
    try:
        path = Path(os.path.abspath(start / Path(said).expanduser()))
        path.exists()
    except (OSError, RuntimeError, ValueError):
        raise PressbenchError(f"{said}: no such file or folder") from None
    name = None if path.exists() or "/" not in said or path.suffix in FILES else hub_name(said)
    if name is None:
        return path, ""
    try:
        _, weights = hub_model(*name, Declaration(model=said, data=said), cache)
        return weights.folder(cache), f", commit {weights.repository.commit[:12]} of the hub"
    except HubMistake as error:
        raise PressbenchError(f"{said}: no such file or folder in {start}; and {error}") from None


def _parsed(text: str, start: Path) -> tuple[str, dict[str, Any]]:
    """`NAME=PATH`, `PATH`, either with `:FUNCTION` or `:KEY=VALUE,…` behind it: the name, and the keys of a table."""
    whole, keys = text, ""
    if not _is_there(text, start):
        for place in (i for i, letter in enumerate(text) if letter == ":"):  # a port's name may have a colon, too
            before, after = text[:place], text[place + 1 :]
            if after.startswith(("output=", "inputs.", "function=")) or _is_there(
                before.partition("=")[2] or before, start
            ):
                whole, keys = before, after
                break
    name, equals, path = whole.partition("=")
    if not equals or _is_there(whole, start):
        name, path = slug(Path(whole).name), whole
    if not path or not name:
        raise PressbenchError(f"--artifact {text}: not [NAME=]PATH")
    values: dict[str, Any] = {"path": path}
    for part in recipe.split(keys, ",") if keys else []:
        if part.strip().isidentifier():
            part = f"function={part.strip()}"
        key, equals, value = part.partition("=")
        outer, _, inner = key.strip().partition(".")
        if not equals or outer not in KEYS[1:] or bool(inner) != (outer == "inputs"):
            raise PressbenchError(f"--artifact {text}: {part!r} is not a function, output=NAME or inputs.NAME=INPUT")
        if inner:
            values.setdefault("inputs", {})[inner] = value
        else:
            values[outer] = value
    return name, values


def _is_there(text: str, start: Path) -> bool:
    try:
        return (start / Path(text).expanduser()).exists()
    except (OSError, RuntimeError, ValueError):  # what no file system takes as a name
        return False
