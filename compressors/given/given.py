"""A model that somebody compressed elsewhere, in the place of a method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from compressors.adapters.kept import put_beside
from compressors.given.form import Fit, Form, GivenError, Looked, form_of
from compressors.interface import ANY, Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.nearest import nearest
from compressors.runtimes.base import runtime_classes


class _OfItsFiles(property):
    """What a method says as a class, and one of these only by its files: asked of the class, as the usual one says."""

    def __get__(self, given: Any, cls: type | None = None) -> Any:
        assert self.fget is not None
        return getattr(Compressor, self.fget.__name__) if given is None else super().__get__(given, cls)


@dataclass(frozen=True)
class Given(Compressor):
    """Takes files as they are: nothing is compressed, and of the dense model nothing is taken.

    path: the file or the folder. sha256: of all that counts of it when it was named, see `Looked`; whatever it is made
    the artifact of must be that still. inputs, output: how a graph calls what the suite feeds and scores, where it
    cannot be told: "ids=input_ids", as its own name and the suite's. function: of a file of code. absent: why it could
    not be fetched. merged: of a part that goes with the dense model, whether it becomes one with its weights.
    """

    name: ClassVar[str] = "given"
    family: ClassVar[str] = "given"
    effect: ClassVar[Effect | None] = None
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # each is somebody's
    closes: ClassVar[bool] = True

    path: str = ""
    sha256: str = ""
    inputs: tuple[str, ...] = ()
    output: str | None = None
    function: str = ""
    absent: str = ""
    merged: bool = False

    @_OfItsFiles
    def makes(self) -> str:  # type: ignore[override]
        """The runtime of its form."""
        return "torch" if self.absent else self.form[0].runtime

    @_OfItsFiles
    def takes(self) -> str:  # type: ignore[override]
        """Of the dense model nothing, but for a part, which goes with it."""
        return ANY if self.absent or not self.form[0].part else "torch"

    @_OfItsFiles
    def requires(self) -> Mapping[str, str]:  # type: ignore[override]
        """What looking at it and running it take."""
        if self.absent:
            return {}
        form, main = self.form
        return {**form.requires, **runtime_classes()[form.runtime].requires, **form.needed(main, self.path)}

    @property
    def helpers(self) -> tuple[type[Any], ...]:
        return () if self.absent else (type(self.form[0]),)

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.absent else (self.path,)  # what came from a hub lies in the cache

    @property
    def form(self) -> tuple[Form, Path]:
        """What it is, and the file that is the model."""
        if not self.path:
            raise GivenError("given: path = '': names no file; it is --artifact that makes one of these")
        return form_of(Path(self.path), self.path)

    def looked(self, said: str | None = None) -> Looked:
        """Its files, looked at. said: how a person named it. Raises GivenError."""
        form, main = self.form
        return form.look(main, said or self.path)

    def fit(self, looked: Looked, model: ModelSpec) -> Fit:
        """How they stand in for the dense model. Raises GivenError."""
        pairs = [text.partition("=") for text in self.inputs]
        if bad := [text for text, (_, equals, ours) in zip(self.inputs, pairs, strict=True) if not (equals and ours)]:
            raise GivenError(f"{self.path}: inputs: {bad[0]!r}: not NAME=INPUT, as ids=input_ids")
        form = self.form[0]
        found = form.fit(looked, model, {theirs: ours for theirs, _, ours in pairs}, self.output)
        if not form.called:
            if self.function:
                raise GivenError(f"{looked.said}: :{self.function}: a function is named of a Python file alone")
            return found
        there = looked.facts["functions"]
        if self.function not in there:
            if not self.function:
                raise GivenError(f"{looked.said}: name the function in it that loads the model: {looked.said}:FUNCTION")
            raise GivenError(f"{looked.said}: has no function {self.function!r}{nearest(self.function, there)}")
        return replace(found, options={**found.options, "function": self.function})

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if self.absent:
            return self.absent
        if hardware.device != "cpu":
            return f"runs on the CPU here, not on {hardware.device}"
        return None

    def compress(self, model: Any, context: Context) -> Compressed:
        looked = self.looked()
        if looked.sha256 != self.sha256:
            raise GivenError(f"{self.path}: changed since it was named; start again")
        fit, form = self.fit(looked, context.model), self.form[0]
        form.check(looked, context.model)
        told = {"given": form.told(looked), **({"notes": list(fit.notes)} if fit.notes else {})}
        return replace(form.compressed(looked, fit, model, self.merged), told=told)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        if structure:  # of an adapter that stays beside its layers
            put_beside(model, structure["adapters"])
        return model
