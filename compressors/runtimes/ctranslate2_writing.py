"""An encoder with a decoder as CTranslate2's own converter writes it, its tokens named by their numbers.

What it writes is asked a few made-up texts before it counts as the same model: the converter goes by names in
configurations and knows nothing of what a method did.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compressors.interface import ModelSpec, Unsupported
from compressors.runtimes.ctranslate2 import Loaded
from compressors.skeleton import skeleton

TAKEN = {
    "marian": "MarianMTModel",
    "bart": "BartForConditionalGeneration",
    "pegasus": "PegasusForConditionalGeneration",
    "t5": "T5ForConditionalGeneration",
    "mt5": "MT5ForConditionalGeneration",
}
"""Architectures that are converted -> their class."""
ASKED: Mapping[str, Mapping[str, bool]] = {
    "bart": {"normalize_before": False, "normalize_embedding": True},
    "pegasus": {"normalize_before": True, "normalize_embedding": False},
    "mt5": {"tie_word_embeddings": False},
}
"""What the converter looks for in a configuration, and transformers no longer has there: it is in the architecture. By
the last one it tells whether what goes into the output layer is scaled."""
TYPES = {"float32": "float32", "int8_float32": "int8"}
"""What is computed in -> what the converter stores."""
TEXTS, READ, WRITTEN = 3, 8, 5
"""Made-up texts, and tokens of each, on which what was converted is compared."""
APART = 0.01
"""How far logits may lie apart, in deviations of the logits: rounding is a hundredth of it."""


def reason(spec: ModelSpec) -> str | None:
    """Why a model cannot be converted, in one line; None where it may be."""
    config, name = spec.config, str((spec.config.get("architectures") or ["?"])[0])
    if TAKEN.get(spec.architecture) != name:
        return f"{name} is not converted to CTranslate2 here; {', '.join(TAKEN.values())} are"
    if not isinstance(config.get("decoder_start_token_id"), int):
        return "its configuration names no decoder_start_token_id"
    last = config["vocab_size"] - 1
    if spec.architecture == "marian" and not config["decoder_start_token_id"] == config.get("pad_token_id") == last:
        return "CTranslate2 takes Marian models whose texts begin with padding, the last token of the vocabulary"
    return None


@dataclass(frozen=True)
class Converted:
    """What CTranslate2 loads, in a folder. start: the token that texts begin with. vocabulary: how many tokens the
    model of transformers has. keeper: removes the folder with it; None for that of an artifact."""

    folder: Path
    start: int
    vocabulary: int
    keeper: Any = None

    @staticmethod
    def of(model: nn.Module, spec: ModelSpec, type: str) -> Converted:
        """`model`, which is used up, to be computed in `type`. Raises Unsupported where it cannot be converted, or
        what came of it is another model."""
        if why := reason(spec):
            raise Unsupported(why)
        _as_configured(model, spec)
        settings: Any = model.float().config
        for key, value in ASKED.get(spec.architecture, {}).items():
            setattr(settings, key, value)
        if spec.architecture == "t5":
            settings.tie_word_embeddings = getattr(settings, "scale_decoder_outputs", settings.tie_word_embeddings)
        keeper = tempfile.TemporaryDirectory(prefix="pressbench-ctranslate2-")
        home, rows = Path(keeper.name), int(spec.config["vocab_size"])
        made = Converted(home / "float32", int(spec.config["decoder_start_token_id"]), rows, keeper)
        _convert(model, home, made.folder, TYPES["float32"])
        _same(model, made)
        if type == "float32":
            return made
        _convert(model, home, home / type, TYPES[type])
        return Converted(home / type, made.start, rows, keeper)

    @property
    def payload(self) -> dict[str, int]:
        """What loading needs beside the files."""
        return {"start": self.start, "vocabulary": self.vocabulary}

    def copy(self, directory: Path) -> None:
        """Into the files of an artifact."""
        for file in sorted(self.folder.iterdir()):
            if file.name != "artifact.json":
                shutil.copyfile(file, directory / file.name)


class _Numbers:
    """In the place of a tokenizer: a token's name is its number, but for Marian's padding, which the converter leaves
    out by its name."""

    def __init__(self, config: Any) -> None:
        self._rows = int(config.vocab_size)
        self._padding = self._rows - 1 if config.model_type == "marian" else None
        ends = config.eos_token_id
        self.eos_token = self.unk_token = self.convert_ids_to_tokens(ends[0] if isinstance(ends, list) else ends)
        self.pad_token = self.bos_token = self.convert_ids_to_tokens(config.pad_token_id)

    def get_vocab(self) -> dict[str, int]:
        return {self.convert_ids_to_tokens(number): number for number in range(self._rows)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return "<pad>" if number == self._padding else str(number)


def _convert(model: Any, home: Path, folder: Path, stored: str) -> None:
    from ctranslate2.converters import TransformersConverter

    class InMemory(TransformersConverter):  # type: ignore[misc]
        def load_model(self, *given: Any, **more: Any) -> Any:
            return model

        def load_tokenizer(self, *given: Any, **more: Any) -> Any:
            return _Numbers(model.config)

    model.config.save_pretrained(home)  # which is how the converter chooses its reader
    try:
        InMemory(str(home)).convert(str(folder), quantization=stored)
    except MemoryError:
        raise
    except Exception as error:  # of many kinds, for what a configuration holds that it does not know
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise Unsupported(f"CTranslate2's converter does not take it: {said}") from None


def _as_configured(model: nn.Module, spec: ModelSpec) -> None:
    """Raises Unsupported where modules or shapes are not those of the configuration, which the converter reads."""
    plain = skeleton(spec.config, device="meta")
    kinds = [{name: type(module) for name, module in one.named_modules()} for one in (plain, model)]
    shapes = [{name: tuple(values.shape) for name, values in one.state_dict().items()} for one in (plain, model)]
    for before, now in (kinds, shapes):
        for name in (*before, *now):
            if before.get(name) != now.get(name):
                raise Unsupported(f"{name or type(model).__name__} is not what its configuration says any more")


def _same(model: Any, made: Converted) -> None:
    """Raises Unsupported where the files answer otherwise than the model, both in fp32."""
    draw = np.random.default_rng(0)
    tokens = [n for n in range(made.vocabulary) if n != model.config.pad_token_id]
    said = draw.choice(tokens, (TEXTS, WRITTEN))
    said[:, 0] = made.start
    ids = draw.choice(tokens, (TEXTS, READ))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "decoder_input_ids": said}
    inputs["attention_mask"][0, READ // 2 :] = 0
    with torch.inference_mode():
        wanted = model.eval()(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()
    found = Loaded(made.folder, made.payload, "float32", 1).forward(inputs)
    names = Loaded.names(made.folder)
    apart = float(np.abs(found - wanted)[..., : len(names)].max() / max(float(wanted.std()), 1e-12))
    if not apart <= APART:
        raise Unsupported(
            f"what CTranslate2's converter makes of it is another model: logits lie {apart:.2g} deviations apart"
        )
