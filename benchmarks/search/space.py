"""What is searched: recipes in which some values are left open.

    distil-student:layers=2..4,width=128|192|256+int8-onnxruntime

`low..high` is a range, of whole numbers where both ends are; `low..high/step` one in steps; `a|b|c` a choice. Several
recipes are alternatives, of which a trial takes one.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.matrix.selection import parse_compressors
from compressors import recipe
from compressors.interface import Compressor, PressbenchError

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:/({_NUMBER}))?")
RECIPE = "recipe"
"""The name of the choice among alternatives."""
MANY = 10_000
"""Trials of a grid beyond which somebody has miscounted."""


@dataclass(frozen=True)
class Open:
    """A value that is left open. name: as Optuna and people know it. link, key: whose parameter it is."""

    name: str
    link: int
    key: str
    distribution: BaseDistribution

    def suggested(self, trial: optuna.trial.Trial) -> Any:
        """Its value in this trial, by Optuna's sampler; a real number to four digits."""
        found: Any = self.distribution
        if isinstance(found, CategoricalDistribution):
            return trial.suggest_categorical(self.name, found.choices)
        if isinstance(found, IntDistribution):
            return trial.suggest_int(self.name, found.low, found.high, step=found.step)
        return float(f"{trial.suggest_float(self.name, found.low, found.high, step=found.step):.4g}")

    def ends(self) -> list[Any]:
        """Both ends of a range, or every choice."""
        found: Any = self.distribution
        return list(found.choices) if isinstance(found, CategoricalDistribution) else [found.low, found.high]

    def grid(self) -> list[Any]:
        """Every value. Raises PressbenchError for a range without steps."""
        found: Any = self.distribution
        if isinstance(found, CategoricalDistribution):
            return list(found.choices)
        if found.step is None:
            raise PressbenchError(
                f"{self.name}: a grid needs steps: write {found.low:g}..{found.high:g}/STEP, or a choice a|b|c"
            )
        # From its count, not by adding up: 0.1 + 0.2 is not 0.3.
        count = round((found.high - found.low) / found.step) + 1
        values = [found.low + number * found.step for number in range(count)]
        return values if isinstance(found, IntDistribution) else [float(f"{value:.12g}") for value in values]


@dataclass(frozen=True)
class Alternative:
    """One recipe. links: (compressor, its values that are said) each. opened: those that are left open."""

    text: str
    links: tuple[tuple[str, Mapping[str, Any]], ...]
    opened: tuple[Open, ...]

    def recipe(self, values: Mapping[str, Any]) -> str:
        """What `--compressor` takes, with these values, by name, in the open places."""
        said = [dict(known) for _, known in self.links]
        for one in self.opened:
            said[one.link][one.key] = values[one.name]
        parts = []
        for (name, _), own in zip(self.links, said, strict=True):
            written = ",".join(f"{key}={_written(value)}" for key, value in own.items())
            parts.append(f"{name}:{written}" if written else name)
        return "+".join(parts)


@dataclass(frozen=True)
class Space:
    """All that a search may try."""

    alternatives: tuple[Alternative, ...]

    @property
    def texts(self) -> list[str]:
        """The recipes as they were said."""
        return [one.text for one in self.alternatives]

    def ask(self, trial: optuna.trial.Trial) -> str:
        """The recipe of a trial, its values chosen by Optuna's sampler."""
        chosen = self.alternatives[0]
        if len(self.alternatives) > 1:
            text = trial.suggest_categorical(RECIPE, self.texts)
            chosen = next(one for one in self.alternatives if one.text == text)
        return chosen.recipe({one.name: one.suggested(trial) for one in chosen.opened})

    def grid(self) -> list[dict[str, Any]]:
        """The values of every trial of a grid, by name. Raises PressbenchError where there is no end to them."""
        found: list[dict[str, Any]] = []
        for one in self.alternatives:
            axes = [open_.grid() for open_ in one.opened]
            if len(found) + math.prod(map(len, axes)) > MANY:
                raise PressbenchError(
                    f"{one.text}: a grid of more than {MANY:,} trials; use larger steps or fewer values"
                )
            first = {RECIPE: one.text} if len(self.alternatives) > 1 else {}
            for values in itertools.product(*axes):
                found.append(first | {o.name: value for o, value in zip(one.opened, values, strict=True)})
        return found


def parse_space(texts: Sequence[str]) -> Space:
    """The space of these recipes. Raises PressbenchError, one line, for a parameter that its method has not, for a
    value that it refuses, and where nothing is left open."""
    seen = list(dict.fromkeys(texts))
    space = Space(tuple(_alternative(text, "" if len(seen) == 1 else f"{text} ") for text in seen))
    if len(seen) == 1 and not space.alternatives[0].opened:
        raise PressbenchError(
            f"{seen[0]}: nothing is left open: write a range as rank_ratio=0.2..0.6 or a choice as bits=3|4, or name "
            "several recipes"
        )
    for one in space.alternatives:
        for text in _corners(one):
            compressor_of(text)
    return space


def compressor_of(text: str) -> tuple[str, Compressor]:
    """The id and the compressor of a recipe. Raises PressbenchError for a name of several variants."""
    found = parse_compressors([text], "full")
    if len(found) > 1:
        raise PressbenchError(f"{text}: is {', '.join(found)}: name one of them")
    return next(iter(found.items()))


def _corners(one: Alternative) -> Iterator[str]:
    """The recipe at each end of each range and with each choice, all others at their first."""
    first = {open_.name: open_.ends()[0] for open_ in one.opened}
    yield one.recipe(first)
    for open_ in one.opened:
        for value in open_.ends()[1:]:
            yield one.recipe(first | {open_.name: value})


def _alternative(text: str, prefix: str) -> Alternative:
    links: list[tuple[str, Mapping[str, Any]]] = []
    opened: list[Open] = []
    for number, part in enumerate(recipe.split(text, r"\+")):
        name, colon, _ = part.partition(":")
        known = recipe.parameters(part) if colon else {}
        for key, value in list(known.items()):
            distribution = _distribution(f"{name}.{key}", value) if isinstance(value, str) else None
            if distribution is not None:
                own = f"{prefix}{name}.{key}"
                if any(one.name == own for one in opened):  # the same method twice in a chain
                    own = f"{prefix}{number + 1}.{name}.{key}"
                opened.append(Open(own, number, key, distribution))
        links.append((name, known))
    return Alternative(text, tuple(links), tuple(opened))


def _distribution(where: str, value: str) -> BaseDistribution | None:
    """What a value leaves open; None for one that is said."""
    if "|" in value:
        choices = [_parsed(part.strip()) for part in value.split("|")]
        if len(set(map(str, choices))) < len(choices) or "" in choices:
            raise PressbenchError(f"{where}={value}: the choices must differ, and none be empty")
        if any(isinstance(choice, list | dict) for choice in choices):
            raise PressbenchError(f"{where}={value}: a choice is a number, a word, true, false or null")
        return CategoricalDistribution(choices)
    if ".." not in value:
        return None
    found = _RANGE.fullmatch(value)
    if not found:
        raise PressbenchError(f"{where}={value}: a range is LOW..HIGH or LOW..HIGH/STEP, in numbers")
    low, high, step = map(_number, found.groups())
    assert low is not None and high is not None
    if not low < high or (step is not None and not 0 < step <= high - low):
        raise PressbenchError(f"{where}={value}: LOW must be below HIGH, and STEP between 0 and what lies between them")
    if isinstance(low, int) and isinstance(high, int) and isinstance(step or 1, int):
        by = int(step or 1)
        return IntDistribution(low, high - (high - low) % by, step=by)
    if step is not None:
        high = float(f"{low + math.floor((high - low) / step + 1e-9) * step:.12g}")
    return FloatDistribution(float(low), float(high), step=None if step is None else float(step))


def _number(text: str | None) -> float | int | None:
    """A whole number where it is written as one; None of nothing."""
    return None if text is None else int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return float(text) if re.fullmatch(_NUMBER, text) else text


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
