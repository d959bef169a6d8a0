"""A soup: several trainings of one cut, their weights averaged into one model.

Source: Model soups (Wortsman et al. 2022, ICML): models that were trained from one start with other seeds and learning
rates mostly lie in one basin, where their mean answers as well as their ensemble, at the price of one; the greedy soup
takes a model only where the mean is no worse with it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors.fusion.members import Fusion, make, restructure
from compressors.interface import Compressed, Context, Effect, Examples, Unsupported
from compressors.recovery import check_precise, imitation
from compressors.training import autocast

HELD_BACK = 0.1
"""The share of the training data that the members do not see and a greedy soup is tasted on."""
EFFECTS: tuple[Effect, ...] = ("simulated", "storage", "kernel")


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dictionaries of the same names and shapes, summed in float64; what is no floating-point number
    is the first's."""
    found: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            first = torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        found[name] = first
    return found


@dataclass(frozen=True)
class FuseSoup(Fusion):
    """Averages the weights of models of one shape, which differ in seed and, as their recipes say, in learning rate.

    members: their recipes; all must cut the same, so that their weights lie in the same places. greedy: begin with the
    best and take another only where the mean then imitates the dense model no worse on a tenth of the training data,
    which is held back from all; else the mean of all, trained on all the data.
    """

    name: ClassVar[str] = "fuse-soup"
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}, "uniform": {"greedy": False}}

    members: tuple[str, ...] = ("prune-structured", "prune-structured", "prune-structured:learning_rate=2e-4")
    greedy: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        weakest = min((step.effect for part in self.parts for step in part.steps[-1:]), key=EFFECTS.index)
        object.__setattr__(self, "effect", weakest)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        training = context.require_training()
        held = max(1, round(HELD_BACK * len(training))) if self.greedy else 0
        seen, tasted = training[: len(training) - held], training[len(training) - held :]
        made: list[Compressed] = []
        for number, part in enumerate(self.parts):
            made.append(make(part, model, replace(context, training=seen), number))
            self._check(made)
        states, soup = [one.model.state_dict() for one in made], copy.deepcopy(made[0].model)
        chosen = self._greedy(soup, states, tasted, context) if self.greedy else list(range(len(made)))
        found = mean([states[i] for i in chosen])
        self._check_mean(chosen, states, found)
        soup.load_state_dict(found)
        return Compressed(soup, made[0].structure, options=made[0].options, told={"averaged": chosen})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        return restructure(self.parts[0], model, structure)

    def _greedy(
        self, soup: nn.Module, states: Sequence[Mapping[str, Tensor]], held: Examples, context: Context
    ) -> list[int]:
        teacher = imitation(context.dense().eval())

        @torch.no_grad()
        def loss(chosen: list[int]) -> float:
            soup.load_state_dict(mean([states[i] for i in chosen]))
            with autocast(context.hardware):
                return sum(float(teacher(soup, batch)) * len(batch) for batch in held.batches(16))

        alone = [loss([number]) for number in range(len(states))]
        first, *others = sorted(range(len(states)), key=alone.__getitem__)
        chosen, least = [first], alone[first]
        for number in others:
            if (found := loss([*chosen, number])) <= least:
                chosen, least = [*chosen, number], found
        return sorted(chosen)

    def _check(self, made: Sequence[Compressed]) -> None:
        """Raises Unsupported where the last made is none to average with the first."""
        first, last = made[0], made[-1]
        check_precise(last.model, self.name)
        if any(hasattr(module, "logical_weights") for module in last.model.modules()):
            raise Unsupported(f"{self.name}: {self.members[len(made) - 1]} stores weights as codes, which have no mean")
        if (first.structure, _shapes(first.model)) != (last.structure, _shapes(last.model)):
            told = f"{self.members[0]} and {self.members[len(made) - 1]}"
            raise Unsupported(f"{self.name}: {told} did not cut the same, so their weights have no mean")

    def _check_mean(
        self, chosen: list[int], states: Sequence[Mapping[str, Tensor]], found: Mapping[str, Tensor]
    ) -> None:
        """Raises Unsupported where the shapes are the same and the mean is of no use: other units were kept, or the
        zeros lie elsewhere."""
        first = states[chosen[0]]
        for number in chosen[1:]:
            pairs = [(first[n], v) for n, v in states[number].items() if v.is_floating_point()]
            moved = [(one, other) for one, other in pairs if not torch.equal(one, other)]
            apart, size = (
                sum(float(v.square().sum()) for v in of) for of in ([a - b for a, b in moved], [a for a, _ in moved])
            )
            if apart > size:
                told = f"{self.members[number]} is farther from {self.members[chosen[0]]} than its weights are large"
                raise Unsupported(f"{self.name}: {told}: they did not cut the same, or learned too fast")
        for name, values in found.items():
            fewest = min(int((states[i][name] == 0).sum()) for i in chosen)
            if fewest > 0.1 * values.numel() and int((values == 0).sum()) < fewest:
                raise Unsupported(
                    f"{self.name}: the zeros of {name} lie elsewhere in each member: their mean has fewer"
                )


def _shapes(model: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (values.shape, values.dtype) for name, values in model.state_dict().items()}
