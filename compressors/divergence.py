"""How far the answers of two models are apart, and how much each output of a layer has to say in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors import surgery
from compressors.interface import Context, Examples
from compressors.training import autocast, real_positions, scored_positions, soft_targets


@torch.no_grad()
def divergence(model: nn.Module, dense: nn.Module, context: Context, *, batch_size: int = 8) -> float:
    """Of `model` from `dense` on the calibration data: KL(dense ‖ model) in nats, mean over the answers that are
    scored; of hidden states the squared distance over the square, padding left out. In fp32: what few bits move is
    less than what bf16 rounds away."""
    calibration, apart, size = context.require_calibration(), 0.0, 0.0
    hidden = context.model.output != "logits"
    for batch in calibration.batches(batch_size):
        found, wanted = _answers(model, batch, hidden), _answers(dense, batch, hidden)
        if hidden:
            apart += float((found - wanted).square().sum())
        else:
            apart += float(soft_targets(found, wanted, 1.0, exclusive=batch.exclusive) * len(found))
        size += float(wanted.square().sum()) if hidden else len(found)
    return apart / max(size, 1e-30)


@torch.enable_grad()
def fisher_of_outputs(
    model: nn.Module, layers: Sequence[str], context: Context, *, batch_size: int = 4
) -> dict[str, Tensor]:
    """Layer -> for each of its outputs the mean over the positions of the squared gradient of the log-probability of an
    answer that is drawn from the model's own, (outputs,) float32: the Fisher information. Of hidden states, of their
    product with random signs. No answer depends on padding: it has a gradient of zero."""
    calibration = context.require_calibration()
    hidden = context.model.output != "logits"
    generator = torch.Generator().manual_seed(context.seed)
    probes: list[tuple[str, Tensor]] = []

    def probe(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            nothing = torch.zeros_like(output).requires_grad_()  # asks for the gradient here, and for no weight's
            probes.append((name, nothing))
            return output + nothing

        return hook

    sums = dict.fromkeys(layers, torch.zeros(()))
    counts = dict.fromkeys(layers, 0)
    was = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    handles = [surgery.get(model, name).register_forward_hook(probe(name)) for name in layers]
    try:
        for done, batch in enumerate(calibration.batches(batch_size)):
            probes.clear()
            with autocast(context.hardware):
                answers = _answers(model, batch, hidden)
            if hidden:
                drawn = torch.randint(0, 2, answers.shape, generator=generator) * 2 - 1
                said = (answers * drawn).sum()
            else:
                if not batch.exclusive:  # each label is drawn on its own: that it is there, against that it is not
                    answers = torch.stack([answers, torch.zeros_like(answers)], -1).flatten(0, -2)
                said = -F.cross_entropy(answers, _drawn(answers.detach(), generator), reduction="sum")
            found = torch.autograd.grad(said, [nothing for _, nothing in probes], allow_unused=True)
            for (name, _), gradient in zip(probes, found, strict=True):
                if gradient is not None:
                    rows = gradient.float().flatten(0, -2)
                    sums[name], counts[name] = sums[name] + rows.square().sum(0), counts[name] + len(rows)
            context.progress("Fisher information", done + 1, -(-len(calibration) // batch_size))
    finally:
        for handle in handles:
            handle.remove()
        for parameter, requires in was.items():
            parameter.requires_grad_(requires)
    return {name: values / max(counts[name], 1) for name, values in sums.items()}


def _answers(model: nn.Module, batch: Examples, hidden: bool) -> Tensor:
    """Those that count, (answers, classes or width) float32."""
    if not hidden:
        logits: Tensor = model(**batch.inputs).logits
        return logits[scored_positions(batch)].float().flatten(0, -2)
    states: Tensor = model(**batch.inputs).last_hidden_state
    real = real_positions(batch, decoder=False)
    return (states[real] if real is not None and real.shape == states.shape[:-1] else states).float().flatten(0, -2)


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A class for each row, as likely as the row says, by the Gumbel trick: (answers,) int64."""
    noise = torch.rand(logits.shape, generator=generator).clamp_min(1e-20)
    return (logits - (-noise.log()).log()).argmax(-1)
