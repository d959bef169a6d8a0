"""What a compressor really changed, by what its artifact executes, stores and answers; not by what it says of itself.

A layer that was renamed executes what it did, a weight changed by nothing answers the same: neither is an effect.
A method that leaves out work while it runs has one, though no weight differs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressors.artifact import Artifact
from compressors.interface import Effect, Unsupported
from compressors.runtimes.executed import FEWER, Executed

SMALLER = 0.99
"""Bytes on disk, or of a key-value cache, over the dense model's from which down something is stored smaller."""
CONTEXT = 512
"""Tokens in a cache whose bytes are counted, where the model takes so many."""
NARROWER = 0.10
"""The share of operations on fewer bits from which on a kernel is another."""
Arrays = Mapping[str, np.ndarray]
Given = Arrays | tuple[Arrays, Arrays]
ROUNDING = 1e-5
"""How far answers differ by rounding alone, in units of how far they lie apart: sums in another order are 1e-6 of
it."""


def witness(
    dense: Artifact, compressed: Artifact, effect: Effect | None, inputs: Given,
    executed: tuple[Executed | None, Executed | None] | None = None,
) -> tuple[list[str], str | None]:  # fmt: skip
    """What changed between two artifacts, a few words each; and, where that does not bear out the claimed effect, why
    not: of one that claims none, where nothing changed at all. inputs: a few examples, as runtimes take them, or as
    each of the two takes them. executed: what both execute on them, where that is known."""
    asked = inputs if isinstance(inputs, tuple) else (inputs, inputs)
    before, after = executed or (dense.executed(asked[0]), compressed.executed(asked[1]))
    ratio = compressed.disk_bytes / dense.disk_bytes
    seen = [f"bytes on disk {ratio:.3f}×"] if ratio < SMALLER else []
    fewer = narrower = False
    if before and after:
        fewer = after.total < FEWER * before.total
        narrow = after.narrower(before.widest)
        narrower = narrow >= NARROWER
        if fewer:
            seen.append(f"operations {_count(before)} → {_count(after)}")
        if narrower:
            seen.append(f"{narrow:.0%} of the operations on fewer bits: {', '.join(sorted(_narrow(before, after)))}")
    moved = _moved(dense, compressed, asked) if effect == "simulated" or not seen else None
    if moved is not None and moved > ROUNDING:
        seen.append(f"answers move by {moved:.2g} of how far they lie apart")

    if effect == "storage" and ratio >= SMALLER:
        cached = _cached(dense, compressed, asked[0])
        if cached is None:
            return seen, f"the artifact is {ratio:.3f}× the dense one on disk"
        tokens, smaller = cached
        if smaller >= SMALLER:
            told = f"its cache of {tokens} tokens {smaller:.3f}× the dense one's"
            return seen, f"the artifact is {ratio:.3f}× the dense one on disk, {told}"
        seen.append(f"bytes of the cache of {tokens} tokens {smaller:.3f}×")
        if (_moved(dense, compressed, asked) if moved is None else moved) <= ROUNDING:
            return seen, "the answers are the dense model's, to rounding: texts that are scored do not meet that cache"
    if effect == "kernel":
        if before is None or after is None:
            return _by_what_is_stored(dense, compressed, seen)
        if not (fewer or narrower):
            return seen, (
                f"it executes what the dense model does: {_count(after)} operations of {_count(before)}, "
                f"{after.narrower(before.widest):.0%} of them on fewer bits (at most {FEWER:.2f}×, or at least "
                f"{NARROWER:.0%})"
            )
    if effect == "simulated" and (moved or 0.0) <= ROUNDING:
        return seen, "the answers are the dense model's, to rounding"
    if effect is None and not seen:
        return seen, "it is the dense model: as large on disk, the same operations, and to rounding the same answers"
    return seen, None


def _narrow(before: Executed, after: Executed) -> list[str]:
    from compressors.runtimes.executed import BITS

    return [name for name in after.operations if BITS.get(name, 32) < before.widest]


def _by_what_is_stored(dense: Artifact, compressed: Artifact, seen: list[str]) -> tuple[list[str], str | None]:
    """Of what nobody tells what it executes: weights that are fewer, or stored in fewer bits."""
    one, other = dense.inventory(), compressed.inventory()
    bits = compressed.disk_bytes / max(1, other.parameters) / (dense.disk_bytes / max(1, one.parameters))
    told = [*seen, "by what is stored: what it executes is not told"]
    if other.parameters < FEWER * one.parameters or bits < 0.75:
        return told, None
    return told, f"{other.parameters:,} weights of {one.parameters:,}, each {bits:.2f}× the bytes"


def _cached(dense: Artifact, compressed: Artifact, inputs: Mapping[str, np.ndarray]) -> tuple[int, float] | None:
    """Of a model that generates: the tokens of a prompt, the first of the inputs over and over, and the bytes of keys
    and values that are held of it, over the dense model's. None of one that does not."""
    if "input_ids" not in inputs:
        return None
    tokens = min(CONTEXT, int(dense.spec.config.get("max_position_embeddings", CONTEXT)))
    prompt, held = np.resize(inputs["input_ids"][:1], (1, tokens)), []
    for artifact in (dense, compressed):
        try:
            generator = artifact.generator()
        except Unsupported:
            return None
        generator.prefill(prompt)
        held.append(generator.bytes_cached())
    return tokens, held[1] / held[0]


def _moved(dense: Artifact, compressed: Artifact, asked: tuple[Arrays, Arrays]) -> float:
    """The root mean square of how far answers differ, over their deviation from example to example."""
    both = zip((dense, compressed), asked, strict=True)
    one, other = (np.asarray(artifact.load()(inputs), dtype=np.float64) for artifact, inputs in both)
    if one.shape != other.shape:
        return float("inf")
    flat = one.reshape(len(one), -1)
    scale = float(np.sqrt(np.mean(np.var(flat, axis=0)))) or float(np.abs(flat).max()) or 1.0
    return float(np.sqrt(np.mean(np.square(one - other)))) / scale


def _count(executed: Executed) -> str:
    """`17.9 M`, `1.2 G`."""
    for size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if executed.total >= size:
            return f"{executed.total / size:.3g} {name}"
    return str(executed.total)
