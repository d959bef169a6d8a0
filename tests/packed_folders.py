"""Folders of packed weights, as the library compressed-tensors writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers


def compressed_tensors(dense: Path, folder: Path, *, bits: int = 4, size: int = 32, left: Sequence[str] = ()) -> Path:
    """`dense` rounded to nearest, its linear layers but those `left` out, in so many bits and groups of that size."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        QuantizationStatus,
        apply_quantization_config,
    )
    from compressed_tensors.quantization.utils import calculate_qparams

    config = transformers.AutoConfig.from_pretrained(dense)
    cls: Any = getattr(transformers, config.architectures[0])
    model = cls.from_pretrained(dense, local_files_only=True).eval()
    weights = QuantizationArgs(num_bits=bits, type="int", symmetric=True, strategy="group", group_size=size)
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}
    apply_quantization_config(
        model, QuantizationConfig(config_groups=groups, ignore=list(left), format="pack-quantized")
    )
    for layer in (one for one in model.modules() if hasattr(one, "weight_scale")):
        grouped = layer.weight.detach().unflatten(1, (-1, size))
        layer.weight_scale.data = calculate_qparams(grouped.amin(2), grouped.amax(2), weights)[0]
        layer.quantization_status = QuantizationStatus.FROZEN
    made = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    made.compress_model(model)
    model.save_pretrained(folder)
    made.update_config(folder)
    return folder
