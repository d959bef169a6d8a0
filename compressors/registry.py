"""Where compressors and runtimes are found: ours and anyone's, through one mechanism.

A *source* is a module or a package; every concrete subclass of `Compressor` (or `Runtime`) defined
in it counts. Our own packages are sources; so is whatever an entry point in the group
`pressbench.compressors` or `pressbench.runtimes` names (a class, a module or a package).
A source that fails to import is reported by name and reason; the others go on.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from compressors import install, plugin_import
from compressors import parameters as parameters_of
from compressors.interface import ANY, Compressor, Hardware, ModelSpec, PressbenchError
from compressors.nearest import nearest
from compressors.runtimes.base import runtime_classes

T = TypeVar("T")


@dataclass(frozen=True)
class BrokenPlugin:
    """A source that could not be used. name: the entry point or module; reason: one line."""

    name: str
    reason: str


def _parts(source: object) -> Iterator[tuple[str, Callable[[], object]]]:
    """The modules inside a package, each with what imports it."""
    if isinstance(source, ModuleType):
        for info in pkgutil.iter_modules(getattr(source, "__path__", ()), source.__name__ + "."):
            yield info.name, functools.partial(importlib.import_module, info.name)


def _classes(source: object, base: type[T]) -> Iterator[type[T]]:
    if isinstance(source, type):
        found: list[object] = [source]
    elif isinstance(source, ModuleType):
        # Only classes a module defines itself: what it imports belongs to another source.
        found = [c for c in vars(source).values() if getattr(c, "__module__", "") == source.__name__]
    else:
        raise PressbenchError(f"an entry point must name a class, a module or a package, not {source!r}")
    for cls in found:
        if (
            isinstance(cls, type)
            and issubclass(cls, base)
            and not inspect.isabstract(cls)
            and cls is not base
            and not cls.__name__.startswith("_")
        ):
            yield cls


def discover(base: type[T], own: str, group: str) -> tuple[dict[str, type[T]], list[BrokenPlugin]]:
    """The subclasses of `base` in the package `own` and behind the entry points of `group`, by
    their `name`, and the sources that could not be used."""
    # (name, what imports it, whether it is someone else's)
    loaders: list[tuple[str, Callable[[], object], bool]] = [(own, lambda: importlib.import_module(own), False)]
    loaders += [(f"{e.name} = {e.value}", e.load, True) for e in importlib.metadata.entry_points(group=group)]
    found: dict[str, type[T]] = {}
    broken: list[BrokenPlugin] = []
    while loaders:
        label, load, foreign = loaders.pop(0)
        if foreign and (reason := plugin_import.ends_process(label, load)):
            broken.append(BrokenPlugin(label, reason))
            continue
        try:
            with plugin_import.silently() if foreign else contextlib.nullcontext():
                source = load()
            # Each on its own: one that fails does not take its neighbours along.
            loaders[:0] = [(name, part, foreign) for name, part in _parts(source)]
            for cls in _classes(source, base):
                name = getattr(cls, "name", "")
                if not isinstance(name, str) or not name.replace("-", "").isalnum() or name != name.lower():
                    raise PressbenchError(f"{cls.__qualname__}.name must be lower-case words joined by '-': {name!r}")
                if found.get(name, cls) is not cls:
                    raise PressbenchError(f"the name {name!r} is taken by {found[name].__module__}")
                found[name] = cls
        except (Exception, SystemExit) as error:  # a plugin may fail in any way at import, the others go on
            broken.append(BrokenPlugin(label, f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return found, broken


@functools.cache
def _compressors() -> tuple[dict[str, type[Compressor]], list[BrokenPlugin]]:
    return discover(Compressor, "compressors", "pressbench.compressors")  # type: ignore[type-abstract]


def compressor_classes() -> dict[str, type[Compressor]]:
    """Every compressor class by name."""
    return dict(_compressors()[0])


def broken_plugins() -> list[BrokenPlugin]:
    """The plugins that could not be imported, with the reason."""
    return list(_compressors()[1])


def register(cls: type[Compressor]) -> None:
    """Make a class known to this process without an entry point: for tests and notebooks. Worker
    processes do not see it; the suite's cases need the entry point."""
    _compressors()[0].setdefault(cls.name, cls)


def build(name: str, parameters: dict[str, Any] | None = None) -> Compressor:
    """The compressor of that name with these parameters. PressbenchError, one line, for an unknown name or parameter,
    a value that does not fit the field's annotation, and whatever the compressor itself raises when it is made."""
    classes = compressor_classes()
    if name not in classes:
        broken = "".join(f"; {p.name} could not be used: {p.reason}" for p in broken_plugins())
        raise PressbenchError(f"unknown compressor {name!r}{nearest(name, classes)}{broken}")
    cls = classes[name]
    fields = [f.name for f in dataclasses.fields(cls) if f.init]  # the parameters
    for key in parameters or {}:
        if key not in fields:
            raise PressbenchError(f"compressor {name!r} has no parameter {key!r}{nearest(key, fields)}")
    frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in (parameters or {}).items()}
    try:
        parameters_of.check(cls, frozen)
        return cls(**frozen)
    except Exception as error:
        usual = isinstance(error, (TypeError, ValueError, PressbenchError))
        told = " ".join(f"{'' if usual else f'{type(error).__name__}: '}{error}".split())
        raise PressbenchError(f"compressor {name!r}: {told}") from None


def variants(tier: str = "quick") -> dict[str, Compressor]:
    """The compressors that the suite runs, by id. The tier nightly has `nightly_variants` too, full all there are."""
    chosen: dict[str, Compressor] = {}
    for name, cls in compressor_classes().items():
        more = cls.nightly_variants if tier != "quick" else {}
        all_else = cls.full_variants if tier == "full" else {}
        for suffix, parameters in {**cls.variants, **more, **all_else}.items():
            chosen[f"{name}-{suffix}" if suffix else name] = build(name, dict(parameters))
    return chosen


def unsupported_reason(compressor: Compressor, model: ModelSpec, hardware: Hardware) -> str | None:
    """Why the pair cannot run: a missing package with the command that installs it, or what the
    compressor (or a step of it) says itself; None if it can run."""
    if (how := model.config.get("quantization_config")) is not None and any(s.takes != ANY for s in compressor.steps):
        method = how.get("quant_method", "quantized") if isinstance(how, dict) else "quantized"
        return f"{model.name} is quantized already ({method}): {compressor.name} needs the model before that"
    for step in compressor.steps:
        if missing := install.reason(step.name, step.requires):
            return missing
        if reason := _ask(step, model, hardware):
            return f"{step.name}: {reason}"
    runtime = runtime_classes().get(runtime_of(compressor))
    if hardware.held_to and runtime is not None and not runtime.emulates:
        return f"{runtime.name} cannot be held to {hardware.held_to}: it takes what the processor has"
    return _ask(compressor, model, hardware)


def runtime_of(compressor: Compressor) -> str:
    """The name of the runtime that runs what it makes."""
    return compressor.steps[-1].makes if compressor.steps else "torch"


def _ask(compressor: Compressor, model: ModelSpec, hardware: Hardware) -> str | None:
    try:
        return compressor.supports(model, hardware)
    except Exception as error:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PressbenchError(f"{compressor.name}.supports failed for {model.name}: {what}") from error


def source_closure(cls: type | Callable[..., object], *also: str) -> list[str]:
    """The files whose code decides what a class or a function does: its own module and what that imports from its own
    top-level package, from `compressors` and from the packages `also`, transitively. They go into
    cache keys, so that editing a method rebuilds what it made and nothing else."""
    tops = frozenset({cls.__module__.partition(".")[0], "compressors", *also})
    files: dict[str, str] = {}
    pending = [cls.__module__]
    while pending:
        name = pending.pop()
        spec = importlib.util.find_spec(name) if name not in files else None
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            continue
        files[name] = spec.origin
        package = name if spec.submodule_search_locations else name.rpartition(".")[0]
        pending.extend(_imported(spec.origin, package, tops, os.stat(spec.origin).st_mtime_ns))
    return sorted(files.values())


@functools.cache
def _imported(path: str, package: str, tops: frozenset[str], changed: int) -> tuple[str, ...]:
    """The modules of the packages `tops` that the file imports, as it was when it was last changed."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [module, *(f"{module}.{a.name}" for a in node.names)]
        found |= dict.fromkeys(n for n in names if n.partition(".")[0] in tops and _is_module(n))
    return tuple(found)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # `from package.module import Class` asks for package.module.Class
        return False
