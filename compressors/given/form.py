"""What a form of files is: how it is told from others, what is looked at before anything is measured, how it runs.

One file each in `forms`, which declares `FORM`; adding one edits nothing else.
"""

from __future__ import annotations

import abc
import functools
import hashlib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from compressors.artifact import file_hash
from compressors.interface import Compressed, ModelSpec, PressbenchError
from compressors.runtimes.files import Files


class GivenError(PressbenchError):
    """What is wrong with a file that was given: which one, and what would be right."""


@dataclass(frozen=True)
class Looked:
    """Files, looked at. said: how the user named them. files: name in an artifact -> the file. facts: what they say of
    themselves, JSON, as their form reads them."""

    said: str
    files: Mapping[str, Path]
    facts: Mapping[str, Any]

    @functools.cached_property
    def hashes(self) -> Mapping[str, str]:
        """Name -> SHA-256."""
        return {name: file_hash(file) for name, file in sorted(self.files.items())}

    @functools.cached_property
    def sha256(self) -> str:
        """Over all files and their names."""
        parts = "".join(f"{name}\0{found}\n" for name, found in self.hashes.items())
        return hashlib.sha256(parts.encode()).hexdigest()


@dataclass(frozen=True)
class Fit:
    """How the files run in the dense model's place. options: of the runtime. notes: what a person should know."""

    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Form(abc.ABC):
    """One form. Stateless."""

    name: ClassVar[str]
    """As people are told it."""
    runtime: ClassVar[str]
    """Who executes it."""
    requires: ClassVar[Mapping[str, str]] = {}
    """Packages without which it cannot be looked at: import name -> what to `pip install`."""

    ways: ClassVar[Mapping[str, bool]] = {"": False}
    """What is judged of one: suffix of its name -> whether it is merged into the dense model."""
    pickled: ClassVar[bool] = False
    """Whether reading it unpickles, which can run code: only where a person allows that."""
    part: ClassVar[bool] = False
    """Whether it is a part of a model, which goes with the dense one."""
    called: ClassVar[bool] = False
    """Whether a function of it is named, which loads the model; `Looked.facts["functions"]` are those that it has."""
    reads_by_itself: ClassVar[bool] = False
    """Whether it may come with a tokenizer or an image processor of its own."""

    @abc.abstractmethod
    def main(self, path: Path, said: str) -> Path | None:
        """The file that is the model, of a file or a folder; None where it is of another form. By names alone. Raises
        GivenError where there are several."""

    def needed(self, main: Path, said: str) -> Mapping[str, str]:
        """Packages that this very file takes to run, as `requires`. Raises GivenError."""
        return {}

    @abc.abstractmethod
    def look(self, main: Path, said: str) -> Looked:
        """What the files say of themselves, read in a process of its own. Raises GivenError where they are damaged, or
        lead out of their folder."""

    @abc.abstractmethod
    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        """How they stand in for the dense `model`. inputs: name in the file -> the suite's name, output: name in the
        file, where a person said so. Raises GivenError where they cannot."""

    def check(self, looked: Looked, model: ModelSpec) -> None:
        """What can be seen only where the model is loaded. Called in the process that takes the files. Raises
        PressbenchError."""
        return

    def compressed(self, looked: Looked, fit: Fit, model: Any, merged: bool) -> Compressed:
        """What becomes the artifact: the files as they are, unless they are a `part`. model: the dense one, in memory,
        for a part. merged: see `ways`. Raises PressbenchError."""
        return Compressed(Files(looked.files, looked.hashes), runtime=self.runtime, options=fit.options)

    @abc.abstractmethod
    def told(self, looked: Looked) -> str:
        """What it is, in a few words: who wrote it, in which version."""


@functools.cache
def forms() -> tuple[Form, ...]:
    """Every form there is."""
    from compressors.given import forms as package

    modules = (importlib.import_module(f"{package.__name__}.{i.name}") for i in pkgutil.iter_modules(package.__path__))
    return tuple(module.FORM for module in modules)


def form_of(path: Path, said: str) -> tuple[Form, Path]:
    """The form of a file or a folder, and the file that is the model. Raises GivenError where there is none, or more
    than one."""
    if not path.exists():
        raise GivenError(f"{said}: no such file or folder")
    found = [(form, main) for form in forms() if (main := form.main(path, said)) is not None]
    if not found:
        raise GivenError(f"{said}: none of {', '.join(form.name for form in forms())}")
    if len(found) > 1:
        told = " and ".join(f"{main.name} ({form.name})" for form, main in found)
        raise GivenError(f"{said}: two sets of weights in one folder, {told}: name the file that is meant")
    return found[0]


def only(found: list[Path], said: str) -> Path | None:
    """The one file; None of none. Raises GivenError of several."""
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise GivenError(f"{said}: {len(found)} models in one folder ({names}): name the file that is meant")
    return found[0] if found else None
