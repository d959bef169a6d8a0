"""pytest-benchmark shows our samples, as measured, through its public interface alone."""

from __future__ import annotations

import json
import statistics

import pytest

from benchmarks.measure.replay import ReplayClock

pytest_plugins = ["pytester"]

SAMPLES = {"first": [0.25, 0.125, 1.5, 0.75], "second": [0.002, 0.001, 0.004]}

FILE = f"""
import pytest
from benchmarks.measure.replay import CLOCK

@pytest.mark.parametrize("name, samples", {SAMPLES!r}.items())
@pytest.mark.benchmark(timer=CLOCK.now)
def test_case(benchmark, name, samples):
    benchmark.group, benchmark.name = "model 8x128 on cpu", name
    benchmark.extra_info |= {{"verdict": "pass", "dense_seconds": [0.5]}}
    CLOCK.load([1e9])  # what an earlier case left must not be seen
    CLOCK.load(samples)
    benchmark.pedantic(CLOCK.tick, rounds=len(samples), iterations=1, warmup_rounds=0)
"""


def test_the_clock_moves_by_what_it_was_given_and_only_when_asked() -> None:
    clock = ReplayClock()
    clock.load([0.5, 0.25])
    times = []
    for _ in range(3):
        before = clock.now()
        clock.tick()
        times.append(clock.now() - before)
    assert times == [0.5, 0.25, 0.0]
    clock.load([3.0, 1.0])
    clock.tick()
    clock.load([0.125])
    before = clock.now()
    clock.tick()
    assert clock.now() - before == 0.125
    clock.tick()
    assert clock.now() - before == 0.125, "what was left of the three seconds' list came back"


@pytest.fixture
def output(pytester: pytest.Pytester) -> tuple[dict[str, dict], str]:
    """(benchmarks in the JSON by name, what the terminal showed)."""
    pytester.makepyfile(FILE)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--benchmark-json=out.json", "--benchmark-columns=min,max,rounds"
    )
    result.assert_outcomes(passed=2)
    found = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    return {b["name"]: b for b in found}, result.stdout.str()


def test_its_numbers_are_the_samples(output: tuple[dict[str, dict], str]) -> None:
    found, shown = output
    assert set(found) == set(SAMPLES)
    for name, samples in SAMPLES.items():
        stats = found[name]["stats"]
        assert stats["data"] == pytest.approx(samples, rel=1e-9)
        assert stats["rounds"] == len(samples)
        assert stats["iterations"] == 1
        assert (stats["min"], stats["max"]) == pytest.approx((min(samples), max(samples)), rel=1e-9)
        assert stats["median"] == pytest.approx(statistics.median(samples), rel=1e-9)
        assert found[name]["extra_info"] == {"verdict": "pass", "dense_seconds": [0.5]}
        assert found[name]["group"] == "model 8x128 on cpu"
    assert "benchmark 'model 8x128 on cpu': 2 tests" in shown
