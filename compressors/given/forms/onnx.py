"""An ONNX file, with its weights inside or in files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from compressors.artifact import MANIFEST
from compressors.given import onnx_facts
from compressors.given.apart import read_apart
from compressors.given.companions import check_companions
from compressors.given.form import Fit, Form, GivenError, Looked, only
from compressors.given.graph import fit_ports
from compressors.given.port import Port
from compressors.given.within import leads_out
from compressors.interface import ModelSpec
from compressors.runtimes.onnxruntime import GRAPH


class Onnx(Form):
    """ONNX Runtime executes it as it is."""

    name: ClassVar[str] = "an ONNX file"
    runtime: ClassVar[str] = "onnxruntime"
    requires: ClassVar[Mapping[str, str]] = {"onnx": "onnx"}

    def main(self, path: Path, said: str) -> Path | None:
        if path.is_dir():
            return only(sorted(path.glob("*.onnx")), said)
        return path if path.suffix == ".onnx" else None

    def look(self, main: Path, said: str) -> Looked:
        facts = read_apart(onnx_facts, main, said)
        files = {GRAPH: main}
        for name in facts["external"]:
            files[name] = _beside(main, name, said)
        return Looked(said, files, facts)

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        notes = check_companions(looked.files[GRAPH].parent, looked.said, model)
        given, made = _inputs(looked), Port.read(looked.facts["outputs"])
        found = fit_ports(looked.said, given, made, model, inputs, output, makers=looked.facts["makers"])
        return Fit(found.options, (*notes, *found.notes))

    def told(self, looked: Looked) -> str:
        opsets = ", ".join(f"{domain} {version}" for domain, version in looked.facts["opsets"].items())
        cache = ", is given a cache" if any(port.name.startswith("past") for port in _inputs(looked)) else ""
        return f"ONNX ({looked.facts['producer'] or 'no producer'}; {opsets}{cache})"


def _inputs(looked: Looked) -> tuple[Port, ...]:
    return Port.read(looked.facts["inputs"])


def _beside(main: Path, name: str, said: str) -> Path:
    """A file of weights that the graph names. Raises GivenError where it is not in the graph's folder, or not there."""
    if leads_out(main.parent, name) or name in (GRAPH, MANIFEST):
        raise GivenError(f"{said}: {main.name} takes weights from outside of its folder: {name!r}")
    file = main.parent / name
    if not file.is_file():
        raise GivenError(f"{said}: {name} is missing, which {main.name} takes weights from")
    return file


FORM = Onnx()
