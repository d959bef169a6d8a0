"""A Python file of one's own, and the function in it that loads a model: `serve.py:load`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from compressors.given import program_facts
from compressors.given.apart import read_apart
from compressors.given.form import Fit, Form, GivenError, Looked
from compressors.given.within import leads_out
from compressors.interface import ModelSpec
from compressors.runtimes.called import PROGRAM


class Program(Form):
    """Whatever the function returns answers, by the contract that `runtimes/called.py` states. The artifact is the file
    and what its FILES names beside it: it sees nothing else when it is scored."""

    name: ClassVar[str] = "a Python file and a function in it (FILE.py:FUNCTION)"
    runtime: ClassVar[str] = "called"
    called: ClassVar[bool] = True

    def main(self, path: Path, said: str) -> Path | None:
        return path if path.suffix == ".py" and path.is_file() else None

    def look(self, main: Path, said: str) -> Looked:
        found = read_apart(program_facts, main, said)
        files = {PROGRAM: main}
        for name in found["files"]:
            file = main.parent / name
            if leads_out(main.parent, name):
                raise GivenError(f"{said}: FILES: {name!r} lies outside of its folder")
            if not file.is_file():
                raise GivenError(f"{said}: FILES: there is no {name} beside it")
            if name == PROGRAM:
                raise GivenError(f"{said}: FILES: {name} is what the file itself is called in an artifact; rename it")
            files[Path(name).as_posix()] = file
        return Looked(said, files, found)

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        if inputs or output:
            raise GivenError(
                f"{looked.said}: inputs and output are said of graphs; a function is given the suite's names"
            )
        return Fit()

    def told(self, looked: Looked) -> str:
        count = len(looked.files) - 1
        return "a Python file" + (f" and {count} beside it" if count else "")


FORM = Program()
