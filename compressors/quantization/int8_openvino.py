"""Post-training int8 on OpenVINO: weights and activations, ranges from calibration data.

Source: NNCF's `nncf.quantize` in its Transformer mode (SmoothQuant, Xiao et al. 2023, then min-max
ranges and fast bias correction).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compressors.interface import Compressed, Compressor, Context, Effect, Examples, Hardware, ModelSpec
from compressors.runtimes.cached_graph import has_cache, whole_texts
from compressors.runtimes.controls import OpenvinoFp32
from compressors.runtimes.program import quiet

PRECISIONS = ("auto", "bf16", "fp32")


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
        if self.float_precision not in PRECISIONS:
            raise ValueError(f"float_precision is {self.float_precision!r}, must be one of {', '.join(PRECISIONS)}")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (OpenvinoFp32(), self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"

    def compress(self, model: Any, context: Context) -> Compressed:
        silence_telemetry()
        import nncf

        calibration = context.require_calibration()[: self.samples]

        def quantized_on(examples: list[Examples]) -> Any:
            with quiet():
                return nncf.quantize(
                    model,
                    nncf.Dataset(examples, arrays_for(model)),
                    model_type=nncf.ModelType.TRANSFORMER,
                    preset=nncf.QuantizationPreset.MIXED,
                    subset_size=len(examples),
                )

        quantized = quantized_on(list(calibration.batches(1)))
        # Padding beyond a sliding window attends to nothing, which is NaN; NNCF makes a range of no width of it, and
        # the model would answer 0 to everything.
        if _has_empty_ranges(quantized):
            quantized = quantized_on([without_padding(example) for example in calibration.batches(1)])
        precision = precision_for(self.float_precision, context.hardware)
        return Compressed(quantized, runtime="openvino", options={"precision": precision})


def silence_telemetry() -> None:
    """To be called before NNCF is imported: it and OpenVINO report usage over the network unless told not to."""
    os.environ["NNCF_DISABLE_TELEMETRY"] = os.environ["OPENVINO_TELEMETRY_DISABLE"] = "1"


def arrays_for(graph: Any) -> Callable[[Examples], dict[str, np.ndarray]]:
    """What makes the inputs of a graph of some examples, as NNCF asks for it."""
    cached = has_cache(graph)

    def arrays(examples: Examples) -> dict[str, np.ndarray]:
        given = {name: values.numpy() for name, values in examples.inputs.items()}
        return whole_texts(given) if cached else given

    return arrays


def precision_for(wanted: str, hardware: Hardware) -> str:
    """What the parts that stay float are computed in, `wanted` being one of PRECISIONS."""
    native = bool(hardware.features & {"bf16", "amx"})
    return {"auto": "bf16" if native else "fp32"}.get(wanted, wanted)


def _has_empty_ranges(graph: Any) -> bool:
    """Whether a quantizer takes all values for one."""
    for node in graph.get_ops():
        if node.get_type_name() == "FakeQuantize":
            low, high = (node.input_value(i).get_node() for i in (1, 2))
            if {low.get_type_name(), high.get_type_name()} == {"Constant"} and (
                low.get_data() >= high.get_data()
            ).all():
                return True
    return False


def without_padding(example: Examples) -> Examples:
    """One example, its text no longer than it is; as it is where its padding is not on the right. What lies beyond a
    sliding window attends to nothing, which is NaN."""
    mask = example.inputs.get("attention_mask")
    if mask is None or not bool((mask.diff(dim=1) <= 0).all()):
        return example
    length = max(1, int(mask.sum()))
    same = {name for name, values in example.inputs.items() if values.shape == mask.shape and "decoder" not in name}
    return Examples({name: v[:, :length] if name in same else v for name, v in example.inputs.items()})
