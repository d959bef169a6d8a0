"""What a worker says of its slots, against the parent's clock and the processors' time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from benchmarks.measure.outside import FEWEST, Account
from benchmarks.measure.worker import Worker


def account(claimed: float, waited: float, busy: float, after: float = 0.0, slots: int = 20, **more: Any) -> Account:
    numbers = {"claimed": claimed, "waited": waited, "busy": busy, "after": after}
    return Account(2, **{name: [value] * slots for name, value in numbers.items()}, **more)


def test_slots_that_add_up_have_no_fault() -> None:
    assert account(0.0060, 0.0065, 0.012, 0.008).faults() == []
    assert account(1.00, 1.02, 1.9, 0.3).faults() == []


def test_a_slow_clock_is_seen() -> None:
    (fault,) = account(0.005, 0.048, 0.09).faults()
    assert fault == "its own clock says 5 ms a slot where 48 ms went by outside"


def test_work_that_is_done_elsewhere_is_seen() -> None:
    (fault,) = account(0.02, 0.02, 0.001).faults()
    assert fault == "it used 1 ms of processor time in slots of 20 ms: its work is done elsewhere"


def test_work_that_goes_on_after_the_calls_is_seen() -> None:
    (fault,) = account(0.005, 0.0053, 0.005, after=0.2).faults()
    assert "200 ms of processor time after slots of 5.3 ms had ended" in fault


def test_a_gpu_has_no_processor_time_and_a_few_slots_say_nothing() -> None:
    assert account(0.02, 0.02, 0.0, cpu=False).faults() == []
    assert account(0.005, 0.048, 0.0, slots=FEWEST - 1).faults() == []


def test_one_slow_slot_is_no_fault() -> None:
    found = account(0.005, 0.0055, 0.01)
    found.waited[3] = 3.0
    found.busy[3] = 0.01
    assert not [fault for fault in found.faults() if "clock" in fault]


def spin(state: dict[str, Any], seconds: float) -> float:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass
    return time.process_time() - begun


def test_the_parent_sees_the_processor_time_of_a_worker() -> None:
    with Worker("spins") as worker:
        worker.call(spin, 0.0)  # what starting takes is not counted
        before = worker.processor_seconds()
        spent = worker.call(spin, 0.2)
        assert worker.processor_seconds() - before == pytest.approx(spent, abs=0.05)
