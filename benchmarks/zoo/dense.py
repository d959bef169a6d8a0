"""The dense side of a model, made once: its data as tensors, and its weights.

One cache entry holds
    artifact/           the dense model as an artifact with an empty recipe, or what stands in its place as it is
    train.safetensors   inputs and labels: what training and calibration see
    inputs.safetensors  what quality is measured on, as a model is asked: without the answers
    labels.safetensors  the answers, in a file of their own: no worker that runs a method's code is given it
    test.jsonl          what a person is shown of each of these
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from benchmarks.cache import SEAL, Cache, content_hash, hash_files, versions
from benchmarks.quality.shown import Shown, read_shown, write_shown
from benchmarks.zoo.model import Model
from compressors import artifact
from compressors.artifact import Artifact
from compressors.interface import Examples, Hardware, Progress
from compressors.registry import source_closure
from compressors.runtimes.torch import TorchRuntime

TRAINING, INPUTS, LABELS = "train.safetensors", "inputs.safetensors", "labels.safetensors"
LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "scikit-learn")


def dense_key(model: Model, hardware: Hardware) -> dict[str, Any]:
    """All that decides the dense model: code, assets, library versions, and the numerics it was trained in."""
    makers = (type(model), prepare_dense, TorchRuntime)
    return {
        "model": model.name,
        "source": hash_files({file for maker in makers for file in source_closure(maker, "benchmarks")}),
        "assets": model.identity(),
        "versions": versions(*LIBRARIES),
        "features": sorted(hardware.features & {"bf16", "amx"}),
    }


def prepare_dense(model: Model, cache: Cache, hardware: Hardware, progress: Progress, folder: Path) -> None:
    """Train the dense model and write the entry to `folder`."""
    splits = model.task.load(cache)
    training, test = (model.encode(splits[name], cache) for name in ("train", "test"))
    stored = model.as_stored(cache)
    if stored is None:
        artifact.save(model.train(training, cache, hardware, progress), folder / "artifact", model.spec())
    else:
        artifact.save(
            stored.model, folder / "artifact", model.spec(), runtime_name=stored.runtime, options=stored.options
        )
    write_examples(model.task.quality.veiled(test, training), folder / INPUTS)
    save_file({} if test.labels is None else {"labels": test.labels.contiguous()}, folder / LABELS)
    write_shown(map(model.task.shown, splits["test"]), folder / "test.jsonl")
    labels = training.labels if model.task.quality.output == "logits" else None  # else they are no classes
    write_examples(Examples(training.inputs, labels), folder / TRAINING)


def write_examples(examples: Examples, path: Path) -> None:
    """Examples as one safetensors file."""
    tensors = {f"input:{name}": values.contiguous() for name, values in examples.inputs.items()}
    if examples.labels is not None:
        tensors["labels"] = examples.labels.contiguous()
    save_file(tensors, path)


def read_examples(path: Path) -> Examples:
    """What `write_examples` wrote."""
    tensors: Mapping[str, Any] = load_file(path)
    inputs = {name.removeprefix("input:"): t for name, t in tensors.items() if name.startswith("input:")}
    return Examples(inputs, tensors.get("labels"))


class Dense:
    """A prepared dense entry, opened."""

    def __init__(self, entry: Path) -> None:
        self.entry = entry
        self.artifact: Artifact = artifact.open_artifact(entry / "artifact")

    @property
    def identity(self) -> str:
        """What decides everything made from it: the hashes of its files."""
        return content_hash(json.loads((self.entry / SEAL).read_text(encoding="utf-8"))["files"])

    @property
    def told(self) -> str | None:
        """What stands in the place of a dense model, in words; None where that is one of torch in fp32."""
        runtime = self.artifact.manifest["runtime"]
        if runtime == TorchRuntime.name:
            return None
        config = self.artifact.spec.config.get("quantization_config") or {}
        return f"{config.get('quant_method', 'quantized')} by {runtime}"

    @property
    def inputs_path(self) -> Path:
        """The test split's file, without its labels."""
        return self.entry / INPUTS

    @property
    def labels_path(self) -> Path:
        """The labels of the test split."""
        return self.entry / LABELS

    @property
    def training_path(self) -> Path:
        """The training split's file."""
        return self.entry / TRAINING

    def training(self) -> Examples:
        """The training split, with its labels."""
        return read_examples(self.training_path)

    def test(self) -> Examples:
        """The test split, with its labels."""
        return dataclasses.replace(read_examples(self.inputs_path), labels=load_file(self.labels_path).get("labels"))

    def shown(self) -> Sequence[Shown]:
        """What a person is shown of each example of the test split."""
        return read_shown(self.entry / "test.jsonl")
