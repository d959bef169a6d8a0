"""What a student begins with: the teacher's own weights, as far as they fit.

Source: Minitron (Muralidharan et al. 2024, NeurIPS): depth, width, heads and neurons are cut by how large the
activations are, and what is left is distilled into.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compressors import surgery, units
from compressors.calibration import all_at_once
from compressors.distillation.shape import Shape
from compressors.interface import Context
from compressors.moments import squares
from compressors.pruning.importance import Importance
from compressors.pruning.scored_units import best, chosen, chosen_heads
from compressors.pruning.smaller_blocks import Kept, cut_all
from compressors.pruning.unit_scores import activation
from compressors.surgery import UnknownStructure
from compressors.units import Attention


@torch.no_grad()
def begin(student: nn.Module, teacher: nn.Module, shape: Shape, context: Context) -> Tensor:
    """Give `student` what stays of `teacher`, which is cut for it; the numbers of the stream that stay, in order,
    (student's width,) int64."""
    worth = activation.importance(teacher, context)
    worth_of_stream = _stream(teacher, context)
    stream = best(worth_of_stream, 1 - shape.width / len(worth_of_stream))
    copy(student, teacher, shape, worth, stream)
    return stream


def check(student: nn.Module, teacher: nn.Module, shape: Shape) -> None:
    """Raises UnknownStructure where `begin` could not fit the one into the other. Both may be without values."""
    worth = [
        Importance(tuple(torch.zeros(one.heads) for one in b.attentions), torch.zeros(b.feed_forward.neurons))
        for b in units.blocks(teacher)
    ]
    copy(student, teacher, shape, worth, torch.arange(shape.width))


def copy(student: nn.Module, teacher: nn.Module, shape: Shape, worth: list[Importance], stream: Tensor) -> None:
    """Cut `teacher` to the shape, in place, the least of `worth` and all of the stream but `stream`, and copy."""
    size = units.blocks(teacher)[0].attention.head_size
    if size != shape.head_size:
        told = f"start = 'teacher': heads of {shape.head_size} numbers cannot begin with heads of {size}"
        raise UnknownStructure(f"{told}: choose other heads, or start = 'random'")
    cut_all(teacher, _kept(teacher, shape, worth))
    surgery.keep_layers(teacher, *shape.chosen)
    wanted, found = student.state_dict(), teacher.state_dict()
    for name, values in wanted.items():
        if name not in found or found[name].dim() != values.dim():
            raise UnknownStructure(f"start = 'teacher': the teacher has no {name} of this form")
        own = found[name]
        for axis, (have, want) in enumerate(zip(own.shape, values.shape, strict=True)):
            if have != want:
                if want != shape.width:
                    told = f"start = 'teacher': {name} is {have} long in the teacher, {want} in the student"
                    raise UnknownStructure(told)
                own = own.index_select(axis, stream.to(own.device))
        if not own.is_meta:
            values.copy_(own)


def _kept(model: nn.Module, shape: Shape, worth: list[Importance]) -> Iterator[Kept]:
    def heads(of: Tensor, one: Attention) -> list[int]:
        groups = min(shape.groups, one.groups)
        return chosen_heads(of, one, 1 - shape.heads // groups / one.per_group, 1 - groups / one.groups)

    return chosen(model, worth, heads, lambda of: best(of, 1 - shape.neurons / len(of)))


def _stream(model: nn.Module, context: Context) -> Tensor:
    """How large each number of the stream is where blocks read it: its mean square as a share of all, summed over the
    readers, (width,) float64. On the calibration data, padding left out."""
    blocks = units.blocks(model)
    readers = [name for b in blocks for name in (b.attention.query.layer, b.feed_forward.expand[0][0])]
    found = squares(all_at_once(model, context), readers).values()
    return torch.stack([sums.double() / sums.double().sum().clamp_min(1e-30) for sums in found]).sum(0)
