"""HQQ by its authors' package, layer by layer on the CPU. Saved as the layers' own `state_dict`, which is made for
safetensors: `save_quantized` of the package is a pickle, and its `save_to_safetensors` refuses tied embeddings."""

from __future__ import annotations

from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size."""
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    model = job.dense()
    config = BaseQuantizeConfig(nbits=job.options["bits"], group_size=job.options["group_size"], axis=1)
    layers = {}
    with job.clock():
        for name in job.layers:
            layer = model.get_submodule(name)
            layers[name] = HQQLinear(layer, config, compute_dtype=torch.float16, device="cpu")
    job.save({f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()})
    return {name: layer.dequantize() for name, layer in layers.items()}
