"""Fewer tokens on the way up: neighbours become one, so that every later layer has half the work (Funnel-Transformer,
Dai et al. 2020; merging as such: ToMe, Bolya et al. 2023; fewer of them upwards: PoWER-BERT, Goyal et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.recovery import Recovering
from compressors.training import autocast

TOLD_POSITIONS = ("rotary", "relative", "rel_embeddings", "alibi")
"""In the names of modules by which every layer is told where its tokens stand."""


def merged(states: Tensor, real: Tensor | None) -> Tensor:
    """The first token as it is, of the others each pair of neighbours as their mean, padding left out; of an odd number
    the last stays alone. states: (batch, tokens, width). real: (batch, tokens), 1 where a text is, or None: everywhere.
    """
    rest = states[:, 1:].transpose(1, 2)
    if real is None:
        halved = F.avg_pool1d(rest, 2, ceil_mode=True)
    else:
        weight = real[:, None, 1:].to(states)
        kept = F.avg_pool1d(weight, 2, ceil_mode=True)
        halved = F.avg_pool1d(rest * weight, 2, ceil_mode=True) / kept.clamp_min(0.25)  # 1/2 or 1 where any is real
    return torch.cat([states[:, :1], halved.transpose(1, 2)], 1)


def merged_mask(mask: Tensor | None) -> Tensor | None:
    """An attention mask for merged tokens: what looks at one of a pair looks at both. mask: (batch, 1, 1 or tokens,
    tokens), true or 0 where one may look, false or very negative elsewhere."""
    if mask is None:
        return None
    found = mask.float()
    for _ in range(2):
        if found.shape[-1] != 1:
            head, rest = found[..., :1], found[..., 1:]
            pooled = F.max_pool1d(rest.reshape(-1, 1, rest.shape[-1]), 2, ceil_mode=True)
            found = torch.cat([head, pooled.reshape(*rest.shape[:-1], -1)], -1)
        found = found.transpose(-1, -2)
    return found > 0.5 if mask.dtype == torch.bool else found.to(mask.dtype)


def _mask_of(args: tuple[Any, ...], more: dict[str, Any]) -> Tensor | None:
    mask = more.get("attention_mask", args[1] if len(args) > 1 else None)
    return mask if isinstance(mask, Tensor) and mask.dim() == 4 else None


def _merge_after(layer: nn.Module) -> None:
    def hook(_module: nn.Module, args: tuple[Any, ...], more: dict[str, Any], answer: Any) -> Any:
        mask, states = _mask_of(args, more), answer[0] if isinstance(answer, tuple) else answer
        real = None
        if mask is not None:
            row = mask[:, 0, 0]
            real = row if row.dtype == torch.bool else row == 0
        found = merged(states, real)
        return (found, *answer[1:]) if isinstance(answer, tuple) else found

    layer.register_forward_hook(hook, with_kwargs=True)


def _merge_mask_before(layer: nn.Module, times: int) -> None:
    def hook(_module: nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> tuple[Any, Any]:
        mask = _mask_of(args, more)
        for _ in range(times):
            mask = merged_mask(mask)
        if mask is not None and "attention_mask" in more:
            more = {**more, "attention_mask": mask}
        elif mask is not None:
            args = (args[0], mask, *args[2:])
        return args, more

    # Before any other hook: what merges after this layer weighs by the mask that the layer was given.
    layer.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)


@dataclass(frozen=True)
class PruneTokens(Recovering):
    """Merges neighbouring tokens in pairs on their way up, then recovers by distillation: the layers behind have half
    as many.

    after: layers, counted from 1, after which tokens are merged; again after a second one, and so on. For classifiers
    that read the first token. recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "prune-tokens"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"after-1": {"after": (1,)}}

    after: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if not self.after or list(self.after) != sorted(set(self.after)) or self.after[0] < 1:
            raise ValueError(f"after = {list(self.after)!r}: must be layers in ascending order, counted from 1")
        super().__post_init__()

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        if model.output != "logits":
            return "its answers are the states of all tokens: none can be merged"

        def check(skeleton: nn.Module) -> None:
            stacks = surgery.layer_lists(skeleton)
            layers = len(surgery.get(skeleton, stacks[0]))
            if len(stacks) > 1:
                raise surgery.UnknownStructure("it has a decoder, which reads every token")
            if surgery.predicts_tokens(skeleton):
                raise surgery.UnknownStructure("it predicts a token at every place: none can be merged")
            surgery.check_removable(skeleton)
            for name, _ in skeleton.named_modules():
                if found := next((word for word in TOLD_POSITIONS if word in name), None):
                    raise surgery.UnknownStructure(
                        f"its layers are told where tokens stand ({found}): none can be merged"
                    )
            if self.after[-1] >= layers:
                told = f"{layers} layer{'s' * (layers > 1)}"
                raise surgery.UnknownStructure(f"it has {told}: after {self.after[-1]} none is left to gain")

        return surgery.structure_reason(model, check)

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        _check_first_token_is_read(model, context)
        self._merge(model)
        self.recover(model, context)
        return Compressed(model)

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        self._merge(model)
        return model

    def _merge(self, model: nn.Module) -> None:
        for number, layer in enumerate(surgery.get(model, surgery.layer_list(model)), 1):
            if before := sum(after < number for after in self.after):
                _merge_mask_before(layer, before)
            if number in self.after:
                _merge_after(layer)


@torch.no_grad()
def _check_first_token_is_read(model: nn.Module, context: Context) -> None:
    """Raises Unsupported where the answer depends on what other tokens than the first have become."""
    last = surgery.get(model, surgery.layer_list(model))[-1]

    def blank(_module: nn.Module, _args: Any, answer: Any) -> Any:
        states = (answer[0] if isinstance(answer, tuple) else answer).clone()
        states[:, 1:] = 0
        return (states, *answer[1:]) if isinstance(answer, tuple) else states

    few = context.require_calibration()[:4]
    with autocast(context.hardware):
        whole = model(**few.inputs).logits
        handle = last.register_forward_hook(blank)
        try:
            first = model(**few.inputs).logits
        finally:
            handle.remove()
    if whole.shape != first.shape or not torch.allclose(whole, first, rtol=1e-3, atol=1e-3):
        raise Unsupported("prune-tokens: the answer is read from more than the first token: none can be merged")
