"""Which models the options select: built-in ones by name, those of a zoo file, and one named by its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.cache import Cache, default_root
from benchmarks.zoo.model import Model
from benchmarks.zoo.own.declaration import Declared, declare
from benchmarks.zoo.own.hub_sources import hub_name
from benchmarks.zoo.own.shipped import shipped
from benchmarks.zoo.own.understanding import slug, understand
from benchmarks.zoo.own.unreachable import UnreachableModel
from benchmarks.zoo.own.zoo_file import check_name, read_zoo
from compressors.interface import PressbenchError, Unsupported
from compressors.registry import nearest

ZOO = "zoo.toml"
ALONE = ("data", "task", "test-data", "set")
"""Options that say something of one model, named by --model."""


@dataclass(frozen=True)
class Selected:
    """models: in the order they were asked for. targets, artifacts: of a zoo file, unchecked, by model. source: its
    path. folder: that its paths start from."""

    models: tuple[Model, ...]
    targets: Mapping[str, Mapping[str, Any]]
    source: str
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: Path = Path()


def select_models(option: Callable[[str], Any], start: Path) -> Selected:
    """option: an option's value by its name, as `--model`. start: the folder that paths start from.

    Raises PressbenchError, one line, for whatever is unknown or cannot be used."""
    names, root = option("--model") or [], option("--cache")
    cache = Cache(Path(root) if root else default_root())
    pickle = bool(option("--allow-pickle"))
    given = [name for name in ALONE if option(f"--{name}")]
    if given and not option("--data"):
        raise PressbenchError(f"--{given[0]}: goes with --model and --data, a model and data of your own")
    path = option("--zoo")
    if given:
        if path is not None:
            raise PressbenchError("--data: a model and data are named by options or in the file of --zoo, not in both")
        if len(names) != 1:
            raise PressbenchError("--data: goes with one --model, the folder or the hub name of a model of your own")
        return Selected((_usable(_from_options(option, names[0], start), cache, pickle),), {}, "")
    if path is None and (start / ZOO).is_file():
        path = ZOO
    file = read_zoo(start / path, path) if path is not None else None
    declared = dict(file.declared) if file else {}
    ours = {**zoo.known_models(), **shipped().declared}
    if taken := sorted(declared.keys() & ours.keys()):
        raise PressbenchError(f"{path}: [{taken[0]}]: a model that comes with pressbench has that name; take another")
    targets = {**shipped().targets, **(file.targets if file else {})}
    declared |= shipped().declared
    chosen = tuple(
        _usable(declared[name], cache, pickle) if name in declared else _built_in(name, declared, start)
        for name in names or (file.declared if file else _by_default())
    )
    picked = {model.name for model in chosen}
    artifacts = {name: found for name, found in (file.artifacts if file else {}).items() if name in picked}
    folder = (start / path).absolute().parent if path else start
    return Selected(
        chosen, {name: found for name, found in targets.items() if name in picked}, path or "", artifacts, folder
    )


def _by_default() -> list[str]:
    return [name for name, model in zoo.known_models().items() if not model.asked_alone]


def _usable(declared: Declared, cache: Cache, allow_pickle: bool) -> Model:
    """The model; where the hub is out of reach one that has no more than its name, whose cases say so."""
    if allow_pickle:
        declared = replace(declared, said=declared.said.model_copy(update={"allow_pickle": True}))
    try:
        return understand(declared, cache)
    except Unsupported as reason:
        return UnreachableModel.of(declared, str(reason))


def _built_in(name: str, others: Iterable[str], start: Path) -> Model:
    known = zoo.known_models()
    if name not in known:
        if (start / Path(name).expanduser()).exists():
            raise PressbenchError(f"--model {name}: a model of your own needs data, --data FILE")
        if (found := hub_name(name)) is None:
            raise PressbenchError(f"--model {name}: no such folder in {start}")
        if "/" in found[0]:
            raise PressbenchError(f"--model {name}: a model of the hub needs data, --data FILE")
        raise PressbenchError(f"unknown model {name!r}{nearest(name, [*known, *others])}")
    return known[name]


def _from_options(option: Callable[[str], Any], model: str, start: Path) -> Declared:
    hub = shipped().declared
    ours = {*zoo.known_models(), *hub}
    if model in ours and not (start / model).exists():
        other = f", or name its model: {hub[model].said.model}" if model in hub else ""
        raise PressbenchError(f"--data: {model} comes with pressbench, with data of its own; leave --data out{other}")
    values: dict[str, Any] = {"model": model, "data": option("--data")}
    values |= {key: option(name) for key, name in (("task", "--task"), ("test_data", "--test-data")) if option(name)}
    for text in option("--set") or []:
        _put(values, text)
    given = values.pop("name", None)
    parts = Path(model.partition("@")[0]).name, Path(values["data"].partition("@")[0]).stem
    name = given or "-".join(map(slug, parts))
    check_name(f"--set name={name}", name)
    if name in ours:
        if given:
            raise PressbenchError(f"--set name={name}: a model that comes with pressbench has that name; take another")
        name = f"own-{name}"
    return declare(name, "--model", start, values)


def _list(value: str) -> list[str]:
    """`a, b`, or as JSON where a part has a comma in it."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    return [str(one) for one in found] if isinstance(found, list) else [part.strip() for part in value.split(",")]


def _put(values: dict[str, Any], text: str) -> None:
    """`key=value` or `key.inner=value` into `values`; a list may be written a,b,c."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise PressbenchError(f"--set {text}: not KEY=VALUE")
    parsed: Any = value
    outer, dot, inner = key.strip().partition(".")
    if outer == "columns" and not inner:
        raise PressbenchError(f"--set {text}: not columns.ROLE=NAME, as columns.text=review")
    if outer in ("labels", "workloads", "nightly_workloads", "files"):
        parsed = _list(value)
    elif not inner and outer not in ("join", "prefix", "name"):
        try:
            parsed = json.loads(value)
        except ValueError:  # a bare word is a string
            parsed = value
    elif outer == "join":
        parsed = value.encode().decode("unicode_escape") if value.isascii() else value
    if dot:
        within = values.setdefault(outer, {})
        if not isinstance(within, dict):
            raise PressbenchError(f"--set {text}: {outer} is said twice")
        within[inner] = parsed
    else:
        values[outer] = parsed
