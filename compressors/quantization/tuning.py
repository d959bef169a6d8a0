"""Tuning: codes are held, and what they are multiplied by learns to answer as the dense model.

After the second phase of EfficientQAT (Chen et al. 2024), which trains step sizes alone, end to end. Beside them norms,
biases and all that is not packed may move; the token embedding is held, as in every recovery.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from compressors.interface import Context
from compressors.quantization.packed import PackedWeight
from compressors.recovery import recover


def tune(model: nn.Module, context: Context, *, epochs: float, learning_rate: float, what: str) -> None:
    """Train the scales of the packed weights in `model`, in place, on the calibration data.

    epochs: as `recover` counts them; 0 leaves the model alone. learning_rate: its peak, relative to each scale.
    what: names the method where progress is shown.
    """
    if not epochs:
        return
    packed = [module for module in model.modules() if isinstance(module, PackedWeight)]
    for one in packed:
        one.tuning = nn.Parameter(torch.ones(one.scale.shape))
    try:
        known = dataclasses.replace(context, training=context.require_calibration())
        recover(model, known, epochs=epochs, learning_rate=learning_rate, what=what)
    finally:
        for one in packed:
            scales, one.tuning = one.scales().detach(), None
            one.rescale(scales)
