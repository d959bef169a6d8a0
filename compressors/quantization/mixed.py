"""Bits by layer: more of them where the answers suffer most, no more of them in all."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.block_by_block import Given, block_by_block
from compressors.calibration import in_turn
from compressors.divergence import divergence, fisher_of_outputs
from compressors.interface import Compressed, Context, PressbenchError
from compressors.knapsack import cheapest
from compressors.moments import second_moments
from compressors.quantization.gptq import feed_back
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed import PackedWeight
from compressors.quantization.rounded_weights import BlocksOnGrid

ROUNDINGS = ("nearest", "gptq")
DAMPING = 0.01
"""Of GPTQ, as it has it by default."""

ANSWERS = 4096
"""So many answers are asked what a layer costs: of a classifier all, of a language model one text in four of the
128, with 128 tokens each. What is kept is decided on all."""


@dataclass(frozen=True)
class QuantizeMixed(BlocksOnGrid):
    """Chooses the bits of each layer of the blocks so that the model's answers change least, within a budget of bytes.

    average_bits: the budget: all layers take together no more bytes than so many bits in each would, scales and zero
    points counted; between two of the choices, as much in between. choices: the bits that a layer may get, ascending,
    2 to 8. rounding: "nearest", or "gptq", which feeds errors back. The others are those of every rounding.

    What a layer costs at so many bits is how far its rounding moves the answers, in nats: to second order it is half of
    tr(G · dW · H · dWᵀ), H the second moments of the layer's inputs, G the diagonal of those of the gradient by its
    outputs, for answers drawn from the model's own (the Fisher information, Kronecker-factored: Martens and Grosse
    2015). The choice is then a knapsack, and solved exactly. Last the model is measured beside the one with the same
    bits everywhere, on the calibration data, and the better of them kept: the structure tells it.
    """

    name: ClassVar[str] = "quantize-mixed"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"4bit-g64": {}, "3bit-g64": {"average_bits": 3.0}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"average_bits": (6.0, 5.0, 4.0, 3.5, 3.0, 2.5)}

    average_bits: float = 4.0
    choices: tuple[int, ...] = (2, 3, 4, 5, 6, 8)
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        known = all(not isinstance(c, bool) and c in range(2, 9) for c in self.choices)
        if not known or len(self.choices) < 2 or sorted(set(self.choices)) != list(self.choices):
            raise ValueError(f"choices = {self.choices!r}: must be two or more whole numbers from 2 to 8, ascending")
        if not self.choices[0] <= self.average_bits <= self.choices[-1]:
            raise ValueError(
                f"average_bits = {self.average_bits!r}: must lie between the first and the last of `choices`, "
                f"{self.choices[0]} and {self.choices[-1]}"
            )
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"rounding = {self.rounding!r}: must be one of {', '.join(ROUNDINGS)}")
        super().__post_init__()

    @property
    def bits(self) -> int:
        """Of the model that it is measured against: the most of the choices that the budget has for every layer."""
        return max(bits for bits in self.choices if bits <= self.average_bits)

    @property
    def finds_by(self) -> Mapping[str, Any]:
        return {"grid": self.grid, "group_size": self.group_size, "choices": self.choices}

    def find(self, model: nn.Module, context: Context) -> dict[str, Tensor]:
        """Layer -> with each of the choices what it costs, in nats but for a factor, and its bytes: (2, choices)."""
        layers = surgery.block_linears(surgery.as_linears(model))
        calibration = context.require_calibration()
        each = 1 if calibration.labels is None or not calibration.exclusive else calibration.labels[:1].numel()
        context = dataclasses.replace(context, calibration=calibration[: -(-ANSWERS // each)])
        matters = fisher_of_outputs(model, layers, context)
        found: dict[str, Tensor] = {}
        for block, look in in_turn(model, context):
            own = [name for name in layers if name.startswith(f"{block}.")]
            for name, moments in second_moments(look, own).items():
                weight = surgery.get(model, name).weight.detach().float()
                packed = [nearest(self.grid_for(weight, bits), weight) for bits in self.choices]
                moved = [p.dequantize() - weight for p in packed]
                costs = [float((matters[name] @ (m @ moments * m)).sum(dtype=torch.float64)) / 2 for m in moved]
                if not np.isfinite(costs).all():
                    raise PressbenchError(f"{self.name}: what {name} is given by the calibration data is not finite")
                found[name] = torch.tensor([costs, [stored_bytes(p) for p in packed]], dtype=torch.float64)
        return found

    @torch.no_grad()
    def compress(self, model: nn.Module, context: Context) -> Compressed:
        layers = self.checked(model)
        found = self.findings(model, context)
        owners: dict[int, str] = {}  # layers that share a weight get the same bits, and are stored once
        owner = {name: owners.setdefault(surgery.get(model, name).weight.data_ptr(), name) for name in layers}
        facts = {name: found[name].clone() for name in owners.values()}
        for name in layers:
            if name not in facts:
                facts[owner[name]][0] += found[name][0]
        chosen = dict(zip(facts, self.choose(torch.stack(list(facts.values()))), strict=True))
        mixed, uniform = {name: chosen[owner[name]] for name in layers}, dict.fromkeys(layers, self.bits)
        dense = copy.deepcopy(model)
        tried: dict[str, tuple[float, dict[str, PackedWeight]]] = {}
        for label, bits in (("uniform", uniform), ("mixed", mixed)):
            model.load_state_dict(dense.state_dict())
            weights = self.rounded(model, bits, context)
            for name, weight in weights.items():
                surgery.get(model, name).weight.copy_(weight.dequantize())
            tried[label] = divergence(model, dense, context), weights
        kept = min(tried, key=lambda label: tried[label][0])
        apart = {label: float(f"{apart:.6g}") for label, (apart, _) in tried.items()}
        return self.stored(model, tried[kept][1], kept=kept, divergence=apart)

    def choose(self, facts: Tensor) -> list[int]:
        """The bits of each layer. facts: (layers, 2, choices), as `find` finds them."""
        costs, sizes = facts[:, 0].numpy(), facts[:, 1].numpy()
        steps = np.interp(self.average_bits, self.choices, np.arange(len(self.choices)))
        below, above = int(np.floor(steps)), int(np.ceil(steps))
        budget = (1 - steps % 1) * sizes[:, below].sum() + (steps % 1) * sizes[:, above].sum()
        return [self.choices[choice] for choice in cheapest(costs, sizes, budget)]

    def rounded(self, model: nn.Module, bits: Mapping[str, int], context: Context) -> dict[str, PackedWeight]:
        """These layers with these bits. The weights of `model` may be changed by it."""
        found: dict[str, PackedWeight] = {}
        if self.rounding == "nearest":
            for name in bits:
                weight = surgery.get(model, name).weight
                found[name] = nearest(self.grid_for(weight, bits[name]), weight)
            return found

        def change(names: Sequence[str], given: Given) -> None:
            for name in names:
                weight = surgery.get(model, name).weight
                grid = self.grid_for(weight, bits[name])
                laid, codes = feed_back(weight.float(), given.moments, grid, damping=DAMPING, act_order=True)
                found[name] = laid.packed(codes)
                weight.copy_(found[name].dequantize())

        block_by_block(model, context, list(bits), change, self.name)
        return {name: found[name] for name in bits}


def stored_bytes(weight: PackedWeight) -> int:
    """What a packed weight takes on disk: codes, scales, zero points."""
    return sum(values.numel() * values.element_size() for values in weight.buffers())
