"""Weight-only quantization on OpenVINO: 8- or 4-bit weights that its CPU kernels read as they are stored.

Source: NNCF's `nncf.compress_weights`. At 4 bits each group's step is fitted to the layer's outputs on calibration
data (its scale estimation, after AWQ, Lin et al. 2023, has evened out the columns) rather than to the weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.quantization.codes_openvino import with_codes
from compressors.quantization.grid import on_grid
from compressors.quantization.int8_openvino import (
    PRECISIONS,
    arrays_for,
    precision_for,
    silence_telemetry,
    without_padding,
)
from compressors.runtimes.controls import OpenvinoFp32
from compressors.runtimes.program import quiet

GROUPS = (16, 32, 64, 128, 256)
ACTIVATION_GROUP = 32
"""Numbers of an activation that share a scale, where they are rounded to 8 bits."""


@dataclass(frozen=True)
class WeightOnlyOpenvino(Compressor):
    """bits: 8, step and offset for each row, or 4, for each group of columns; embeddings and the output layer have 8
    bits either way. null takes the 4- or 8-bit codes of the method before it in a chain, as in
    `quantize-gptq+weight-only-openvino:bits=null`, and leaves all else as it is; packed layers of other codes are then
    stored in fp32, and the recipe's structure tells which.

    group_size: columns that share them, at 4 bits; a layer of another width has the largest power of two that divides
    it, a layer where that is too small 8 bits. calibrated: fit the 4-bit steps to calibration data, `samples` examples
    at most. activations: 8, inputs of a product are rounded to 8 bits in groups of 32 as it is computed, or 16, they
    stay as they are. float_precision: as for int8-openvino."""

    name: ClassVar[str] = "weight-only-openvino"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    requires: ClassVar[Mapping[str, str]] = {"openvino": "openvino", "nncf": "nncf"}
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # of use where tokens are decoded: see Model.also
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"8bit": {"bits": 8}, "4bit-g64": {"bits": 4}}

    takes: ClassVar[str] = "openvino"
    makes: ClassVar[str] = "openvino"

    bits: int | None = 8
    group_size: int = 64
    calibrated: bool = True
    samples: int = 64
    activations: int = 8
    float_precision: str = "auto"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("bits", (4, 8, None)),
            ("group_size", GROUPS),
            ("activations", (8, 16)),
            ("float_precision", PRECISIONS),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} = {value!r}: must be one of {', '.join(map(str, allowed))}")
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}, must be at least 1")
        if self.bits is None:  # codes would not survive an export of their own
            object.__setattr__(self, "takes", "torch")

    @property
    def steps(self) -> tuple[Compressor, ...]:
        return (self,) if self.bits is None else (OpenvinoFp32(), self)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return None if hardware.device == "cpu" else f"runs on the CPU, not on {hardware.device}"

    def compress(self, model: Any, context: Context) -> Compressed:
        run: dict[str, Any] = {"precision": precision_for(self.float_precision, context.hardware)}
        if self.activations == 8:
            run["activation_group_size"] = ACTIVATION_GROUP
        if self.bits is None:
            graph, left = with_codes(model, context.model)
            return Compressed(graph, {"left": left}, runtime="openvino", options=run)
        return Compressed(self._rounded(model, context), runtime="openvino", options=run)

    def _rounded(self, model: Any, context: Context) -> Any:
        """The graph as NNCF compresses it."""
        silence_telemetry()
        import nncf

        if self.bits == 4:
            self._refuse_own_grid(model)
        options = self._options(model, context) if self.bits == 4 else {}
        with quiet():
            return nncf.compress_weights(
                model,
                mode=nncf.CompressWeightsMode.INT8_ASYM if self.bits == 8 else nncf.CompressWeightsMode.INT4_ASYM,
                **options,
            )

    def _options(self, graph: Any, context: Context) -> dict[str, Any]:
        """What NNCF is told of 4 bits."""
        import nncf
        from nncf.quantization.advanced_parameters import GroupSizeFallbackMode

        adjust = nncf.AdvancedCompressionParameters(group_size_fallback_mode=GroupSizeFallbackMode.ADJUST)
        options = {"ratio": 1.0, "group_size": self.group_size, "advanced_parameters": adjust}
        if not self.calibrated:
            return options
        calibration = context.require_calibration()[: self.samples]
        return options | {
            "dataset": nncf.Dataset([without_padding(e) for e in calibration.batches(1)], arrays_for(graph)),
            "subset_size": len(calibration),
            "awq": True,
            "scale_estimation": True,
        }

    def _refuse_own_grid(self, graph: Any) -> None:
        """Raises Unsupported where most weights are what they would be rounded to."""
        weights = [torch.from_numpy(node.get_data().copy()) for node in graph.get_ops() if _is_matrix(node)]
        total = sum(weight.numel() for weight in weights)
        there = sum(
            weight.numel()
            for weight in weights
            if not weight.shape[1] % self.group_size and on_grid(weight, 4, self.group_size, symmetric=False)
        )
        if 2 * there > total:
            raise Unsupported(
                f"{self.name}: {there / 1e6:.0f} of {total / 1e6:.0f} million weights lie on a 4-bit grid in groups of "
                f"{self.group_size} already, as it would store them: no loss would mean anything"
            )


def _is_matrix(node: Any) -> bool:
    """Whether it is the fp32 weights, (out, in), of a matrix product."""
    if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) != 2:
        return False
    users = (target.get_node() for target in node.output(0).get_target_inputs())
    return any(user.get_type_name() == "MatMul" and user.get_transpose_b() for user in users)
