"""Models whose rounded codes another method takes: chains of both, their answers and their stored bytes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from compressors import registry
from compressors.artifact import Artifact

NEAREST = ("quantize-weights", {"bits": 4, "symmetric": False})
ATEN = ("weight-only", {"bits": None})
OPENVINO = ("weight-only-openvino", {"bits": None, "activations": 16, "float_precision": "fp32"})


def chained(subject: Any, *chain: tuple[str, dict[str, Any]]) -> Artifact:
    steps = registry.build("pipeline", {"chain": tuple((name, tuple(given.items())) for name, given in chain)}).steps
    return subject.artifact(steps)


def answers(subject: Any, made: Artifact) -> np.ndarray:
    return made.load(threads=1)({name: values.numpy() for name, values in subject.examples.inputs.items()})


def stored(made: Artifact) -> dict[str, np.ndarray]:
    """The tensors of bytes in a safetensors file, read without the library; aliases as well."""
    raw = (made.directory / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    found = {}
    for name, about in header.items():
        if about.get("dtype") == "U8":
            start, stop = (8 + size + offset for offset in about["data_offsets"])
            found[name] = np.frombuffer(raw[start:stop], np.uint8).reshape(about["shape"])
    for alias, name in made.manifest["payload"]["shared"].items():
        if name in found:
            found[alias] = found[name]
    return found
