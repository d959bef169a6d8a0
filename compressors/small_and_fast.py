"""The headline: what this suite knows to make small and fast, for each kind of model on each class of hardware.

A recipe is one of methods that are there by themselves; this is the one place that says which go together. That of
models that read words was found by `pressbench search` on minilm-bbc (docs/searching.md tells how); that of models that
see images is one of nine that were tried on vit-digits, on AVX2 of nine (docs/methods.md has them); that of models
that write words was put together by hand, from what each method showed by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from compressors import registry
from compressors.interface import Compressor, Hardware, ModelSpec
from compressors.pipeline import Chain, Pipeline

STUDENT: Chain = (
    ("distil-layers", ()),
    ("prune-structured", (("heads_removed", 0.75), ("neurons_removed", 0.75), ("recovery_epochs", 2.0))),
    ("prune-vocabulary", ()),
)
"""Two layers that answer as six, with a quarter of their heads and neurons, which know the words of the
training texts alone. The student is the one that `distil-layers` makes, so that a run that has both makes it once."""

SHALLOW = ("prune-layers", (("recovery_epochs", 3.0), ("removed", 0.67)))
"""A third of the layers, taught to end where all of them did."""

RECIPES: Mapping[str, Mapping[str, Chain]] = {
    "reads words": {
        "": (*STUDENT, ("int8-openvino", ())),
        # Where there are no instructions for sums of 8-bit products OpenVINO's int8 is no faster than its fp32.
        "cpu-avx2": (*STUDENT, ("int8-onnxruntime", ())),
    },
    "writes words": {
        # Each token reads every weight once: the fewer bits, the sooner.
        "": (("gptq-openvino", ()),),
    },
    "sees images": {
        "": (SHALLOW, ("int8-openvino", ())),
        # Its files are larger than OpenVINO's: some heads and neurons less make up for it.
        "cpu-avx2": (
            SHALLOW,
            ("prune-structured", (("heads_removed", 0.25), ("neurons_removed", 0.25), ("recovery_epochs", 4.0))),
            ("int8-onnxruntime", ()),
        ),
    },
}
"""Kind of model -> class of hardware, "" for all that have none of their own -> the chain."""

BY_LLAMACPP: Chain = (("quantize-gguf", ()),)
"""Of what writes words, where llama.cpp is installed and takes the model: on `smollm2-bbc` it decodes twice as fast as
OpenVINO with 4 bits, and is made in seconds (docs/methods.md has the figures)."""


def kind_of(model: ModelSpec) -> str:
    """The kind of a model, by its inputs and its class."""
    if "pixel_values" in model.inputs:
        return "sees images"
    head = str((model.config.get("architectures") or [""])[0])
    return "writes words" if head.endswith(("ForCausalLM", "LMHeadModel")) else "reads words"


@dataclass(frozen=True)
class SmallAndFast(Pipeline):
    """The smallest and fastest that several methods together make of a model: of an encoder of texts a student with
    fewer layers, heads, neurons and words, of a language model 4-bit weights, of a vision model a third of its layers;
    each on the kernels that are fast on the hardware, and of what is installed: `RECIPES` and `BY_LLAMACPP`
    say which."""

    name: ClassVar[str] = "small-and-fast"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    chain: Chain = RECIPES["reads words"][""]

    def suited(self, model: ModelSpec, hardware: Hardware) -> Compressor:
        if self.chain != SmallAndFast.chain:  # somebody said what it is to be
            return self
        if not registry.unsupported_reason(Pipeline(chain=BY_LLAMACPP), model, hardware):
            return dataclasses.replace(self, chain=BY_LLAMACPP)
        known = RECIPES[kind_of(model)]
        return dataclasses.replace(self, chain=known.get(hardware.hardware_class, known[""]))
