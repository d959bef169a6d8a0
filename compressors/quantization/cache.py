"""The key-value cache of a language model that generates, in few bits: what a long context takes of memory, and not the
weights.

Source: KIVI (Liu et al. 2024). Keys have channels that are large at every token, so that each channel has a grid of its
own, anew for each group of tokens; values have none, so that each token has its own, for each group of channels. The
most recent tokens, which matter most, stay as they are. Unlike KIVI's a prompt is read as it would be decoded, in
blocks: what a token sees depends on the text alone, and so what is scored by passes over whole texts is what generates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from compressors import surgery
from compressors.interface import Compressed, Compressor, Context, Effect, Hardware, ModelSpec, PressbenchError
from compressors.quantization.bits import pack, unpack
from compressors.runtimes.generation import generates, layered

BITS = (2, 4, 8)
SMALLEST_STEP = 2.0**-14
"""The smallest number that fp16 holds with all its digits."""
WIDER = 2.0**-10
"""By what share a grid is widened, twice the rounding of fp16: its ends as stored lie beyond what is on it."""


class Grids:
    """Numbers, (batch, heads, tokens, width), as codes; `tokens` by `channels` neighbours have one grid, low + code *
    step.

    codes: (batch, heads, tokens, ceil(width * bits / 8)) uint8, packed along the width. low, step: fp16, (batch, heads,
    groups of tokens, 1, groups of channels, 1).
    """

    codes: Tensor
    low: Tensor
    step: Tensor

    def __init__(self, bits: int, tokens: int, channels: int) -> None:
        self.bits, self.tokens, self.channels = bits, tokens, channels
        self.width = 0

    def _cells(self, values: Tensor) -> Tensor:
        """(batch, heads, tokens, width) seen as (batch, heads, groups, tokens of one, groups, channels of one)."""
        return values.unflatten(3, (-1, min(self.channels, self.width))).unflatten(2, (-1, self.tokens))

    def append(self, values: Tensor) -> None:
        """Behind what is there; whole groups of tokens. Each number ends within half a step of where it was.

        Raises PressbenchError where the width is no whole number of groups, or fp16 cannot hold a grid."""
        first, self.width = self.width == 0, values.shape[3]
        if self.width % min(self.channels, self.width):
            raise PressbenchError(f"the width of a head is {self.width}, no multiple of group_size = {self.channels}")
        cells, top = self._cells(values.float()), 2**self.bits - 1
        low = cells.amin((3, 5), keepdim=True)
        low = (low - WIDER * low.abs()).half()
        step = (cells.amax((3, 5), keepdim=True) - low.float()) * ((1 + WIDER) / top)
        step = step.clamp(min=SMALLEST_STEP).half()
        if not bool((low.isfinite() & step.isfinite()).all()):
            raise PressbenchError("keys or values are NaN or beyond 65,504, which fp16 holds: they cannot be quantized")
        # Rounded against the grid as stored, not as computed.
        codes = ((cells - low.float()) / step.float()).round().clamp(0, top).to(torch.uint8)
        new = pack(codes.view(values.shape), self.bits), low, step
        self.codes, self.low, self.step = (
            new if first else (torch.cat(pair, 2) for pair in zip((self.codes, self.low, self.step), new, strict=True))
        )

    def keep(self, tokens: int) -> None:
        """Keep the first ones only; whole groups."""
        if self.width:
            groups = tokens // self.tokens
            self.codes = self.codes[:, :, :tokens].clone()
            self.low, self.step = self.low[:, :, :groups].clone(), self.step[:, :, :groups].clone()

    def decode(self, out: Tensor) -> None:
        """Write the numbers to `out`, (batch, heads, tokens, width) of any floating type."""
        values = out if out.dtype == torch.float32 else torch.empty_like(out, dtype=torch.float32)
        cells = self._cells(values)
        # In place: memory that is new for each step of this would take ten times as long as the numbers do.
        torch.mul(self._cells(unpack(self.codes, self.bits, self.width)), self.step.float(), out=cells)
        cells.add_(self.low.float())
        if values is not out:
            out.copy_(values)


class GroupedLayer:
    """What one attention keeps: old tokens on grids, recent ones as they are. A layer of transformers' caches; keys and
    values go in and come out as (batch, heads, tokens, width).

    After n tokens the first `settled(n)` are on grids, and the next one sees these as codes and all others as they are.
    `room()` tokens see the same of them; more at once would see as they are some that are not.
    """

    is_sliding = is_compileable = supports_early_init = is_initialized = False
    is_croppable = True
    keys: Tensor
    values: Tensor

    def __init__(self, bits: int, group_size: int, residual: int) -> None:
        self.group_size, self.residual = group_size, residual
        self.old_keys, self.old_values = Grids(bits, group_size, 1), Grids(bits, 1, group_size)
        self.on_grids = self.first = 0  # how many tokens are; the one that `keys` and `values` begin with
        self.record_past = False

    def settled(self, tokens: int) -> int:
        """How many of so many are on grids: those that `residual` others follow, as far as they fill a group."""
        return max(0, tokens - self.residual) // self.group_size * self.group_size

    def room(self) -> int:
        """How many of the next tokens see the same ones on grids as the next one."""
        return self.on_grids + self.group_size + self.residual - self.get_seq_length()

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take the keys and values of new tokens; what they may see, themselves included."""
        if self.is_initialized:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values, self.is_initialized = keys, values, True
        seen = self._seen(self.keys, self.old_keys), self._seen(self.values, self.old_values)
        if (settled := self.settled(self.get_seq_length())) > self.on_grids:
            new = slice(self.on_grids - self.first, settled - self.first)
            self.old_keys.append(self.keys[:, :, new])
            self.old_values.append(self.values[:, :, new])
            self.on_grids = settled
        if not self.record_past:
            self._let_go()
        return seen

    def _seen(self, recent: Tensor, old: Grids) -> Tensor:
        recent = recent[:, :, self.on_grids - self.first :]
        if not self.on_grids:
            return recent
        batch, heads, tokens, width = recent.shape
        found = recent.new_empty(batch, heads, self.on_grids + tokens, width)
        old.decode(found[:, :, : self.on_grids])
        found[:, :, self.on_grids :] = recent
        return found

    def _let_go(self) -> None:
        """Of what is on grids, as it was."""
        if gone := self.on_grids - self.first:
            self.keys, self.values = self.keys[:, :, gone:].clone(), self.values[:, :, gone:].clone()
            self.first = self.on_grids

    def activate_past_recording(self) -> None:
        """From now on keep as they were, until the next `crop`, tokens that go on grids: it may put them back."""
        self.record_past = True

    def crop(self, tokens_to_remove: int) -> None:
        """Drop so many tokens at the end, 0 or a negative number as with transformers' own; the rest is then as if they
        had never been there. Raises ValueError where that is gone."""
        left = self.get_seq_length() - abs(tokens_to_remove)
        if self.settled(left) < self.first:
            raise ValueError(f"of the tokens before {self.first} only codes are left: it cannot go back to {left}")
        if tokens_to_remove:
            end = left - self.first
            self.keys, self.values = self.keys[:, :, :end].clone(), self.values[:, :, :end].clone()
            if self.settled(left) < self.on_grids:
                self.on_grids = self.settled(left)
                self.old_keys.keep(self.on_grids)
                self.old_values.keep(self.on_grids)
        self._let_go()

    def get_seq_length(self) -> int:
        """How many tokens it holds."""
        return self.first + self.keys.shape[2] if self.is_initialized else 0

    def get_max_length(self) -> int:
        """-1: any number of tokens."""
        return -1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys so many new tokens look at, and which token's the first of them is."""
        return self.get_seq_length() + query_length, 0


@dataclass(frozen=True)
class QuantizeCache(Compressor):
    """Keeps the keys and values of old tokens with a few bits each while it generates; the weights stay as they are.

    bits: 2, 4 or 8. group_size: tokens that share a grid in each channel of the keys, and channels that share one in
    each token of the values; a head's width must be a multiple of it, or smaller. residual: the most recent tokens that
    stay as they are, and with them up to group_size - 1 before them that fill no group yet. KIVI has 32 and 128; a text
    of `residual` tokens shows no loss, and those that are scored may have 128.
    """

    name: ClassVar[str] = "quantize-cache"
    family: ClassVar[str] = "quantization"
    effect: ClassVar[Effect] = "storage"
    closes: ClassVar[bool] = True  # a graph that is exported behind it would have a cache of its own
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # of use where tokens are decoded
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"8bit": {"bits": 8}, "4bit": {"bits": 4}}
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {"bits": (8, 4, 2)}

    bits: int = 4
    group_size: int = 32
    residual: int = 32

    def __post_init__(self) -> None:
        if self.bits not in BITS:
            raise ValueError(f"bits = {self.bits!r}: must be one of {', '.join(map(str, BITS))}")
        if self.group_size < 1:
            raise ValueError(f"group_size = {self.group_size!r}: must be at least 1 token, and as many channels")
        if self.residual < 0:
            raise ValueError(f"residual = {self.residual!r}: must be at least 0 tokens")

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        return surgery.structure_reason(model, self._check)

    def _check(self, model: nn.Module) -> None:
        """Raises where the model has no cache that this one can stand for."""
        import transformers
        from transformers.cache_utils import DynamicLayer

        config: Any = model.config
        if not generates(model):
            raise surgery.UnknownStructure(f"{type(model).__name__} generates no text: it has no key-value cache")
        if config.is_encoder_decoder:
            raise surgery.UnknownStructure("it keeps keys and values of an encoder too: only decoders are covered")
        layers = {type(layer) for layer in transformers.DynamicCache(config=config).layers}
        if other := layers - {DynamicLayer}:
            kinds = " and a ".join(sorted(kind.__name__ for kind in other))
            raise surgery.UnknownStructure(f"its layers keep a {kinds}: only plain attention to all tokens is covered")
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        if width % min(self.group_size, width):
            raise surgery.UnknownStructure(
                f"the width of its heads is {width}: no multiple of group_size = {self.group_size}"
            )

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        self._check(model)
        return Compressed(self.restructure(model, {}))

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        made: Any = model
        made.own_cache = layered(model, lambda: GroupedLayer(self.bits, self.group_size, self.residual))
        return model
