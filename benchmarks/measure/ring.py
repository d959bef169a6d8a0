"""What a timed call is given: each time something else, so that nothing which was remembered helps.

A slot goes through the examples in an order of its own, each spliced with another: its beginning, and what the other
has from there on. So no input comes twice in a measurement, and all look like real ones. Both sides of a pair are
given the same, by the number of the slot. Where answers are to be compared with those that were scored, examples are
given as they are in the data, each once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressors.interface import Examples, PressbenchError

Arrays = dict[str, np.ndarray]


class Ring:
    """Batches of `batch` examples, cut to the first `sequence` places where that is given.

    Raises PressbenchError where the examples have fewer places than `sequence`."""

    def __init__(self, examples: Examples, batch: int, sequence: int | None) -> None:
        self._arrays = {name: values.numpy() for name, values in examples.inputs.items()}
        if sequence:
            self._arrays = {name: a[:, :sequence] if a.ndim == 2 else a for name, a in self._arrays.items()}
            short = next(iter(self._arrays.values())).shape[1]
            if short != sequence:
                raise PressbenchError(f"a workload wants {sequence} tokens, the data has {short}")
        self._count, self._batch = len(examples), batch

    def batches(self, seed: int, slot: int, count: int) -> list[Arrays]:
        """The inputs of `count` calls in the slot of that number: no example twice until all had their turn.
        seed: of all that is drawn."""
        draw = np.random.default_rng([seed, slot])
        needed = count * self._batch
        laps = [draw.permutation(self._count) for _ in range(-(-needed // self._count))]
        rows = np.concatenate(laps)[:needed]
        partners = (rows + draw.integers(1, max(2, self._count), needed)) % self._count
        cuts = draw.random(needed)
        return [
            {
                name: spliced(values, rows[part], partners[part], cuts[part], self._mask(name))
                for name, values in self._arrays.items()
            }
            for part in (slice(i * self._batch, (i + 1) * self._batch) for i in range(count))
        ]

    def real(self, number: int) -> tuple[np.ndarray, Arrays] | None:
        """Batch `number` of the examples as they are, in their order, with their places in the data: (batch,) and the
        inputs; None where all have been given. Of fewer examples than a batch there is one, of some over again."""
        start = number * self._batch
        if number and start + self._batch > self._count:
            return None
        rows = np.arange(start, start + self._batch) % self._count
        return rows, {name: np.ascontiguousarray(values[rows]) for name, values in self._arrays.items()}

    def _mask(self, name: str) -> np.ndarray | None:
        return self._arrays.get(name.replace("input_ids", "attention_mask")) if name.endswith("input_ids") else None


def spliced(
    values: np.ndarray, rows: np.ndarray, partners: np.ndarray, cuts: np.ndarray, mask: np.ndarray | None
) -> np.ndarray:
    """`values[rows]`, each from a place in it on as `values[partners]` has it.

    Token ids, (examples, places) int64 with the `mask` of their texts: never the last token of a text, which ends it,
    and never beyond the other text's end. Other integers (masks, types) are left alone. Floats, such as images: along
    the last axis but one. cuts: in [0, 1), where."""
    found = values[rows].copy()
    if values.dtype.kind == "f" and values.ndim >= 2:
        axis = values.ndim - 2 if values.ndim > 2 else 1
        places = found.shape[axis]
        starts = 1 + (cuts * max(1, places - 1)).astype(int)
        for row, (partner, start) in enumerate(zip(partners, starts, strict=True)):
            where = (slice(None),) * (axis - 1) + (slice(start, None),)
            found[row][where] = values[partner][where]
    elif mask is not None or (values.dtype.kind == "i" and values.ndim == 2 and _many(values)):
        lengths = (mask != 0).sum(axis=1) if mask is not None else np.full(len(values), values.shape[1])
        # From the left: texts padded on the left end in the last place.
        firsts = (mask != 0).argmax(axis=1) if mask is not None else np.zeros(len(values), dtype=int)
        for row, (own, partner, cut) in enumerate(zip(rows, partners, cuts, strict=True)):
            length = min(lengths[own], lengths[partner]) - 1
            start = 1 + int(cut * max(1, length - 1))
            if start < length:
                a, b = firsts[own], firsts[partner]
                found[row, a + start : a + length] = values[partner, b + start : b + length]
    return found


def _many(values: np.ndarray) -> bool:
    """Whether integers are ids of a vocabulary rather than a mask or types."""
    return bool(values.size) and int(values.max()) > 1


def prompts(inputs: Mapping[str, np.ndarray], batch: int, tokens: int, slot: int, count: int, seed: int) -> np.ndarray:
    """(count, batch, tokens) int64: the texts' tokens in one row, without padding, and of it pieces that begin wherever
    the slot's draw says, no two of a slot at one place."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    row = ids.flatten() if mask is None else ids[mask != 0]
    draw = np.random.default_rng([seed, slot])
    needed = count * batch
    starts = np.concatenate([draw.permutation(len(row)) for _ in range(-(-needed // len(row)))])[:needed]
    around = np.resize(row, len(row) + tokens)  # from the start again at its end
    return np.stack([around[start : start + tokens] for start in starts]).reshape(count, batch, tokens)
