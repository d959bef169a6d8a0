"""A model of transformers built from its configuration, without the weights that will be put into it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from compressors.interface import PressbenchError


def skeleton(config: Mapping[str, Any], *, device: str = "cpu", empty: bool = False) -> nn.Module:
    """The transformers model that `config` describes, in eval mode: with random weights to train from, or `empty`,
    with parameters that take no memory and no time until they are loaded, by `load_state_dict(…, assign=True)`.

    The class is `config["architectures"][0]` and must be one of transformers' own: no code is taken
    from anywhere else. On device "meta" no memory is used.
    """
    import transformers

    name = str((config.get("architectures") or ["?"])[0])
    cls = getattr(transformers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise PressbenchError(f"config: {name!r} is not a model class of transformers {transformers.__version__}")
    settings = dict(config)
    parsed = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device(device), _weightless() if empty else contextlib.nullcontext(), NoFilling():
        return cls(parsed).eval()


_FILL = {"uniform_", "normal_", "constant_", "kaiming_uniform_", "kaiming_normal_", "zero_", "fill_"}
"""By name: transformers puts functions of its own in the place of torch's while it builds a model."""


class NoFilling(TorchFunctionMode):
    """Within it nothing is written to tensors without memory, which torch does in Python, slower than to those that
    have some: half the time of building a small model. For this thread, and nothing of torch is replaced."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILL and (filled := args[0] if args else kwargs["tensor"]).is_meta:
            return filled
        return func(*args, **kwargs)


@contextlib.contextmanager
def _weightless() -> Iterator[None]:
    """Within it modules are built with parameters that take no memory, but with real buffers (which
    transformers fills in the constructor and does not save). Otherwise loading would hold every
    weight twice, once at random."""
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        original(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    nn.Module.register_parameter = register  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]
