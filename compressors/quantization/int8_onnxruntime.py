"""Dynamic int8 on ONNX Runtime: int8 weights, activations quantized as they come.

Source: `onnxruntime.quantization.quantize_dynamic`. Static int8 with its default settings was slower
than fp32 where we measured, so dynamic is what this method is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec
from compressors.quantization.saturation import saturates
from compressors.runtimes.controls import OnnxRuntimeFp32
from compressors.runtimes.export import ONNX
from compressors.runtimes.program import quiet


@dataclass(frozen=True)
class Int8OnnxRuntime(Compressor):
    """per_channel: one scale for each output channel, else one a tensor. reduce_range: 7-bit weights; None for them
    where the CPU has no VNNI, whose int8 products saturate with 8."""

    name: ClassVar[str] = "int8-onnxruntime"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    requires: ClassVar[Mapping[str, str]] = ONNX

    takes: ClassVar[str] = "onnxruntime"
    makes: ClassVar[str] = "onnxruntime"

    per_channel: bool = True
    reduce_range: bool | None = None

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (OnnxRuntimeFp32(), self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"

    def compress(self, model: Any, context: Context) -> Compressed:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # Stale shapes make the quantizer refuse the graph it has just rewritten.
        del model.graph.value_info[:]
        with tempfile.TemporaryDirectory() as folder, quiet():
            target = Path(folder) / "int8.onnx"
            quantize_dynamic(
                model,
                target,
                weight_type=QuantType.QInt8,
                per_channel=self.per_channel,
                reduce_range=saturates(context.hardware) if self.reduce_range is None else self.reduce_range,
            )
            return Compressed(onnx.load(str(target)), runtime="onnxruntime")
