"""An OpenVINO graph, `….xml`, with its weights in `….bin` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from compressors.given import openvino_facts
from compressors.given.apart import read_apart
from compressors.given.companions import check_companions
from compressors.given.form import Fit, Form, GivenError, Looked, only
from compressors.given.graph import fit_ports
from compressors.given.port import Port
from compressors.given.within import check_within
from compressors.interface import ModelSpec
from compressors.runtimes.cached_graph import ROWS
from compressors.runtimes.openvino import GRAPH

TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
"""Graphs that make tokens of texts, which optimum writes beside the model."""
OF_THE_CACHE = frozenset({"position_ids", "beam_idx"})
"""Inputs of a graph that keeps a cache: the runtime gives them."""


class Openvino(Form):
    """OpenVINO executes it as it is; a language model with a cache, as optimum writes it, decodes too."""

    name: ClassVar[str] = "an OpenVINO graph (.xml)"
    runtime: ClassVar[str] = "openvino"
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino"}

    def main(self, path: Path, said: str) -> Path | None:
        if path.is_dir():
            return only([file for file in sorted(path.glob("*.xml")) if file.name not in TOKENIZERS], said)
        return path if path.suffix == ".xml" else None

    def look(self, main: Path, said: str) -> Looked:
        weights = main.with_suffix(".bin")
        if not weights.is_file():
            raise GivenError(f"{said}: {weights.name} is missing, the weights of {main.name}")
        check_within(main.parent, (main.name, weights.name), said)
        files = {GRAPH: main, str(Path(GRAPH).with_suffix(".bin")): weights}
        return Looked(said, files, read_apart(openvino_facts, main, said))

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        notes = check_companions(looked.files[GRAPH].parent, looked.said, model)
        given, made = Port.read(looked.facts["inputs"]), Port.read(looked.facts["outputs"])
        own = OF_THE_CACHE if looked.facts["stateful"] else frozenset()
        if looked.facts["stateful"] and not any(port.name == ROWS for port in given):
            raise GivenError(f"{looked.said}: it keeps state from call to call, and has no {ROWS} that begins anew")
        found = fit_ports(looked.said, given, made, model, inputs, output, own, looked.facts["makers"])
        return Fit(found.options, (*notes, *found.notes))

    def told(self, looked: Looked) -> str:
        cache = ", keeps a cache" if looked.facts["stateful"] else ""
        return f"OpenVINO graph ({looked.facts['producer'] or 'of no version'}{cache})"


FORM = Openvino()
