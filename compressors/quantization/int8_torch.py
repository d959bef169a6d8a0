"""int8 in torch: 8-bit weights times 8-bit activations, by the CPU's own products.

Sources: Jacob et al. 2018 (integer arithmetic, ranges from data); Yao et al. 2022, ZeroQuant (a scale for each token);
Wu et al. 2020, "Integer quantization for deep learning inference" (a scale for each output, percentiles).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import watch_inputs
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.quantization.covered import covered_linears
from compressors.quantization.int8_kernels import DynamicInt8Linear, Int8x8Linear, StaticInt8Linear, missing
from compressors.quantization.packed_layers import repack_layers
from compressors.quantization.saturation import saturates
from compressors.quantization.tables import pack_tables, separate_tables


@dataclass(frozen=True)
class _Int8Torch(Compressor, abc.ABC):
    """reduce_range: weights of 7 bits, without which a CPU without VNNI saturates; None for where it has none.
    head: cover the linear layers outside of the Transformer layers too, such as the output layer of a language model.
    embeddings: store tables in 8 bits, a scale a row, decoded as they are looked up; one that shares its weights with a
    layer stays as it is. All else is computed in float32.
    """

    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "kernel"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    layer: ClassVar[Callable[..., Int8x8Linear]]

    reduce_range: bool | None = None
    head: bool = False
    embeddings: bool = True

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if hardware.device != "cpu":
            return f"its products run on the CPU, not on {hardware.device}"
        if self.reduce_range is False and saturates(hardware):
            return "reduce_range = False: weights of 8 bits saturate in the products of a CPU without VNNI"
        return missing() or surgery.structure_reason(model, surgery.layer_list)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        layers = covered_linears(model, self.name, head=self.head)
        ranges, steps = self.ranges(model, list(layers), context), self.largest_code(context.hardware)
        found: dict[str, Int8x8Linear] = {}
        for done, (name, layer) in enumerate(layers.items()):
            found[name] = self.rounded(layer, steps, ranges.get(name))
            context.progress("quantizing", done + 1, len(layers))
        return self.stored(model, found)

    def largest_code(self, hardware: Hardware) -> int:
        """Of a weight, on either side of zero."""
        narrow = saturates(hardware) if self.reduce_range is None else self.reduce_range
        return 63 if narrow else 127

    def rounded(self, layer: nn.Linear, steps: int, expected: tuple[float, float] | None) -> Int8x8Linear:
        """What takes the place of `layer`, its weights rounded to nearest. expected: as `ranges` tells it."""
        made = self._empty(layer)
        made.quantize(layer.weight.detach(), steps)
        if isinstance(made, StaticInt8Linear) and expected is not None:
            made.expect(*expected)
        return made

    def stored(self, model: nn.Module, found: Mapping[str, Int8x8Linear]) -> Compressed:
        """The model with these in the place of its layers."""
        tables = separate_tables(model) if self.embeddings else []
        for name, layer in found.items():
            surgery.replace(model, name, layer)
        return Compressed(model, {"layers": list(found), "tables": pack_tables(model, tables)})

    def ranges(self, model: nn.Module, names: list[str], context: Context) -> dict[str, tuple[float, float]]:
        """Layer -> the least and the largest value that is expected of what it is given; none where it shows."""
        return {}

    def _empty(self, layer: nn.Linear) -> Int8x8Linear:
        return self.layer(layer.out_features, layer.in_features, layer.bias)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        for name in structure["layers"]:
            surgery.replace(model, name, self._empty(surgery.get(model, name)))
        return repack_layers(model, structure["tables"])


@dataclass(frozen=True)
class Int8DynamicTorch(_Int8Torch):
    """8-bit weights, a scale for each output, times activations on a grid for each position, found as they come. Needs
    no data.

    reduce_range, head, embeddings: see _Int8Torch."""

    name: ClassVar[str] = "int8-dynamic-torch"
    layer: ClassVar[Callable[..., Int8x8Linear]] = DynamicInt8Linear


@dataclass(frozen=True)
class Int8StaticTorch(_Int8Torch):
    """8-bit weights, a scale for each output, times activations on a grid for each layer, found on calibration data and
    stored.

    percentile: of what a layer is given, in each batch of 16, so many per cent lie below the upper end and above the
    lower one; 100 for the least and the largest value. samples: calibration examples used, at most.
    reduce_range, head, embeddings: see _Int8Torch."""

    name: ClassVar[str] = "int8-static-torch"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    layer: ClassVar[Callable[..., Int8x8Linear]] = StaticInt8Linear

    percentile: float = 100.0
    samples: int = 128

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile = {self.percentile!r}: must be above 50 and at most 100, as 99.99")
        if self.samples < 1:
            raise ValueError(f"samples = {self.samples!r}: must be at least 1")

    def ranges(self, model: nn.Module, names: list[str], context: Context) -> dict[str, tuple[float, float]]:
        calibration = context.require_calibration()[: self.samples]
        if not len(calibration):
            raise PressbenchError(f"{self.name}: 0 calibration examples: needs at least one to know ranges by")
        found: dict[str, tuple[float, float]] = {}
        last: tuple[Tensor, tuple[float, float]] | None = None  # query, key and value are given one tensor

        def see(name: str, rows: Tensor) -> None:
            nonlocal last
            if not rows.numel():
                return
            if last is None or last[0] is not rows:
                last = rows, ends(rows, self.percentile)
            before = found.get(name, last[1])
            found[name] = min(before[0], last[1][0]), max(before[1], last[1][1])

        watch_inputs(model, names, dataclasses.replace(context, calibration=calibration), see)
        for name in names:
            if name not in found:
                raise PressbenchError(f"{self.name}: the calibration data never reaches {name}: it has no range")
        return found


def ends(values: Tensor, percentile: float) -> tuple[float, float]:
    """The least and the largest of `values`, once (100 - percentile) % of them are cut off on either side. Raises
    PressbenchError for what is not finite."""
    flat = values.flatten()
    cut = int(len(flat) * (100 - percentile) / 100)
    low, high = (flat.kthvalue(1 + cut).values, flat.kthvalue(len(flat) - cut).values) if cut else flat.aminmax()
    if not bool(flat.isfinite().all()):
        raise PressbenchError("what a layer is given on the calibration data is not finite: it has no range")
    return float(low), float(high)
