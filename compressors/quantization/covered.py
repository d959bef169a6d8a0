"""Which linear layers a method that computes in 8 bits covers, and that they can be covered."""

from __future__ import annotations

from torch import nn

from compressors import surgery
from compressors.interface import PressbenchError


def covered_linears(model: nn.Module, method: str, *, head: bool) -> dict[str, nn.Linear]:
    """The linear layers of the Transformer layers by name; head: and those outside of them. Changes transformers'
    Conv1D into linear layers. Raises PressbenchError where none are left, or a weight is not finite."""
    surgery.as_linears(model)
    try:
        blocks = set(surgery.block_linears(model))
    except surgery.UnknownStructure:  # the dense model has it, or `supports` had said so
        raise PressbenchError(f"{method}: the step before it left no linear layers to quantize") from None
    layers = {n: m for n, m in model.named_modules() if type(m) is nn.Linear and (head or n in blocks)}
    for name, layer in layers.items():
        if not bool(layer.weight.isfinite().all()):
            raise PressbenchError(f"{name}: a weight is not finite: the model was broken before it was quantized")
    return layers
