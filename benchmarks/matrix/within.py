"""`--within`: what any method may lose of quality in this run, where no target is tighter."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.zoo.model import Model
from compressors.interface import PressbenchError
from results.store.within import parse

_RELATIVE = "perplexity_rise"
"""The bound that is stated as a share, and not in points."""


def bounds_of_run(given: Iterable[str], models: Iterable[Model]) -> dict[str, float]:
    """Model -> what a method may lose, in the unit of its task's `bound`; models that no text is about are not in it.

    given: `1pt` or `5%`, one of each at most. Raises PressbenchError, one line, for any other, for one that no model
    is judged by, and for one that a model has too few examples for.
    """
    texts: dict[bool, tuple[str, float]] = {}
    for text in given:
        found = parse(text)
        if found is None:
            raise PressbenchError(
                f"--within {text}: not a bound; say 1pt, points of a score (above 0, below 100), or 5%, of perplexity"
            )
        points, bound = found
        if points in texts:
            raise PressbenchError(f"--within {text}: {texts[points][0]} is said too; one bound in points, one in %")
        texts[points] = text, bound
    chosen, known = {}, list(models)
    for model in known:
        quality = model.task.quality
        text, bound = texts.get(quality.bound != _RELATIVE, ("", 0.0))
        if not text:
            continue
        if reason := quality.resolves(model.task.test_examples, bound):
            raise PressbenchError(f"--within {text}: {model.name}: {reason}")
        chosen[model.name] = bound
    for points, (text, _) in texts.items():
        if not any((model.task.quality.bound != _RELATIVE) == points for model in known):
            lost, other = ("points", "perplexity, in %") if points else ("perplexity", f"{_named(known)}, in points")
            raise PressbenchError(f"--within {text}: no model of this run is judged by {lost}, but by {other}: say "
                                  f"--within {'5%' if points else '1pt'}")  # fmt: skip
    return chosen


def _named(models: Iterable[Model]) -> str:
    kinds = dict.fromkeys(model.task.quality.bound.partition("_")[0] for model in models)
    return " or ".join(kinds)
