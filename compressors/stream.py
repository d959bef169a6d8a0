"""The residual stream: what writes to it, the norms behind which it is read, and who reads there.

Here is how it is described, and how a norm is known for one; `stream_tracing.py` finds it in a model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

EPSILON = ("variance_epsilon", "eps", "epsilon")
"""Attributes of norms: what is added to the mean of squares."""


@dataclass(frozen=True)
class Norm:
    """A norm of the stream.

    centres: whether it takes the mean off first, as LayerNorm does. offset: what is added to its weight before it
    scales, 1 for Gemma's. readers: the linear layers that are given what it answers, and nothing else. use: who wants
    its answer: these alone (`read`); one that shares its weight with an embedding of the stream (`tied`); or anyone,
    as it was (`whole`), as where it is the model's answer.
    """

    name: str
    centres: bool
    offset: float
    readers: tuple[str, ...] = ()
    use: Literal["read", "tied", "whole"] = "read"


@dataclass(frozen=True)
class Stream:
    """width: numbers at each position. writers: the layers and the parameters that are summed up in it, by name."""

    width: int
    writers: tuple[str, ...]
    norms: tuple[Norm, ...]

    @property
    def centred(self) -> bool:
        """Whether a norm of it knows the mean from the rest."""
        return any(norm.centres for norm in self.norms)

    def to_json(self) -> dict[str, Any]:
        """For the structure in a recipe."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Stream:
        """What `to_json` wrote."""
        norms = tuple(Norm(**{**norm, "readers": tuple(norm["readers"])}) for norm in stored["norms"])
        return cls(stored["width"], tuple(stored["writers"]), norms)


def norm_of(name: str, module: nn.Module) -> Norm | None:
    """What kind of norm over the last axis a module is; None where it is none. Other classes than LayerNorm are asked,
    by weights and inputs of noise, as nearly every architecture has one of its own."""
    if isinstance(module, nn.LayerNorm):
        return Norm(name, True, 0.0) if len(module.normalized_shape) == 1 else None
    own = list(module.named_parameters())
    epsilon = next((found for at in EPSILON if isinstance(found := getattr(module, at, None), float)), None)
    if epsilon is None or [(n, p.ndim) for n, p in own] != [("weight", 1)] or list(module.children()):
        return None
    asked = copy.deepcopy(module).to_empty(device="cpu").float()
    weight = torch.rand(own[0][1].shape, generator=torch.Generator().manual_seed(0)) + 0.5
    rows = 2 * epsilon**0.5 * torch.randn(4, len(weight), generator=torch.Generator().manual_seed(1)) + epsilon**0.5
    with torch.no_grad():
        asked.weight.copy_(weight)  # type: ignore[operator,union-attr]
        try:
            answer = asked(rows)
        except Exception:  # what is no norm may want anything else
            return None
        for centres in (False, True):
            given = rows - rows.mean(1, keepdim=True) if centres else rows
            unit = given / (given.square().mean(1, keepdim=True) + epsilon).sqrt()
            for offset in (0.0, 1.0):
                wanted = (weight + offset) * unit
                if isinstance(answer, Tensor) and answer.shape == wanted.shape and torch.allclose(answer, wanted, 1e-4):
                    return Norm(name, centres, offset)
    return None
