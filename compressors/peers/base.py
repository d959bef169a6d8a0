"""What the compressors that are other people's have in common."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.peers import environment
from compressors.peers.formats import same_values
from compressors.peers.handover import Files, handed_over
from compressors.peers.scripts import run as runner
from compressors.quantization.packed import PackedWeight
from compressors.quantization.packed_layers import pack_layers, repack_layers

ANSWERS_APART = 0.01
"""How far the dense model's answers may lie apart in two versions of transformers, in their standard deviation."""


class Peer(Compressor):
    """Another's quantizer: `script` quantizes in the peer's environment, `read` decodes what it saved.

    Covers the linear layers of the Transformer blocks. What was read must be what the peer itself decodes, to the
    rounding of fp16; the values are stored as packed codes and run as our own are. In the record's recipe, under
    `told`: the peer with its version, the seconds that its quantization took, and the bytes of what it saved of these
    layers, biases left out.
    """

    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # each needs an environment that has to be asked for
    pins: ClassVar[Mapping[str, str]]
    """Package -> version, of what is installed in its environment; the peer itself first."""
    script: ClassVar[ModuleType]
    """The module of `compressors.peers.scripts` that runs there."""
    seconds: ClassVar[float] = 3600.0
    """The longest that it may take."""

    @property
    @abc.abstractmethod
    def options(self) -> Mapping[str, Any]:
        """What the script is told."""

    @property
    @abc.abstractmethod
    def block(self) -> int:
        """Columns that share a scale; each layer's must be a multiple."""

    @abc.abstractmethod
    def read(self, files: Files, layer: str, rows: int, columns: int) -> PackedWeight:
        """The weight of one layer from what the peer saved."""

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self._check) or environment.missing(self.name, self.pins)

    def _check(self, model: nn.Module) -> None:
        if self._calibrated and not surgery.predicts_tokens(model):
            raise PressbenchError("quantizes models that predict tokens")
        self._layers(model)

    @property
    def _calibrated(self) -> bool:
        return "calibration" in self.needs

    def _layers(self, model: nn.Module) -> list[str]:
        names = surgery.block_linears(model)
        if not names:
            raise PressbenchError(f"{type(model).__name__} has no linear layer of torch's own in its blocks")
        for name in names:
            columns = surgery.get(model, name).in_features
            if columns % self.block:
                raise PressbenchError(f"{self.block} columns share a scale: does not divide the {columns} of {name}")
        return names

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        names = self._layers(model)
        python, script = environment.python_of(self.name), str(self.script.__file__)
        with handed_over(self.name, python, script, model, context, names, self.options, self.seconds) as back:
            if self._calibrated:
                self._check_answer(model, context, back.values)

            def read(name: str, weight: Any) -> PackedWeight:
                packed = self.read(back.saved, name, *weight.shape)
                same_values(self.name, name, packed, back.values[name])
                return packed

            structure = pack_layers(model, names, read)
            peer, version = next(iter(self.pins.items()))
            size = sum(map(back.saved.bytes_of, names))
            told = {"peer": f"{peer} {version}", "seconds": round(back.seconds, 3), "bytes": size}
        return Compressed(model, structure, told=told)

    def _check_answer(self, model: nn.Module, context: Context, values: Files) -> None:
        """Raises PressbenchError where the peer calibrated another model than the one it was given: another version of
        transformers may read a configuration differently."""
        first = context.require_calibration()[:1].inputs
        length = int(first["attention_mask"].sum()) if "attention_mask" in first else first["input_ids"].shape[1]
        with torch.inference_mode():
            ours = model(**{name: given[:, :length] for name, given in first.items()}).logits.float()
        theirs = values[runner.ANSWER]
        apart = float((ours - theirs).abs().max() / ours.std()) if ours.shape == theirs.shape else float("inf")
        if not apart <= ANSWERS_APART:
            raise PressbenchError(
                f"{self.name}: the dense model answers otherwise in the peer's environment (by {apart:.2g} standard "
                "deviations): its transformers reads another model from the same files"
            )

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return repack_layers(model, structure)
