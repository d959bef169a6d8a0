"""optimum-quanto, on the CPU: `quantize` and `freeze`, and the layers' own `state_dict`, which it documents as what to
save."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size (None: what it takes by itself)."""
    # Its C++ that takes codes apart wants a compiler, and a minute; without it, it does so in torch.
    sys.modules["optimum.quanto.library.extensions.cpp"] = ModuleType("cpp")
    from optimum.quanto import freeze, quantize

    model = job.dense()
    with job.clock():
        quantize(model, weights=f"qint{job.options['bits']}", include=job.layers)
        layers = {name: model.get_submodule(name) for name in job.layers}
        if job.options["group_size"]:
            for layer in layers.values():
                layer.weight_group_size = job.options["group_size"]
        freeze(model)
    job.save({f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()})
    return {name: layer.weight.dequantize() for name, layer in layers.items()}
