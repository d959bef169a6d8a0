"""Which layer of a model a tensor belongs to, by the dotted names that modules and exported graphs have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

OTHER = "other"
"""What no name tells the layer of: constants that a graph's optimiser made, say."""
WRAPPER = "model."
"""What the paths of a model's modules begin with in a graph exported by `compressors.runtimes.export`."""


@dataclass(frozen=True)
class Layer:
    """What one layer takes. bytes: stored, of weights and of all that belongs to them (masks, scales, zero points,
    index tables). parameters: weights, as the inventory counts them."""

    bytes: int = 0
    parameters: int = 0


def by_layer(sizes: Iterable[tuple[str, int]], weights: Iterable[tuple[str, int]]) -> dict[str, Layer]:
    """Layer -> what it takes, in the order of `sizes`, `OTHER` last.

    sizes: (name, bytes) of every stored tensor. weights: (name, parameters). A name is a path of modules, of which
    the rest does not matter; an empty one belongs to no layer. Up to the first number a path names a block
    (`bert.encoder.layer.0`). Without a number its first part does (`classifier`), or its first two where blocks lie
    below the first (`bert.embeddings`); what belongs to the whole of these (`bert`) is of no layer.
    """
    sizes, weights = list(sizes), list(weights)
    names = dict.fromkeys(name for name, _ in (*sizes, *weights))
    roots = {name.split(".")[0] for name in names if _block(name)}
    stored: dict[str, int] = {}
    counted: dict[str, int] = {}
    for found, items in ((stored, sizes), (counted, weights)):
        for name, amount in items:
            layer = _layer(name, roots)
            found[layer] = found.get(layer, 0) + amount
    layers = sorted(dict.fromkeys((*stored, *counted)), key=lambda layer: layer == OTHER)
    return {layer: Layer(stored.get(layer, 0), counted.get(layer, 0)) for layer in layers}


def scope(names: Iterable[str]) -> str:
    """The one path that `names` agree on; empty where there is none, or more than one block among them."""
    found = list(dict.fromkeys(filter(None, names)))
    blocks = {_block(name) or name for name in found}
    return found[0] if len(blocks) == 1 else ""


def spread(of_users: Mapping[str, Iterable[str]], known: Mapping[str, str], start: str) -> str:
    """The path of `start` in a graph: its own where `known` has it, else what the nearest users downstream agree on.

    of_users: node -> the nodes that use what it makes.
    """
    ahead, seen, found = [start], {start}, []
    while ahead:
        node = ahead.pop()
        if path := known.get(node):
            found.append(path)
            continue
        for user in of_users.get(node, ()):
            if user not in seen:
                seen.add(user)
                ahead.append(user)
    return scope(found)


def _layer(name: str, roots: Collection[str]) -> str:
    if block := _block(name):
        return block
    parts = name.split(".")
    if parts[0] not in roots:
        return parts[0] or OTHER
    return ".".join(parts[:2]) if len(parts) > 1 else OTHER


def _block(name: str) -> str:
    """The path up to its first number, empty without one."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[: numbers[0] + 1]) if numbers and numbers[0] else ""
