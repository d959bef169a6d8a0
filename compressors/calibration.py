"""The one loop over calibration data: what the layers of a model are given, padding left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Context
from compressors.training import autocast, real_positions

See = Callable[[str, Tensor], None]
"""Called with (the name of a layer, what it is given: (positions, width) float32)."""


@torch.no_grad()
def watch_inputs(model: nn.Module, layers: Sequence[str], context: Context, see: See, *, batch_size: int = 16) -> None:
    """Run the calibration examples through `model`, batch by batch, and hand `see` what each of `layers` is given.

    Padding is left out, of what the encoder reads in an encoder-decoder. Layers that are given one tensor, such as
    query, key and value, get the same object one after another: what is made of it need be made once.
    Raises PressbenchError where the compressor did not declare that it needs "calibration".
    """
    real: Tensor | None = None
    last: tuple[object, Tensor] | None = None  # what a layer was given, and the rows of it

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            nonlocal last
            if last is None or last[0] is not given[0]:
                rows = given[0].flatten(0, -2).float()
                if real is not None and len(rows) == real.numel():  # a decoder has other positions
                    rows = rows[real.flatten()]
                last = (given[0], rows)
            see(name, last[1])

        return hook

    batches = list(context.require_calibration().batches(batch_size))
    handles = [surgery.get(model, name).register_forward_pre_hook(watch(name)) for name in layers]
    try:
        for done, batch in enumerate(batches):
            last = None
            real = real_positions(batch, decoder=False)  # (examples, positions) bool, or None: nothing is padded
            with autocast(context.hardware):
                model(**batch.inputs)
            context.progress("activations", done + 1, len(batches))
    finally:
        for handle in handles:
            handle.remove()
