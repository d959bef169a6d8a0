"""Which compressors the options name: ids, class names, parameters of one's own, chains of several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.zoo.model import Model
from compressors import recipe, registry
from compressors.interface import Compressor, PressbenchError


def parse_compressors(wanted: list[str] | None, tier: str, sweep: bool = False) -> dict[str, Compressor]:
    """The compressors of a tier by id, or those that options name: an id, a class name,
    `name:key=value,…` for parameters of one's own, or several joined by `+` for a chain of them. sweep: each over the
    strengths that its class declares. One line for anything unknown."""
    if sweep:
        return _swept(wanted or list(dict.fromkeys(c.name for c in registry.variants(tier).values())), tier)
    if not wanted:
        return registry.variants(tier)
    chosen: dict[str, Compressor] = {}
    for text in wanted:
        links = [_named(part, tier) for part in recipe.split(text, r"\+")]
        if len(links) == 1:
            chosen |= links[0]
        else:
            chain = tuple((c.name, tuple(c.parameters.items())) for link in links for c in link.values())
            chosen["+".join(i for link in links for i in link)] = registry.build("pipeline", {"chain": chain})
    for compressor in chosen.values():
        _ = compressor.steps  # those of a chain are made here: a mistake in one is told now
    return chosen


def additions(model: Model) -> dict[str, Compressor]:
    """What runs on this model beside the tier's methods, by id: ids and recipes that it names itself. One line, with
    the model, for one that is unknown."""
    found: dict[str, Compressor] = {}
    for text in model.also:
        try:
            found |= parse_compressors([text], "full")
        except PressbenchError as error:
            raise PressbenchError(f"{model.name}: compressors: {error}") from None
    return found


def as_option(compressor: Compressor) -> str:
    """What `--compressor` takes for this one: its class, and the parameters that are not as they are by default."""
    usual = registry.build(compressor.name).parameters if compressor.name != "pipeline" else {}
    own = {key: value for key, value in compressor.parameters.items() if usual.get(key) != value}
    said = ",".join(f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in own.items())
    return f"{compressor.name}:{said}" if said else compressor.name


def _swept(wanted: list[str], tier: str) -> dict[str, Compressor]:
    """Each over its strengths; what has none, such as a control, as it is."""
    chosen: dict[str, Compressor] = {}
    for text in wanted:
        if len(recipe.split(text, r"\+")) > 1:
            raise PressbenchError(f"--sweep: {text}: a chain has no strength of its own; sweep one method")
        name, colon, _ = text.partition(":")
        cls = registry.compressor_classes().get(name)
        strengths = cls.strengths if cls else {}
        if not colon and strengths:  # of a class as it is by default, not of each of its variants
            base = registry.build(name)
            given: dict[str, Any] = {}
        else:
            named = _named(text, tier)
            base, *others = named.values()
            if others or not base.strengths:
                chosen |= named
                continue
            usual = registry.build(base.name).parameters
            of_variant = {key: value for key, value in base.parameters.items() if usual[key] != value}
            given = _parameters(text) if colon else of_variant
            strengths = {key: values for key, values in base.strengths.items() if not colon or key not in given}
            if not strengths:
                raise PressbenchError(f"--sweep: {text}: names every strength there is ({', '.join(base.strengths)})")
        for values in zip(*strengths.values(), strict=True):
            parameters = {**given, **dict(zip(strengths, values, strict=True))}
            chosen[_ident(base.name, parameters)] = registry.build(base.name, parameters)
    return chosen


def _named(text: str, tier: str) -> dict[str, Compressor]:
    name, colon, _ = text.partition(":")
    if colon:
        parameters = _parameters(text)
        return {_ident(name, parameters): registry.build(name, parameters)}
    known = registry.variants("full")
    if name in known:
        return {name: known[name]}
    every = {i: c for i, c in registry.variants(tier).items() if c.name == name}
    if not every and name in registry.compressor_classes():  # of another tier alone: as it is by default
        return {name: registry.build(name)}
    if not every:
        raise PressbenchError(f"unknown compressor {name!r}{registry.nearest(name, known)}")
    return every


def _ident(name: str, parameters: Mapping[str, Any]) -> str:
    """A method with its parameters, for people; of a list the elements alone."""
    said = {k: ",".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in parameters.items()}
    return "-".join([name, *(f"{key}={value}" for key, value in said.items())])


def _parameters(text: str) -> dict[str, Any]:
    try:
        return recipe.parameters(text)
    except PressbenchError as error:
        raise PressbenchError(f"--compressor {error}") from None
