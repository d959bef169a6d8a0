"""The one training loop: fine-tuning the dense model, recovery after compression, distillation.

Plain and bounded: AdamW, linear warm-up then linear decay, gradient clipping, batches drawn by a seeded
permutation. Runs in bf16 autocast where the CPU computes bf16 natively, else in fp32; attention there is made of plain
products, see `compressors.plain_attention`: a MiniLM step of 16 × 128 tokens took 0.51 s with them and 0.66 s
with the fused kernel. Dropout is off: with it a step took 0.79 s where it took 0.61 without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.interface import NOT_SCORED, Examples, Hardware, PressbenchError, Progress, no_progress
from compressors.plain_attention import PlainAttention

Loss = Callable[[nn.Module, Examples], Tensor]
"""(model, batch) -> scalar loss. It runs the model itself, so that it may ask for hidden states."""


def autocast(hardware: Hardware) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast where the CPU has native bf16 (AVX512-BF16, AMX), else nothing. Training runs on the
    CPU, whatever hardware the result is for."""
    if hardware.features & {"bf16", "amx"}:
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def arithmetic(hardware: Hardware) -> Iterator[None]:
    """What a loss to be followed back is computed in: `autocast`, with attention made of plain products where that is
    faster."""
    with autocast(hardware), PlainAttention():
        yield


def supervised(model: nn.Module, batch: Examples) -> Tensor:
    """Cross-entropy against the labels, mean over what is scored; see `cross_entropy`."""
    assert batch.labels is not None
    return cross_entropy(model(**batch.inputs).logits, batch.labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """logits: (…, classes). labels: (…) int64, NOT_SCORED left out.

    Of labels that do not exclude each other, (examples, labels) float32 as `Examples` has them, the binary
    cross-entropy, summed over the labels and averaged over the examples: the negative log-likelihood of an example's
    labels, as it is of its one class."""
    if labels.is_floating_point():
        summed = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="sum")
        return summed / len(labels)
    return F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), ignore_index=NOT_SCORED)


def scored_positions(batch: Examples) -> Any:
    """What picks the outputs that are scored out of (examples, …, classes): all where there is one an example."""
    if batch.labels is None or batch.labels.dim() == 1 or not batch.exclusive:
        return ...
    return batch.labels != NOT_SCORED


def log_probabilities(logits: Tensor, *, exclusive: bool = True) -> Tensor:
    """What logits, (…, classes), say, float32: of classes that exclude each other the log-softmax, of the same shape;
    of others for each by itself that it is there and that it is not, (…, classes, 2), as its sigmoid has it."""
    found = logits.float()
    return (found if exclusive else torch.stack([found, torch.zeros_like(found)], -1)).log_softmax(-1)


def real_positions(batch: Examples, *, decoder: bool) -> Tensor | None:
    """Where a text is and no padding, (examples, positions) bool: of what the encoder reads, or of what a `decoder`
    behind it does. None where nothing tells."""
    if not decoder or "decoder_input_ids" not in batch.inputs:
        mask = batch.inputs.get("attention_mask")
        return None if mask is None else mask.bool()
    return batch.labels != NOT_SCORED if batch.labels is not None and batch.labels.dim() == 2 else None


def soft_targets(logits: Tensor, teacher: Tensor, temperature: float, *, exclusive: bool = True) -> Tensor:
    """Hinton et al. 2015: KL(teacher ‖ student) of the softened distributions, times T² so that its
    gradient keeps its size as T changes. logits, teacher: (examples, classes), or of the positions that are scored
    (positions, classes). Where classes are not `exclusive`, the divergence of each by itself, summed over them."""
    student = log_probabilities(logits / temperature, exclusive=exclusive)
    target = log_probabilities(teacher / temperature, exclusive=exclusive)
    return F.kl_div(student, target, reduction="batchmean", log_target=True) * temperature**2


def distillation(temperature: float = 2.0, alpha: float = 0.9, teacher: nn.Module | None = None) -> Loss:
    """α · soft targets + (1 − α) · cross-entropy, against the dense model's stored logits, or where there are none
    against those of `teacher` on the same batch."""

    def loss(model: nn.Module, batch: Examples) -> Tensor:
        assert batch.labels is not None
        logits, target = model(**batch.inputs).logits, batch.dense_logits
        if target is None:
            assert teacher is not None
            with torch.no_grad():
                target = teacher(**batch.inputs).logits
        scored = scored_positions(batch)
        soft = soft_targets(logits[scored], target[scored], temperature, exclusive=batch.exclusive)
        return alpha * soft + (1 - alpha) * cross_entropy(logits, batch.labels)

    return loss


def train(
    model: nn.Module,
    examples: Examples,
    loss: Loss,
    hardware: Hardware,
    *,
    epochs: float,
    learning_rate: float,
    batch_size: int = 16,
    weight_decay: float = 0.01,
    warmup: float = 0.1,
    parameters: Iterable[nn.Parameter] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
    what: str = "training",
    before_step: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Train `model` in place and return it in eval mode.

    epochs: passes over `examples`, fractions allowed. learning_rate: the peak. warmup: share of the
    steps. parameters: what to train (default: all that require a gradient). before_step: called with (steps done,
    steps in all) before each.
    Raises PressbenchError where the loss stops being finite.
    """
    chosen = [p for p in (parameters if parameters is not None else model.parameters()) if p.requires_grad]
    steps = max(1, round(epochs * len(examples) / batch_size))
    optimizer = torch.optim.AdamW(chosen, lr=learning_rate, weight_decay=weight_decay, fused=True)
    rising = max(1, round(warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
    )
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    # eval, not train: see the header on dropout. No model here has batch statistics.
    model.eval()
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(examples), generator=generator)])
        picked, order = order[:batch_size], order[batch_size:]
        if before_step:
            before_step(step, steps)
        with arithmetic(hardware):
            value = loss(model, examples[picked])
        if not bool(value.isfinite()):
            raise PressbenchError(
                f"{what}: the loss became {value.item()} at step {step + 1} of {steps}; lower learning_rate"
            )
        value.backward()
        nn.utils.clip_grad_norm_(chosen, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        progress(what, step + 1, steps)
    return model
