"""An archive of torch.export, `….pt2`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from compressors.given import pt2_facts
from compressors.given.apart import read_apart
from compressors.given.companions import check_companions
from compressors.given.form import Fit, Form, Looked, only
from compressors.given.graph import fit_ports
from compressors.given.port import Port
from compressors.interface import ModelSpec
from compressors.runtimes.exported import PROGRAM


class Pt2(Form):
    """torch executes the program in it. What is in an archive is unpickled, by torch's own reader."""

    name: ClassVar[str] = "an archive of torch.export (.pt2)"
    runtime: ClassVar[str] = "torch-export"
    pickled: ClassVar[bool] = True

    def main(self, path: Path, said: str) -> Path | None:
        if path.is_dir():
            return only(sorted(path.glob("*.pt2")), said)
        return path if path.suffix == ".pt2" else None

    def look(self, main: Path, said: str) -> Looked:
        return Looked(said, {PROGRAM: main}, read_apart(pt2_facts, main, said))

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        notes = check_companions(looked.files[PROGRAM].parent, looked.said, model)
        given, made = Port.read(looked.facts["inputs"]), Port.read(looked.facts["outputs"])
        found = fit_ports(looked.said, given, made, model, inputs, output)
        order = {"order": [port.name for port in given], "outputs": [port.name for port in made]}
        return Fit({**found.options, **order}, (*notes, *found.notes))

    def told(self, looked: Looked) -> str:
        return "torch.export archive" + (f" (version {looked.facts['version']})" if looked.facts["version"] else "")


FORM = Pt2()
