"""Controls: the dense model on another runtime or precision, listed beside the methods so that a
reader sees what the runtime alone gives. They compress nothing and are judged by nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.runtimes import ctranslate2_writing, gguf_writing
from compressors.runtimes.export import ONNX, to_onnx, to_openvino

FAMILY = "control"


def bf16_reason(hardware: Hardware) -> str | None:
    """Why bf16 would only be emulated there, None where it is native."""
    if hardware.features & {"bf16", "amx", "sm80", "sm86", "sm89", "sm90", "sm100", "sm120"}:
        return None
    return f"{hardware.hardware_class} does not compute bf16 natively"


def _cpu_reason(hardware: Hardware) -> str | None:
    return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"


@dataclass(frozen=True)
class Dense(Compressor):
    """The dense model itself, in torch fp32: what every case is judged against. It has no steps, its
    artifact is the one the suite prepared."""

    name: ClassVar[str] = "dense"
    family: ClassVar[str] = "dense"
    effect: ClassVar[Effect] = "simulated"

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return ()

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(model)


@dataclass(frozen=True)
class TorchBf16(Compressor):
    """Weights and activations in bf16, eager torch."""

    name: ClassVar[str] = "torch-bf16"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return bf16_reason(hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(surgery.cast(model, torch.bfloat16))

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return surgery.cast(model, torch.bfloat16)


@dataclass(frozen=True)
class OnnxRuntimeFp32(Compressor):
    """The exported graph in fp32 on ONNX Runtime."""

    name: ClassVar[str] = "onnxruntime-fp32"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = ONNX
    makes: ClassVar[str] = "onnxruntime"

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return _cpu_reason(hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(to_onnx(model, context.model), runtime="onnxruntime")


@dataclass(frozen=True)
class OpenvinoFp32(Compressor):
    """The exported graph in fp32 on OpenVINO."""

    name: ClassVar[str] = "openvino-fp32"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino"}
    makes: ClassVar[str] = "openvino"

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return _cpu_reason(hardware)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(to_openvino(model, context.model), runtime="openvino", options={"precision": "fp32"})


@dataclass(frozen=True)
class OpenvinoBf16(Compressor):
    """The same graph computed in bf16 by OpenVINO; its file is in fp32."""

    name: ClassVar[str] = "openvino-bf16"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino"}
    takes: ClassVar[str] = "openvino"
    makes: ClassVar[str] = "openvino"

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (OpenvinoFp32(), self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return _cpu_reason(hardware) or bf16_reason(hardware)

    def compress(self, model: Any, context: Context) -> Compressed:
        return Compressed(model, runtime="openvino", options={"precision": "bf16"})


@dataclass(frozen=True)
class LlamaCppFp16(Compressor):
    """The model as a GGUF file of fp16 on llama.cpp: what many would run a language model with."""

    name: ClassVar[str] = "llamacpp-fp16"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"llama_cpp": "llama-cpp-python"}
    makes: ClassVar[str] = "llamacpp"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return _cpu_reason(hardware) or gguf_writing.reason(model)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        return Compressed(gguf_writing.Written.of(model, context.model, "f16"), runtime="llamacpp")


@dataclass(frozen=True)
class CTranslate2Fp32(Compressor):
    """An encoder with a decoder as CTranslate2's own converter writes it, in fp32 on CTranslate2: what many would run a
    translation model with."""

    name: ClassVar[str] = "ctranslate2-fp32"
    family: ClassVar[str] = FAMILY
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = {"ctranslate2": "ctranslate2"}
    makes: ClassVar[str] = "ctranslate2"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return _cpu_reason(hardware) or ctranslate2_writing.reason(model)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        made = ctranslate2_writing.Converted.of(model, context.model, "float32")
        return Compressed(made, runtime="ctranslate2", options={"compute_type": "float32"})
