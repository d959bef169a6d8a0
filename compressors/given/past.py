"""The places and the cache of a language model's graph, where these are inputs: as optimum and transformers.js export
one, with `position_ids`, and with `past_key_values.N.key` and `.value`, which `present.N.key` and `.value` hand on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compressors.given.form import GivenError
from compressors.given.port import Port
from compressors.interface import ModelSpec
from compressors.runtimes.ports import Kept

PLACES, BRANCH = "position_ids", "use_cache_branch"
_PAST = re.compile(r"past(?:_key_values)?\.(\d+)\.(key|value)")
_PRESENT = re.compile(r"present(?:_key_values)?\.(\d+)\.(key|value)")


@dataclass(frozen=True)
class Past:
    """What the runtime gives by itself: see `Ports`."""

    places: str | None = None
    kept: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """Its inputs."""
        return frozenset(self.kept) | ({self.places} if self.places else frozenset())


def past_of(said: str, given: Sequence[Port], made: Sequence[Port], model: ModelSpec) -> Past:
    """given, made: inputs and outputs of the graph of a `model`. Nothing of one that reads no text from left to right:
    an encoder counts its places in a way of its own. Raises GivenError where a cache cannot be handed on."""
    if not _goes_on(model):
        return Past()
    if any(port.name == BRANCH for port in given):
        raise GivenError(f"{said}: is two graphs in one, between which {BRANCH} chooses: export it as one, or name the "
                         "file of one of them")  # fmt: skip
    handed = {match.groups(): port for port in made if (match := _PRESENT.fullmatch(port.name))}
    kept = {}
    for port in given:
        if (match := _PAST.fullmatch(port.name)) is None:
            continue
        after = handed.get(match.groups())
        if after is None:
            raise GivenError(f"{said}: its input {port} is of a cache, and no output hands it on: present.{match[1]}."
                             f"{match[2]} is missing; there are {', '.join(map(str, made))}")  # fmt: skip
        kept[port.name] = _kept(said, port, after)
    places = next((port for port in given if port.name == PLACES), None)
    if places is not None and (places.dtype not in ("int64", "int32") or places.dims[:1] != (None,)
                               or len(places.dims) != 2):  # fmt: skip
        raise GivenError(f"{said}: its input {places} is not the place of each token, int64 [?, ?]")
    if kept and len({name.rpartition(".")[0] for name in kept}) * 2 != len(kept):
        raise GivenError(f"{said}: its cache has keys without values, or values without keys: {', '.join(kept)}")
    return Past(places.name if places else None, kept)


def _goes_on(model: ModelSpec) -> bool:
    """Whether it is a language model that reads from left to right."""
    named = str((model.config.get("architectures") or [""])[0])
    return named.endswith(("ForCausalLM", "LMHeadModel")) and set(model.inputs) == {"input_ids", "attention_mask"}


def _kept(said: str, port: Port, after: Port) -> Kept:
    batch, heads, cached, width = port.dims if len(port.dims) == 4 else (0, 0, 0, 0)
    if batch is not None or cached is not None or not heads or not width:
        raise GivenError(f"{said}: its input {port} is no cache [?, heads, ?, width] with free batch and length")
    if port.dtype not in ("float32", "float16"):
        raise GivenError(f"{said}: its input {port} is a cache of {port.dtype}, which is not fed here")
    if after.dtype != port.dtype:
        raise GivenError(f"{said}: its output {after} hands on what its input {port} does not take")
    return Kept(after.name, heads, width)
