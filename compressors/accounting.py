"""What became of every tensor of a file and of every weight of a model: loaded, or named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from compressors import surgery
from compressors.interface import ModelSpec, PressbenchError
from compressors.runtimes.program import example_inputs

BUFFERS = ("position_ids", "inv_freq", "masked_bias", "relative_position_index", "rotary_emb", "num_batches_tracked")
"""How tensors end that are computed anew, and were saved by older versions of transformers."""
OTHER_PARTS = frozenset(
    (
        "cls", "pooler", "lm_head", "classifier", "score", "qa_outputs", "pre_classifier", "classification_head",
        "seq_relationship", "predictions", "generator_predictions", "generator_lm_head", "discriminator_predictions",
        "mask_predictions", "lm_predictions", "vocab_transform", "vocab_layer_norm", "vocab_projector",
        "final_logits_bias", "sop_classifier", "multi_choice_head", "logits_proj", "qa_classifier", "projector",
        "decoder", "vision_model", "text_model", "visual_projection", "text_projection", "logit_scale", "mask_token",
    )
)  # fmt: skip
"""Names of heads and towers of transformers that a checkpoint has for another task than this."""


def account(model: nn.Module, told: Mapping[str, Any], said: str, spec: ModelSpec) -> None:
    """Raises PressbenchError where a tensor of the file belongs to a part of the model and was not taken, or a weight
    that the task needs was not found. told: what `from_pretrained` says of its loading. A part that the output does not
    depend on, such as a pooler beside hidden states, may be missing, and is noughts then, so that the model is the
    same each time."""
    name = type(model).__name__
    if shapes := sorted(str(key[0] if isinstance(key, tuple) else key) for key in told.get("mismatched_keys") or ()):
        raise PressbenchError(
            f"{said}: {len(shapes)} tensors of {name} are of another shape there, the first {shapes[0]}"
        )
    parts = {part for path, _ in model.named_parameters() for part in path.split(".") if not part.isdigit()}
    anew = {path for path, _ in model.named_buffers()}
    lost = sorted(
        key
        for key in map(str, told.get("unexpected_keys") or ())
        if _matters(key, parts) and not any(f".{path}".endswith(f".{key}") or key.endswith(f".{path}") for path in anew)
    )
    if lost:
        raise PressbenchError(
            f"{said}: {len(lost)} tensors of its weights are not taken by {name}, the first {lost[0]}: what they "
            "hold would be left out"
        )
    missing = sorted(map(str, told.get("missing_keys") or ()))
    if missing and _needed(model, missing, spec):
        raise PressbenchError(
            f"{said}: {len(missing)} tensors of {name} are not in its weights, the first {missing[0]}"
        )


def _matters(key: str, parts: set[str]) -> bool:
    """Whether a tensor may be of what the model computes: all are, save buffers that are made anew, and what stands
    under the name of another head or tower. An adapter, a prompt or a parametrization is under none of those names."""
    path = [part for part in key.split(".") if not part.isdigit()]
    if path[-1] in BUFFERS:
        return False
    stranger = next((part for part in path if part not in parts), None)
    return stranger is None or stranger not in OTHER_PARTS


def _needed(model: nn.Module, missing: list[str], spec: ModelSpec) -> bool:
    """Whether the output depends on weights: it does where it is another one with other values. They are left as
    noughts."""
    inputs = example_inputs(spec)
    found = []
    for value in (1.0, 0.0):
        with torch.no_grad():
            for key in missing:
                surgery.get(model, key).fill_(value)
            found.append(getattr(model.eval()(**inputs), spec.output))
    return not torch.equal(*found)
