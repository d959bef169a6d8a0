"""The rules of pytest-benchmark and asv, decided by their own code, on samples that we took.

A round (pytest-benchmark) or sample (asv) is one slot of ours: many calls, of which the slot's seconds are the sum.
Not here: how they would have sampled themselves. pytest-benchmark would take rounds of one call for 1 s, one version
after the other; asv about ten samples of 10 ms from two processes.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import parse_compare_fail

from compressors.interface import PressbenchError

INSTALL = 'pip install -c constraints.txt -e ".[trust]"'
FIELDS = ("min", "mean", "median")
ASV_SAMPLES = 10
"""What asv takes by default: two processes of five samples."""


class Side:
    """One version's samples, with what each tool stores of them."""

    def __init__(self, samples: Sequence[float]) -> None:
        self.samples = list(samples)

    @functools.cached_property
    def pytest_benchmark(self) -> dict[str, float]:
        """The fields that can be compared, by pytest-benchmark's own Stats."""
        stats = Stats()
        for sample in self.samples:
            stats.update(sample)
        return {field: getattr(stats, field) for field in FIELDS}

    @functools.cached_property
    def asv(self) -> tuple[float, tuple[dict[str, Any], list[float]]]:
        """(the result, (its statistics, the samples)), by asv's own compute_stats."""
        result, stats = _asv().compute_stats(self.samples, 1)
        return result, (stats, self.samples)

    @functools.cached_property
    def first(self) -> Side:
        """As many samples as asv takes by default."""
        return Side(self.samples[:ASV_SAMPLES])


class Rival(Protocol):
    """A rule that looks at two sides and alarms or not."""

    @property
    def name(self) -> str:
        """As the page calls it."""

    @property
    def samples(self) -> int | None:
        """How many it looks at; None for all there are."""

    def alarms(self, old: Side, new: Side) -> bool:
        """Whether it calls `new` slower than `old`."""


@dataclass(frozen=True)
class CompareFail:
    """`--benchmark-compare-fail=FIELD:LIMIT`, such as "mean:5%"."""

    option: str
    samples: None = None

    @property
    def name(self) -> str:
        return f"pytest-benchmark `{self.option}`"

    def alarms(self, old: Side, new: Side) -> bool:
        return bool(_check(self.option).fails(new.pytest_benchmark, old.pytest_benchmark))


@functools.cache
def _check(option: str) -> Any:
    return parse_compare_fail(option)


@dataclass(frozen=True)
class Asv:
    """`asv compare --factor`: worse if the old result is better by the factor, and the samples differ (Mann-Whitney,
    p < 0.002; too few samples: 99 % intervals apart)."""

    factor: float
    samples: int | None = None

    @property
    def name(self) -> str:
        default = " (default)" if self.factor == _asv().default_factor() else ""
        return f"asv, factor {self.factor:g}{default}" + (f", {self.samples} samples" if self.samples else "")

    def alarms(self, old: Side, new: Side) -> bool:
        if self.samples:
            old, new = old.first, new.first
        (before, before_stats), (after, after_stats) = old.asv, new.asv
        return bool(_asv().is_better(before, after, before_stats, after_stats, self.factor))


class _AsvCode:
    """What we call of asv."""

    def __init__(self) -> None:
        try:
            from asv.commands import common_args, compare
            from asv_runner.statistics import compute_stats
        except ImportError as error:
            raise PressbenchError(f"the comparison with asv needs asv ({error}): {INSTALL}") from None
        self.is_better = compare._is_result_better
        self.compute_stats = compute_stats
        self._common_args = common_args

    def default_factor(self) -> float:
        """--factor's default in asv's own command line."""
        parser = argparse.ArgumentParser()
        self._common_args.add_compare(parser)
        return float(parser.get_default("factor"))


@functools.cache
def _asv() -> _AsvCode:
    return _AsvCode()


def rivals() -> list[Rival]:
    """All rules that are compared. asv at 1.05 is not its default, but has our margin."""
    found: list[Rival] = [CompareFail(f"{field}:{limit}%") for limit in (5, 10) for field in FIELDS]
    default = _asv().default_factor()
    return [*found, Asv(default), Asv(default, ASV_SAMPLES), Asv(1.05)]
