"""A command made from a record measures the same again: the options that decide it are kept and said."""

from __future__ import annotations

from typing import Any

import pytest

from results.exchange.reproduction import command as of_exchange
from results.report.reproduce import command as of_report
from results.store.given import KEPT, words
from results.store.record import CaseRecord, RunHeader


def header(**options: Any) -> RunHeader:
    return RunHeader(run="r", started="", options={name.replace("_", "-"): value for name, value in options.items()})


def test_a_model_by_options_is_named_with_its_data_and_bound() -> None:
    given = header(model=["./my model"], data="a.csv", test_data="b.csv", set=["name=mine"], within=["1pt"],
                   allow_pickle=True, tier="nightly", seed=0, tau=None, task=None, zoo=None)  # fmt: skip
    assert words(given) == [
        "--model", "./my model", "--set", "name=mine", "--within", "1pt", "--allow-pickle", "--data", "a.csv",
        "--test-data", "b.csv", "--tier", "nightly",
    ]  # fmt: skip
    record = CaseRecord(run="r", case="int8-mine-cpu", measure="accuracy", compressor="int8", model="mine",
                        hardware="cpu", verdict="pass")  # fmt: skip
    for command in (of_exchange(given, [record]), of_report(given, record)):
        assert command.startswith("pytest 'benchmarks/test_accuracy.py::test_accuracy[int8-mine-cpu]' --model ")
        assert "--model './my model' --set name=mine --within 1pt --allow-pickle --data a.csv" in command


@pytest.mark.parametrize("name", [name for name in KEPT if name != "allow-pickle"])
@pytest.mark.parametrize("value", [None, True, {"a": 1}, float("nan"), [1, None]])
def test_what_is_no_option_is_left_out(name: str, value: Any) -> None:
    assert words(RunHeader(run="r", started="", options={name: value})) == []
