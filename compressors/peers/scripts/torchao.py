"""torchao's weight-only quantization by `quantize_`, on the CPU, saved as safetensors in its own flattened form."""

from __future__ import annotations

from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size (None: all columns of a row), symmetric."""
    import torch
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, MappingType, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup, PerRow

    bits, size = job.options["bits"], job.options["group_size"]
    config: Any
    if bits == 8:
        config = Int8WeightOnlyConfig(granularity=PerGroup(size) if size else PerRow(), set_inductor_config=False)
    else:
        config = IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(size) if size else PerAxis(0),
            mapping_type=MappingType.SYMMETRIC if job.options["symmetric"] else MappingType.ASYMMETRIC,
        )  # fmt: skip
    model, chosen = job.dense(), set(job.layers)
    with job.clock():
        quantize_(model, config, filter_fn=lambda module, name: name in chosen)
    weights = {name: model.get_submodule(name).weight.detach() for name in job.layers}
    job.save(*flatten_tensor_state_dict({f"{name}.weight": weight for name, weight in weights.items()}))
    return {name: weight.dequantize() for name, weight in weights.items()}
