"""Speed: interleaved pairs against the dense model, replayed into pytest-benchmark."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.matrix.cases import Case
from benchmarks.measure.replay import CLOCK
from results.store.record import CaseRecord


@pytest.mark.speed
@pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")  # by a case that cannot run: its record says why
@pytest.mark.benchmark(timer=CLOCK.now)
def test_speed(case: Case, bench: Any, settle: Callable[[CaseRecord], None], benchmark: Any) -> None:
    if benchmark.disabled:
        # xdist or --benchmark-disable: cases would be timed beside each other, or the caller wants none.
        record = bench.session.unmeasured(case, "timing is disabled (--benchmark-disable, or pytest-xdist is active)")
    else:
        record = bench.speed(case)
        assert case.workload is not None
        if (samples := record.evidence.get("compressed_seconds")) and not bench.suspects.waits(case.id):
            benchmark.group = f"{case.model.name} {case.workload.name} on {case.hardware.name}"
            benchmark.name = case.compressor_id
            benchmark.extra_info |= {
                "case": case.id,
                "verdict": record.verdict,
                "dense_seconds": list(record.evidence["dense_seconds"]),
                **{name: dataclasses.asdict(m) for name, m in record.measures.items()},
            }
            CLOCK.load(samples)
            benchmark.pedantic(CLOCK.tick, rounds=len(samples), iterations=1, warmup_rounds=0)
    settle(record)
