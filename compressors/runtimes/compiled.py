"""Controls: the dense model by torch.compile, which is what a user of torch tries first."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.runtimes.controls import FAMILY, bf16_reason


def compiler_reason(hardware: Hardware) -> str | None:
    """Why torch.compile cannot make kernels there: on a CPU it writes C++, and builds it against Python."""
    if hardware.device != "cpu":
        return None
    if hardware.held_to:
        return f"torch.compile builds for the processor that is there: it cannot be held to {hardware.held_to}"
    named = os.environ.get("CXX", "")
    if not any(shutil.which(name) for name in (named, "g++", "clang++") if name):
        return "torch.compile needs a C++ compiler, and there is none: install g++"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "torch.compile needs Python.h: install the headers of this Python, as python3-dev"
    return None


@dataclass(frozen=True)
class TorchCompileFp32(Compressor):
    """The model compiled by Inductor, fp32. Its kernels are made at the first call of each shape, anew by everyone who
    loads it: time to the first answer is where that shows."""

    name: ClassVar[str] = "torch-compile-fp32"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return compiler_reason(hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(model, options={"compile": True})


@dataclass(frozen=True)
class TorchCompileBf16(TorchCompileFp32):
    """The same with weights and activations in bf16."""

    name: ClassVar[str] = "torch-compile-bf16"

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return bf16_reason(hardware) or super().supports(model, hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(surgery.cast(model, torch.bfloat16), options={"compile": True})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return surgery.cast(model, torch.bfloat16)
