"""A model as its owner runs it: transformers' own classes and pipelines on the folder as it is, one example at a time,
nothing padded. What the suite measures is held against this before anything else is done with the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLES = 8
"""Rows of the test split that are asked: each takes one pass, and a mistake of set-up shows on most of them."""


@dataclass(frozen=True)
class OwnersRun:
    """how: who ran it, in words. outputs: for each row the raw outputs, (1, …), or none where text is generated: then
    tokens has what followed the first one, for each row. suspects: what in the folder could be why it differs. blocks:
    how many inputs come of one row; they stand in blocks, the first of all rows, then the second of all."""

    how: str
    outputs: Sequence[np.ndarray] = ()
    tokens: Sequence[np.ndarray] = ()
    suspects: tuple[str, ...] = ()
    blocks: int = 1


def by_pipeline(
    task: str, inputs: Iterable[Any], model: Any, output: str, *, suspects: tuple[str, ...] = (), **more: Any
) -> OwnersRun:
    """By transformers' pipeline of that name: what it makes of each input, and its model of that. model: a folder, or a
    module (with its tokenizer in `tokenizer`). more: for the pipeline, and under `prepare` for its preprocessing."""
    import transformers

    prepare = more.pop("prepare", {})
    made: Any = transformers.pipeline  # its overloads do not know a name that is a variable
    pipe = made(task, model=model, device=-1, trust_remote_code=False, **more)
    found = [pipe.forward(pipe.preprocess(one, **prepare))[output].float().numpy() for one in inputs]
    return OwnersRun(f"transformers' {task} pipeline", found, suspects=suspects)


def by_calls(
    model: Any, prepared: Iterable[Any], output: str, *, suspects: tuple[str, ...] = (), blocks: int = 1
) -> OwnersRun:  # fmt: skip
    """By calling the model of transformers. prepared: the inputs of each example, tensors of one row."""
    import torch

    with torch.inference_mode():
        found = [getattr(model(**one), output).float().numpy() for one in prepared]
    return OwnersRun(f"{type(model).__name__} of transformers", found, suspects=suspects, blocks=blocks)


def by_generate(
    model: Any, prepared: Iterable[Any], new_tokens: int, *, suspects: tuple[str, ...] = ()
) -> OwnersRun:  # fmt: skip
    """By transformers' `generate`, greedily and otherwise as the folder says."""
    import torch

    with torch.inference_mode():
        tokens = [
            model.generate(**one, do_sample=False, num_beams=1, max_new_tokens=new_tokens)[0, 1:].numpy()
            for one in prepared
        ]
    return OwnersRun(f"{type(model).__name__}.generate of transformers", tokens=tokens, suspects=suspects)


def loaded(folder: Path, architecture: str, *, safetensors: bool = True) -> Any:
    """The model in a folder, in fp32, as `from_pretrained` gives it to whoever asks for that class; one that is
    quantized in the type that it was saved in."""
    import torch
    import transformers

    cls = getattr(transformers, architecture)
    quantized = "quantization_config" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return cls.from_pretrained(
        folder,
        dtype="auto" if quantized else torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=safetensors,
    ).eval()


def tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder as transformers reads it, with nothing of the suite's own about it."""
    import transformers

    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def tokens_of(
    tokenizer: Any, names: Sequence[str], most: int | None = None, **more: Any
) -> Callable[..., dict[str, Any]]:
    """What prepares a text for a call: by its tokenizer, cut to `most` tokens, nothing padded."""

    def prepared(*texts: Any) -> dict[str, Any]:
        found = tokenizer(*texts, truncation=most is not None, max_length=most, return_tensors="pt", **more)
        return {name: found[name] for name in names if name in found}

    return prepared
