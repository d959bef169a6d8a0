"""What a fusion is made of: compressed models, written as recipes, each made from the model that is given."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from compressors import recipe, registry
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError


@dataclass(frozen=True)
class Fusion(Compressor):
    """Makes its members, one after another; what it makes of them is a subclass's to say.

    members: their recipes, as --compressor takes them: `name`, `name:key=value,…`, a chain with `+`. Each takes a torch
    model and makes one. The same recipe may stand there several times: each has a seed of its own.
    """

    family: ClassVar[str] = "fusion"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members is empty: name the recipe of one model at least, for example prune-structured")
        # What it needs and what it may claim is known of each alone, as it is of what its recipes say.
        object.__setattr__(
            self, "requires", {m: p for part in self.parts for s in part.steps for m, p in s.requires.items()}
        )

    @property
    def recipes(self) -> Sequence[str]:
        """All that is made within."""
        return self.members

    @property
    def parts(self) -> tuple[Compressor, ...]:
        return tuple(map(torch_method, self.recipes))

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return next((r for part in self.parts if (r := registry.unsupported_reason(part, model, hardware))), None)


def torch_method(text: str) -> Compressor:
    """The compressor of a recipe. Raises ValueError for one that is unknown or does not make a torch model of one."""
    try:
        made = recipe.build(text)
        steps = made.steps
    except PressbenchError as error:
        raise ValueError(f"{text}: {error}") from None
    for step in steps:
        if (step.takes, step.makes) != ("torch", "torch"):
            raise ValueError(f"{text}: {step.name} makes a model of {step.makes}, a member must be one of torch")
        if step.family in ("dense", "control"):
            raise ValueError(f"{text}: {step.name} compresses nothing")
    return made


def make(member: Compressor, model: nn.Module, context: Context, number: int) -> Compressed:
    """What the member makes of a copy of `model`, with a seed of its own; its structures by step."""
    own = dataclasses.replace(context, seed=context.seed + number, found=None)
    result, structures = Compressed(copy.deepcopy(model)), []
    for step in member.steps:
        torch.manual_seed(own.seed)
        result = step.compress(result.model, own)
        structures.append(dict(result.structure))
    return Compressed(result.model.eval(), {"steps": structures}, options=result.options)


def restructure(member: Compressor, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
    """Repeat what `make` did to the structure."""
    for step, part in zip(member.steps, structure["steps"], strict=True):
        model = step.restructure(model, part)
    return model
