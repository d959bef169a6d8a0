"""The residual stream gets narrower: it is turned so that what varies least comes last, and that goes.

Source: SliceGPT (Ashkboos et al. 2024, ICLR). A rotation of the stream changes no answer, as the norms only ask how
long a vector is, and can be absorbed by the layers that write to it and read from it. SliceGPT has a rotation for each
layer, and a product on each skip connection between two of them. Here one serves all layers: it loses more, but costs
nothing, and what is left is the same model with a smaller width.

A LayerNorm takes the mean off, which is a direction of the stream like any other. SliceGPT takes it off in what writes;
here it is kept, as the mean of the narrower stream, so that LayerNorm stays LayerNorm, and a head that shares its
weights with the embedding, which does read the mean, is exact. It takes one number of the width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.calibration import watch_inputs
from compressors.interface import Compressed, Context, Effect, Hardware, ModelSpec, Unsupported
from compressors.recovery import Recovering
from compressors.runtimes.program import example_inputs
from compressors.stream import EPSILON, Norm, Stream
from compressors.stream_tracing import find

STEP = 8
"""The width that stays is a multiple of it: what kernels take at a time."""
ROUNDING = 1e-2
"""How far answers may move by turning alone, in units of their deviation: fp32 moves those of deep models by 1e-4."""


@torch.no_grad()
def moments(model: nn.Module, stream: Stream, context: Context) -> Tensor:
    """The second moments of the stream on the calibration data, pooled over what its norms are given, each position
    scaled to length 1 as they do and padding left out: (width, width) float64."""
    total = torch.zeros(stream.width, stream.width, dtype=torch.float64)
    centres = {norm.name: norm.centres for norm in stream.norms}

    def see(name: str, rows: Tensor) -> None:  # rows: (positions, width)
        if centres[name]:
            rows = rows - rows.mean(1, keepdim=True)
        rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        total.add_(rows.T @ rows)

    watch_inputs(model, list(centres), context, see)
    return total


def components(found: Tensor, kept: int, centred: bool) -> Tensor:
    """The orthonormal columns that the stream is turned to, the `kept` principal components of its second moments.
    found: (width, width). centred: whether the mean is to be the mean of the narrower stream, too.
    Returns (width, kept) float64."""
    width = len(found)
    if not centred:
        return torch.linalg.eigh(found).eigenvectors.flip(1)[:, :kept]
    mean = torch.full((width,), width**-0.5, dtype=torch.float64)
    rest = found - found.mean(0) - found.mean(1, keepdim=True) + found.mean()  # of which the mean is no part
    first = rest + 2 * rest.trace() * torch.outer(mean, mean)  # the largest by far, and orthogonal to the others
    basis = torch.linalg.eigh(first).eigenvectors.flip(1)[:, :kept]
    basis[:, 0] = mean
    # A reflection of the first of `kept` directions to the one of equal numbers.
    across = -torch.full((kept,), kept**-0.5, dtype=torch.float64)
    across[0] += 1
    return basis - 2 * torch.outer(basis @ across, across) / across.square().sum().clamp_min(1e-300)


@torch.no_grad()
def narrow(model: nn.Module, stream: Stream, basis: Tensor) -> None:
    """Turn the stream to the columns of `basis`, (width, kept), in place: x becomes basisᵀ x. Exact where the columns
    span all that the stream holds. Weights that are shared stay shared."""
    done: set[int] = set()
    for norm in stream.norms:
        _absorb(model, stream, norm, basis)
    tied = [reader for norm in stream.norms if norm.use == "tied" for reader in norm.readers]
    for name in (*stream.writers, *tied):
        part = surgery.get(model, name)
        if isinstance(part, nn.Parameter):  # such as a token of its own, (…, width)
            _turn(part, -1, basis, done)
            continue
        axis = 1 if isinstance(part, nn.Embedding) or name in tied else 0
        _turn(part.weight, axis, basis, done)
        if axis == 0 and part.bias is not None:
            _turn(part.bias, 0, basis, done)
        for size in ("embedding_dim", "in_features") if axis else ("out_features", "out_channels"):
            if hasattr(part, size):
                setattr(part, size, basis.shape[1])


def _absorb(model: nn.Module, stream: Stream, norm: Norm, basis: Tensor) -> None:
    """Let the layers behind a norm do what its weight and its bias did, and the norm what it did on fewer numbers: what
    has gone counts as zero, so that the mean of squares is that of all."""
    module = surgery.get(model, norm.name)
    width, kept = basis.shape
    weight, bias = module.weight, getattr(module, "bias", None)
    device = next(model.parameters()).device if weight is None else weight.device
    gain = torch.ones(width, dtype=torch.float64) if weight is None else weight.double() + norm.offset
    turned = gain.to(device)[:, None] * basis.to(device) * math.sqrt(width / kept)
    shift = None if bias is None else bias.double()
    if norm.use == "read":
        for name in norm.readers:
            _read(surgery.get(model, name), turned, shift)
    else:
        back = turned if norm.use == "whole" else None
        if back is None:
            # The head is the table times the basis. What comes closest to the answers of the whole one is found by
            # least squares; without a cut it is exact.
            table = surgery.get(model, norm.readers[0]).weight
            square = sum((part.double().T @ part.double() for part in table.split(8192)), torch.zeros(()).to(device))
            inverse = torch.linalg.pinv(basis.T.to(device) @ square @ basis.to(device), hermitian=True)
            nearest = inverse @ (basis.T.to(device) @ square)
            back, shift = nearest @ turned, None if shift is None else nearest @ shift
        dtype = torch.get_default_dtype() if weight is None else weight.dtype
        behind = nn.Linear(kept, len(back), bias=shift is not None, device=device, dtype=dtype)
        behind.weight.copy_(back)
        if shift is not None:
            behind.bias.copy_(shift)
        surgery.replace(model, norm.name, nn.Sequential(module, behind))
    if weight is not None:
        weight.data = torch.full_like(weight[:kept], 1 - norm.offset)
    if bias is not None:
        bias.data = torch.zeros_like(bias[:kept])
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = (kept,)
    for name in EPSILON:
        if isinstance(epsilon := getattr(module, name, None), float):
            setattr(module, name, epsilon * width / kept)


def _read(layer: nn.Linear, turned: Tensor, shift: Tensor | None) -> None:
    weight = layer.weight.double()
    if shift is not None:
        bias = weight @ shift
        if layer.bias is None:
            layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
        else:
            layer.bias.data = (layer.bias.double() + bias).to(layer.bias.dtype)
    layer.weight.data = (weight @ turned).to(layer.weight.dtype)
    layer.in_features = turned.shape[1]


def _turn(parameter: nn.Parameter, axis: int, basis: Tensor, done: set[int]) -> None:
    """Turn a parameter along an axis, in place and once, so that whoever shares it goes on sharing it."""
    if id(parameter) not in done:
        done.add(id(parameter))
        turned = torch.tensordot(parameter.double(), basis.to(parameter.device), dims=([axis], [0]))
        parameter.data = turned.movedim(-1, axis).contiguous().to(parameter.dtype)


@dataclass(frozen=True)
class PruneWidth(Recovering):
    """Removes the least principal components of the residual stream, then recovers by distillation.

    removed: share of the stream's width that goes; what stays is a multiple of 8. For pre-norm models.
    recovery_epochs: passes over the training data. learning_rate: its peak.
    """

    name: ClassVar[str] = "prune-width"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "kernel"
    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "training"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"25": {}, "25-alone": {"recovery_epochs": 0.0}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"removed": (0.1, 0.2, 0.3, 0.4, 0.5)}

    removed: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.removed < 1:
            raise ValueError(f"removed = {self.removed!r}: must lie between 0 and 1, both excluded")
        super().__post_init__()

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        def check(skeleton: nn.Module) -> None:
            surgery.as_linears(skeleton)
            # Without a mask, of which a model may ask what no tensor without numbers can tell.
            inputs = {name: v.to("meta") for name, v in example_inputs(model).items() if name != "attention_mask"}
            stream = find(skeleton, inputs, model.output)
            if self.kept(stream.width) >= stream.width:
                raise surgery.UnknownStructure(f"{self.removed:g} of its width of {stream.width} is none")

        return surgery.structure_reason(model, check, asked=("width", self.removed))

    def kept(self, width: int) -> int:
        """The width that stays."""
        return max(STEP, STEP * round(width * (1 - self.removed) / STEP))

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        surgery.as_linears(model)
        few = context.require_calibration()[:2].inputs
        stream = find(model, few, context.model.output)
        found = moments(model, stream, context)
        check_turned(model, stream, found, few, context.model.output)
        basis = components(found, self.kept(stream.width), stream.centred)
        narrow(model, stream, basis)
        self.recover(model, context, basis=basis)
        return Compressed(model, {"width": basis.shape[1], "stream": stream.to_json()})

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        surgery.as_linears(model)
        stream = Stream.from_json(structure["stream"])
        narrow(model, stream, torch.zeros(stream.width, structure["width"], dtype=torch.float64))
        return model


@torch.no_grad()
def check_turned(model: nn.Module, stream: Stream, found: Tensor, inputs: Mapping[str, Tensor], output: str) -> None:
    """Raises Unsupported where the whole stream, turned, does not answer as it did: something reads or writes it that
    was not found."""
    turned = copy.deepcopy(model)
    narrow(turned, stream, components(found, stream.width, stream.centred))
    before, after = (getattr(one(**inputs), output).float() for one in (model, turned))
    moved = float((after - before).square().mean().sqrt() / before.std().clamp_min(1e-12))
    if not moved <= ROUNDING:
        told = f"the answers move by {moved:.2g} of their deviation"
        raise Unsupported(f"prune-width: its stream cannot be turned: {told}")
