"""Models, tasks and assets. Each is one file in its folder here; adding one edits nothing else."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from benchmarks.zoo.model import Model
from compressors.interface import PressbenchError
from compressors.registry import nearest


@functools.cache
def known_models() -> dict[str, Model]:
    """Every model that a file in `zoo/models` declares as `MODEL`, by name."""
    from benchmarks.zoo import models as package

    found: dict[str, Model] = {}
    for info in pkgutil.iter_modules(package.__path__):
        model = importlib.import_module(f"{package.__name__}.{info.name}").MODEL
        if model.name in found:
            raise PressbenchError(f"two models are called {model.name!r}")
        found[model.name] = model
    return found


def find_model(name: str) -> Model:
    """The model of that name; one line with the nearest names if there is none."""
    known = known_models()
    if name not in known:
        raise PressbenchError(f"unknown model {name!r}{nearest(name, known)}")
    return known[name]
