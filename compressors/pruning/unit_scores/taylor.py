"""First-order importance of heads and neurons: what the loss would change by without them.

Sources: Michel et al. 2019 (NeurIPS) for the importance of heads; Molchanov et al. 2017 (ICLR) and 2019
(CVPR) for first-order Taylor importance of neurons. Both are the same estimate: how much the loss would
change if the activation were zero, |sum of gradient times activation|.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.interface import Context, Examples, Unsupported
from compressors.pruning.importance import Importance, of_blocks
from compressors.training import arithmetic, real_positions, supervised

PROBES = 4
"""Draws of signs for each example of a model whose answers are its hidden states."""


def importance(model: nn.Module, context: Context, batch_size: int = 16) -> list[Importance]:
    """The Taylor importance of every head and neuron, block by block, on the calibration data.

    For each example, gradient times activation is summed over positions (and over a head's width)
    before the absolute value is taken, then averaged over the examples. The loss is the cross-entropy to
    the labels: against the dense model's own answers every gradient would be zero. Of a model whose answers are its
    hidden states it is their product with random signs: its change without a unit is on average (over the signs) as
    large as the distance that the states move, so that nothing but the dense states is needed.
    """
    calibration = context.require_calibration()
    hidden = context.model.output != "logits"
    if calibration.labels is None and not hidden:
        raise Unsupported("the calibration data has no labels: first-order importance needs a loss")
    generator = torch.Generator().manual_seed(context.seed)
    blocks = units.blocks(model)
    scores: dict[str, Tensor] = {}
    rows = 0

    def watch(name: str, parts: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        scores[name] = torch.zeros(parts)

        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            activation = args[0]  # (batch, positions, width)

            def collect(gradient: Tensor) -> None:
                change = gradient.float() * activation.detach().float()
                change = change.reshape(rows, -1, change.shape[-1]).sum(1)  # (batch, width); OPT flattens positions
                scores[name] += change.unflatten(1, (parts, -1)).sum(2).abs().sum(0).cpu()

            activation.register_hook(collect)

        return hook

    handles = []
    for block in blocks:
        watched = [(one.output, one.heads) for one in block.attentions]
        for name, parts in (*watched, (block.feed_forward.contract, block.feed_forward.neurons)):
            handles.append(surgery.get(model, name).register_forward_pre_hook(watch(name, parts)))
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            rows = len(batch)
            for _ in range(PROBES if hidden else 1):
                with arithmetic(context.hardware):
                    loss = _probed(model, batch, generator) if hidden else supervised(model, batch) * len(batch)
                loss.backward()
            context.progress("importance", done + 1, -(-len(calibration) // batch_size))
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    count = len(calibration) * (PROBES if hidden else 1)
    return of_blocks(model, {name: summed / count for name, summed in scores.items()})


def _probed(model: nn.Module, batch: Examples, generator: torch.Generator) -> Tensor:
    """The hidden states times random signs, summed; padding left out."""
    states = model(**batch.inputs).last_hidden_state
    signs = torch.randint(0, 2, states.shape, generator=generator).to(states) * 2 - 1
    real = real_positions(batch, decoder=False)
    if real is not None and real.shape == states.shape[:-1]:
        signs = signs * real[..., None]
    return (states * signs).float().sum()
