"""Adapters that train in the place of the weights, and become part of them.

Source: LoRA (Hu et al. 2021), by the library PEFT. A layer answers W x + 2 B A x; A (rank, inputs) and B (outputs,
rank) alone are trained, and W + 2 B A is what is kept. The model is then what it was in shape: they cost nothing.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery

NAME = "recovery"


@contextlib.contextmanager
def adapted(model: nn.Module, rank: int, *, keep_zeros: bool = False) -> Iterator[list[nn.Parameter]]:
    """Within it every linear layer of the blocks has an adapter, whose parameters it gives, and nothing else requires a
    gradient; behind it the adapters are part of the weights, or gone where there was an exception.

    keep_zeros: what is zero in a weight stays so: the adapter changes the others alone. Its product is then made of the
    whole weight, as without an adapter; without, it is two thin products beside the layer's own.
    Raises UnknownStructure where there is no linear layer."""
    import peft

    layers = adaptable(model)
    # A list of names and not a pattern: PEFT also takes what ends like one of them, which no other layer does.
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=layers, bias="none")
    if keep_zeros:
        kept = _zero_keeping()
        config._register_custom_module({type(surgery.get(model, name)): kept for name in layers})
    was = {parameter: parameter.requires_grad for parameter in model.parameters()}
    with warnings.catch_warnings():  # of the order of axes in GPT-2's layers, which PEFT then sees to
        warnings.simplefilter("ignore")
        beside = peft.LoraModel(model, config, NAME)
    model.eval()
    done = False
    try:
        yield [p for p in model.parameters() if p.requires_grad]
        done = True
    finally:
        beside.merge_and_unload() if done else beside.unload()
        vars(model).pop("peft_config", None)
        for parameter, required in was.items():
            parameter.requires_grad_(required)


def adaptable(model: nn.Module) -> list[str]:
    """The linear layers of the blocks, by name. Raises UnknownStructure where there is none."""
    stacks = surgery.layer_lists(model)
    found = [f"{s}.{n}" for s in stacks for n, m in surgery.get(model, s).named_modules() if surgery.is_linear(m)]
    if not found:
        raise surgery.UnknownStructure(f"no linear layer in the blocks of {type(model).__name__} to adapt")
    return found


def _zero_keeping() -> type[nn.Module]:
    """PEFT's layer, whose zeros stay. Made where it is asked for: importing PEFT takes seconds."""
    from peft.tuners.lora import layer

    class ZeroKeeping(layer.Linear):
        """Answers with the one matrix that it will be once merged."""

        def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any, **more: Any) -> None:
            super().__init__(base_layer, adapter_name, config, **more)
            self.fan_in_fan_out = not isinstance(base_layer, nn.Linear)  # GPT-2's, which hold (inputs, outputs)

        def get_delta_weight(self, adapter: str) -> Tensor:
            return super().get_delta_weight(adapter) * (self.get_base_layer().weight != 0)

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            base: Any = self.get_base_layer()
            weight = base.weight + self.get_delta_weight(NAME)
            return F.linear(x, weight.T if self.fan_in_fan_out else weight, base.bias)

    return ZeroKeeping
