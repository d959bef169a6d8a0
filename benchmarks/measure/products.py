"""The operations of linear layers that torch computes in a stage: the least that the stage had to do.

Two operations for each multiplication and addition, of the pass forward, and of the pass back for the gradient of the
input and for that of the weight, where each is asked for. Nothing else is counted: not attention's own products,
convolutions or embeddings, not what a method multiplies outside of a layer. So the time that these operations take
at the machine's ceiling is a lower bound of the stage's.
Costs some microseconds a module and call; not for what is timed.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook


class Did(Protocol):
    """Takes operations by the type of their operands, as `float32` or `bfloat16`."""

    def __call__(self, operations: Mapping[str, int]) -> None: ...


def nowhere(operations: Mapping[str, int]) -> None:
    """Nobody asked."""


@contextlib.contextmanager
def counted(did: Did) -> Iterator[None]:
    """Tell `did` what linear layers of this process compute meanwhile; also where it ends in an error."""
    operations: Counter[str] = Counter()

    def seen(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
        # A tensor of another class is none: an exporter passes such through the model, with sizes that are symbols.
        if type(output) is not Tensor or torch.jit.is_tracing() or next(module.children(), None) is not None:
            return
        width = getattr(module, "in_features", getattr(module, "nx", None))  # nx: GPT-2's Conv1D
        if not isinstance(width, int):
            return
        name, count = str(output.dtype).removeprefix("torch."), 2 * output.numel() * width
        operations[name] += count
        if output.requires_grad:
            asked = [*inputs[:1], getattr(module, "weight", None)]
            back = count * sum(isinstance(one, Tensor) and one.requires_grad for one in asked)

            def returned(gradient: Tensor) -> None:
                operations[name] += back

            output.register_hook(returned)

    hook = register_module_forward_hook(seen)
    try:
        yield
    finally:
        hook.remove()
        did(dict(operations))
