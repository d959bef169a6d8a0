"""Whole layers go: those that change their input least.

Source: ShortGPT (Men et al. 2024), whose Block Influence is one minus the cosine between a layer's input and its
output. The residual stream lets the others work without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec
from compressors.recovery import Recovering
from compressors.training import autocast, real_positions


@torch.no_grad()
def block_influence(model: nn.Module, context: Context, batch_size: int = 16, stack: str | None = None) -> Tensor:
    """One minus the cosine of each layer's input and output, mean over the calibration data's positions, padding left
    out: (layers,) float32, 0 for a layer that only scales. stack: the name of the list of layers, where there are
    two."""
    calibration = context.require_calibration()
    stack = stack or surgery.layer_list(model)
    decoder = stack != surgery.layer_list(model)
    layers = list(surgery.get(model, stack))
    sums, count = torch.zeros(len(layers)), 0
    kept: Tensor | None = None

    def watch(number: int) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], given: dict[str, Any], output: Any) -> None:
            before = args[0] if args else given["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            change = 1 - F.cosine_similarity(before.float(), after.float(), dim=-1)  # (batch, positions)
            whole = kept is None or kept.shape != change.shape
            sums[number] += float(change.sum() if whole else change[kept].sum())

        return hook

    handles = [layer.register_forward_hook(watch(i), with_kwargs=True) for i, layer in enumerate(layers)]
    batches = list(calibration.batches(batch_size))
    try:
        for done, batch in enumerate(batches):
            kept = real_positions(batch, decoder=decoder)
            count += len(batch) if kept is None else int(kept.sum())
            with autocast(context.hardware):
                model(**batch.inputs)
            context.progress("influence", done + 1, len(batches))
    finally:
        for handle in handles:
            handle.remove()
    return sums / count


@dataclass(frozen=True)
class PruneLayers(Recovering):
    """Removes the layers of least influence, then recovers by distillation.

    removed: share of the layers that go; one always stays. recovery_epochs: passes over the training data.
    learning_rate: its peak.
    """

    name: ClassVar[str] = "prune-layers"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"50": {"removed": 0.5}}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"20": {"removed": 0.2}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"removed": (0.2, 0.35, 0.5, 0.65)}

    removed: float = 0.2
    recovery_epochs: float = 0.5
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.removed < 1:
            raise ValueError(f"removed = {self.removed!r}: must lie between 0 and 1, both excluded")
        super().__post_init__()

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            surgery.check_removable(skeleton)
            chosen = [self._choose(skeleton, stack) for stack in surgery.layer_lists(skeleton)]
            have = [len(surgery.get(skeleton, stack)) for stack in surgery.layer_lists(skeleton)]
            if [len(kept) for kept in chosen] == have:
                told = " and ".join(f"{count} layer{'s' * (count > 1)}" for count in have)
                raise surgery.UnknownStructure(f"{self.removed:g} of its {told} is none: nothing would go")

        return surgery.structure_reason(model, check)

    def _choose(self, model: nn.Module, stack: str, influence: Tensor | None = None) -> list[int]:
        """The layers that stay, those of most influence and those that the others need."""
        layers, needed = len(surgery.get(model, stack)), surgery.needed_layers(model, stack)
        influence = torch.zeros(layers) if influence is None else influence.clone()
        influence[list(needed)] = torch.inf
        count = max(1, len(needed), layers - round(self.removed * layers))
        return [int(i) for i in influence.sort(descending=True, stable=True).indices[:count].sort().values]

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        stacks = surgery.layer_lists(model)
        influence = [block_influence(model, context, stack=stack) for stack in stacks]
        chosen = [self._choose(model, stack, found) for stack, found in zip(stacks, influence, strict=True)]
        surgery.keep_layers(model, *chosen)
        self.recover(model, context)
        return Compressed(model, dict(zip(("layers", "decoder_layers"), chosen, strict=False)))

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.keep_layers(model, structure["layers"], structure.get("decoder_layers"))
        return model
