"""A GGUF file, as llama.cpp has them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from compressors import install
from compressors.given import gguf_facts
from compressors.given.apart import read_apart
from compressors.given.form import Fit, Form, GivenError, Looked, only
from compressors.interface import ModelSpec
from compressors.runtimes.gguf import FILE


class Gguf(Form):
    """Run by llama.cpp; without it scored by transformers' reading of it, which decodes the weights."""

    name: ClassVar[str] = "a GGUF file"
    runtime: ClassVar[str] = "llamacpp" if importlib.util.find_spec("llama_cpp") else "gguf"
    requires: ClassVar[Mapping[str, str]] = {"gguf": "gguf"}

    def main(self, path: Path, said: str) -> Path | None:
        if path.is_dir():
            return only(sorted(path.glob("*.gguf")), said)
        return path if path.suffix == ".gguf" else None

    def look(self, main: Path, said: str) -> Looked:
        return Looked(said, {FILE: main}, read_apart(gguf_facts, main, said))

    def fit(self, looked: Looked, model: ModelSpec, inputs: Mapping[str, str], output: str | None) -> Fit:
        if inputs or output:
            raise GivenError(f"{looked.said}: inputs and output are said of graphs; a GGUF file has those of its model")
        ours = str((model.config.get("architectures") or [""])[0])
        if not ours.endswith(("ForCausalLM", "LMHeadModel")):
            raise GivenError(f"{looked.said}: a GGUF file is read as a language model, and {ours} is none")
        theirs, wanted = looked.facts["vocabulary"], model.config.get("vocab_size")
        if theirs != wanted:
            raise GivenError(
                f"{looked.said}: it has a vocabulary of {theirs:,} tokens, the dense model one of {wanted:,}: it reads "
                "the numbers of another tokenizer"
            )
        if self.runtime == "llamacpp":
            return Fit()
        how = install.command(["llama-cpp-python"])
        return Fit(notes=(f"scored by transformers' reading of it; its speed and memory in llama.cpp take it: {how}",))

    def told(self, looked: Looked) -> str:
        facts = looked.facts
        kinds = sorted(facts["dtypes"], key=lambda kind: -facts["dtypes"][kind])
        return f"GGUF ({facts['architecture']}, {facts['name'] or 'without a name'}; {', '.join(kinds)})"


FORM = Gguf()
