"""A torch module as a program: what every exporter starts from.

The axes that `ModelSpec.inputs` names stay free, so that one file serves every batch size and length.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec, PressbenchError, Unsupported

_COLOUR = re.compile("\x1b\\[[0-9;]*m")


class _Output(nn.Module):
    """Named inputs in, the scored tensor out: what exporters can trace."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.model = model
        self.names, self.output = names, output
        # A cache for one pass is of no use: OpenVINO cannot convert it, torch.export not one of a sliding window.
        self.more = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def forward(self, *values: Tensor) -> Tensor:
        found: Tensor = getattr(self.model(**dict(zip(self.names, values, strict=True)), **self.more), self.output)
        return found


def example_inputs(
    spec: ModelSpec, *, batch: int = 2, sequence: int = 16, decoder_sequence: int = 8
) -> dict[str, Tensor]:
    """Inputs of the right dtype and shape, every named axis given a size: token ids within the
    vocabulary, each text ended once, masks of ones, images of noise."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"batch": batch, "sequence": sequence, "decoder_sequence": decoder_sequence}
    inputs: dict[str, Tensor] = {}
    for name, wanted in spec.inputs.items():
        shape = [sizes[a] if isinstance(a, str) else a for a in wanted.axes]
        if wanted.dtype == "float32":
            inputs[name] = torch.randn(shape, generator=generator)
        elif name == "token_type_ids":
            inputs[name] = torch.zeros(shape, dtype=torch.int64)
        elif name.endswith("mask"):
            inputs[name] = torch.ones(shape, dtype=torch.int64)
        else:
            ids = torch.randint(0, int(spec.config["vocab_size"]), shape, generator=generator)
            if isinstance(end := spec.config.get("eos_token_id"), int):  # BART's classifiers look for it
                ids[ids == end] = 0 if end else 1
                ids[..., -1] = end
            inputs[name] = ids
    return inputs


def exported_program(model: nn.Module, spec: ModelSpec) -> torch.export.ExportedProgram:
    """The graph of `model` by torch.export, with the spec's named axes dynamic."""
    wrapped = _Output(model, tuple(spec.inputs), spec.output).eval()
    with exporter("torch.export cannot trace", model, spec), quiet():
        inputs = tuple(example_inputs(spec).values())
        try:
            return torch.export.export(wrapped, inputs, dynamic_shapes=_free_axes(spec, shortest=2))
        except torch._dynamo.exc.UserError:  # BART's classifiers want a token between those that begin and end a text
            return torch.export.export(wrapped, inputs, dynamic_shapes=_free_axes(spec, shortest=3))


def _free_axes(spec: ModelSpec, shortest: int) -> tuple[tuple[dict[int, Any], ...]]:
    longest = int(spec.config.get("max_position_embeddings", 2**15))
    dims = {
        "batch": torch.export.Dim("batch", min=1, max=2**15),
        "sequence": torch.export.Dim("sequence", min=shortest, max=longest),
        "decoder_sequence": torch.export.Dim("decoder_sequence", min=1, max=longest),  # a text begins with one token
    }
    return (tuple({i: dims[a] for i, a in enumerate(s.axes) if isinstance(a, str)} for s in spec.inputs.values()),)


@contextlib.contextmanager
def exporter(cannot: str, model: nn.Module, spec: ModelSpec) -> Iterator[None]:
    """What an exporter raises within it means that it does not take this architecture: Unsupported, with the
    exporter's own words. A model that does not even run is no fault of an exporter, and its own error is raised."""
    try:
        yield
    except (PressbenchError, MemoryError, OSError):
        raise
    except Exception as error:  # exporters raise what they like
        with torch.inference_mode():
            _Output(model, tuple(spec.inputs), spec.output)(*example_inputs(spec).values())
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        words = next((line for line in _COLOUR.sub("", str(first)).splitlines() if line.strip()), type(first).__name__)
        raise Unsupported(f"{cannot} {type(model).__name__}: {words.strip()[:300]}") from error


@contextlib.contextmanager
def attention_as(model: Any, implementation: str | None) -> Iterator[None]:
    """Within it a transformers model computes attention in another way; as it is where None."""
    before = model.config._attn_implementation if implementation else None
    if implementation:
        model.set_attn_implementation(implementation)
    try:
        yield
    finally:
        if implementation:
            model.set_attn_implementation(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own internals; none of it is for our user. Errors still raise."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
