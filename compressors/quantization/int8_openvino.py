"""Post-training int8 on OpenVINO: weights and activations, ranges from calibration data.

Source: NNCF's `nncf.quantize` in its Transformer mode (SmoothQuant, Xiao et al. 2023, then min-max
ranges and fast bias correction).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compressors.interface import Compressed, Compressor, Context, Effect, Examples, Hardware, ModelSpec
from compressors.runtimes.cached_graph import has_cache, whole_texts
from compressors.runtimes.controls import OpenvinoFp32
from compressors.runtimes.export import quiet


@dataclass(frozen=True)
class Int8Openvino(Compressor):
    """samples: calibration examples used, at most. float_precision: what the parts that stay float
    are computed in, "bf16", "fp32", or "auto" for bf16 where the CPU has it."""

    name: ClassVar[str] = "int8-openvino"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino", "nncf": "nncf"}

    takes: ClassVar[str] = "openvino"
    makes: ClassVar[str] = "openvino"

    samples: int = 128
    float_precision: str = "auto"

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, must be at least 1")
        if self.float_precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"float_precision is {self.float_precision!r}, must be auto, bf16 or fp32")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (OpenvinoFp32(), self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"

    def compress(self, model: Any, context: Context) -> Compressed:
        # NNCF and OpenVINO report usage over the network unless told not to.
        os.environ["NNCF_DISABLE_TELEMETRY"] = os.environ["OPENVINO_TELEMETRY_DISABLE"] = "1"
        import nncf

        calibration = context.require_calibration()[: self.samples]

        def arrays(example: Examples) -> dict[str, np.ndarray]:
            given = {name: values.numpy() for name, values in example.inputs.items()}
            return whole_texts(given) if has_cache(model) else given

        data = nncf.Dataset(list(calibration.batches(1)), arrays)
        with quiet():
            quantized = nncf.quantize(
                model,
                data,
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration),
            )
        native = bool(context.hardware.features & {"bf16", "amx"})
        precision = {"auto": "bf16" if native else "fp32"}.get(self.float_precision, self.float_precision)
        return Compressed(quantized, runtime="openvino", options={"precision": precision})
