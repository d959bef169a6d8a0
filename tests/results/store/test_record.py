"""A record survives the file unchanged, and what is wrong with one is said in one line."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from results.store.record import SCHEMA, CaseRecord, Measure, RunEnd, RunHeader, SchemaError, from_json, to_line
from results.store.strict_json import ResultsError, decode

RUN = "20261121T221530Z-3f2a"


def payload(**changes: Any) -> dict[str, Any]:
    """A full case record as it stands in a file."""
    record: dict[str, Any] = {
        "kind": "case",
        "schema": 1,
        "run": RUN,
        "case": "int8-openvino-minilm-bbc-cpu-8x128",
        "measure": "speed",
        "compressor": "int8-openvino",
        "family": "quantization",
        "effect": "kernel",
        "role": "method",
        "parameters": {"bits": 8, "symmetric": True, "ratio": 0.5, "ignored": ["classifier"]},
        "model": "minilm",
        "task": "bbc",
        "hardware": "cpu",
        "hardware_class": "cpu-vnni",
        "workload": "8x128",
        "verdict": "pass",
        "reason": "",
        "measures": {
            "speedup": {
                "value": 2.61,
                "low": 2.55,
                "high": 2.7,
                "bound": 2.0,
                "verdict": "pass",
                "reason": "E = 412 at 24 pairs",
            }
        },
        "evidence": {"pairs": 24, "control": "openvino-fp32", "dense_seconds": [0.017, 0.018]},
        "seconds": {"compress": 74, "speed": 12.5},
        "recipe": ["int8-openvino"],
        "artifact": "9f86d081",
        "fingerprint": "60303ae2",
        "ended": "2026-11-21T22:16:04+00:00",
        "comparison": {"outcome": "unchanged", "against": "20261120T221530Z-0001"},
        "expected": {},
    }
    return record | changes


HEADER = RunHeader(run=RUN, started="2026-11-21T22:15:30+00:00", machine={"threads": 2}, expected=("a", "a"))
END = RunEnd(run=RUN, ended="2026-11-21T23:00:00+00:00", expected=2, executed=1, counts={"pass": 1})


def test_a_case_record_is_written_back_as_it_was_read() -> None:
    assert json.loads(to_line(from_json(payload()))) == payload()


@pytest.mark.parametrize("record", [HEADER, END], ids=["run", "end"])
def test_the_first_and_last_line_are_read_back_equal(record: RunHeader | RunEnd) -> None:
    assert from_json(decode(to_line(record))) == record


def test_keys_of_a_later_version_are_tolerated_and_kept() -> None:
    newer = payload(energy_joules=12.5)
    newer["measures"]["speedup"]["p_value"] = 0.01
    newer["measures"]["joules"] = {"value": 3}
    again = json.loads(to_line(from_json(newer)))
    assert again["energy_joules"] == 12.5
    assert again["measures"]["speedup"]["p_value"] == 0.01
    assert again["measures"]["joules"]["value"] == 3


def test_an_extra_key_cannot_shadow_a_known_one() -> None:
    header = RunHeader(run=RUN, started="", extra={"run": "other", "schema": 99})
    assert json.loads(to_line(header))["run"] == RUN
    assert json.loads(to_line(header))["schema"] == SCHEMA


def test_numbers_that_are_not_finite_become_null() -> None:
    record = CaseRecord.from_json(
        payload(measures={}, evidence={}),
    )
    inf, nan = float("inf"), float("nan")
    measures = {"speedup": Measure(value=nan, low=-inf, high=inf, bound=2.0)}
    line = to_line(
        CaseRecord(
            run=RUN,
            case=record.case,
            measure="speed",
            compressor="x",
            model="m",
            hardware="cpu",
            verdict="error",
            measures=measures,
            evidence={"samples": [1.0, nan, (inf,)]},
            parameters={"alpha": nan},
        )
    )
    assert b"NaN" not in line and b"Infinity" not in line
    stored = json.loads(line)
    assert [stored["measures"]["speedup"][key] for key in ("value", "low", "high", "bound")] == [
        None,
        None,
        None,
        2,
    ]
    assert stored["evidence"] == {"samples": [1.0, None, [None]]}
    assert stored["parameters"] == {"alpha": None}


def test_a_line_is_one_line_of_ascii_whatever_the_text() -> None:
    hostile = "a\nb\r\u2028\x1b[31m\ud800é"
    line = to_line(from_json(payload(reason=hostile)))
    assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"\n")
    assert from_json(decode(line)).reason == hostile  # type: ignore[union-attr]


def test_numbers_of_other_libraries_are_stored_and_other_objects_refused_by_key() -> None:
    record = from_json(payload(evidence={"share": Fraction(1, 4)}))
    assert json.loads(to_line(record))["evidence"] == {"share": 0.25}
    with pytest.raises(ResultsError, match=r"key 'evidence\.samples\[1\]': a set cannot be stored"):
        to_line(from_json(payload(evidence={"samples": [1, {2}]})))
    with pytest.raises(ResultsError, match=r"key 'evidence': its key 3 is not text"):
        to_line(from_json(payload(evidence={3: 1})))


def test_a_record_that_reading_would_refuse_is_not_written() -> None:
    wrong = CaseRecord(run=RUN, case="c", measure="speed", compressor="x", model="m", hardware="cpu", verdict="passed")
    with pytest.raises(ResultsError, match=r"key 'verdict': expected one of pass, fail, .*, found 'passed'"):
        to_line(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": "PASS"}, "key 'verdict': expected one of pass, .*found 'PASS'"),
        ({"measure": "energy"}, "key 'measure': expected one of accuracy, speed, footprint, time, found 'energy'"),
        ({"role": None}, "key 'role': expected text, found null"),
        ({"effect": "magic"}, "key 'effect': expected one of kernel, storage, simulated, found 'magic'"),
        ({"model": 3}, "key 'model': expected text, found 3"),
        ({"parameters": []}, "key 'parameters': expected an object, found a list"),
        ({"recipe": {}}, "key 'recipe': expected a list, found an object"),
        ({"seconds": {"compress": "74"}}, "key 'seconds.compress': expected a number or null, found '74'"),
        ({"measures": {"speedup": 2.6}}, "key 'measures.speedup': expected an object, found a number"),
        ({"measures": {"speedup": {"low": True}}}, "key 'measures.speedup.low': .*found true or false"),
        (
            {"measures": {"speedup": {"value": 10**400}}},
            "key 'measures.speedup.value': the number is too large",
        ),
        ({"schema": True}, "key 'schema': expected a whole number, found true or false"),
        ({"schema": -1}, "key 'schema': expected 0 or more, found -1"),
        ({"kind": "note"}, "key 'kind': expected one of run, case, end, found 'note'"),
        ({"reason": "\x1b[2J" * 3, "model": []}, "key 'model': expected text, found a list"),
    ],
)
def test_an_error_names_file_line_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=f"^r.jsonl line 7: {message}") as error:
        from_json(payload(**changes), "r.jsonl line 7")
    assert "\n" not in str(error.value) and str(error.value).isprintable()


@pytest.mark.parametrize("key", ["run", "case", "measure", "compressor", "role", "model", "hardware", "verdict"])
def test_a_missing_key_is_named(key: str) -> None:
    record = payload()
    del record[key]
    with pytest.raises(ResultsError, match=f"^r.jsonl line 7: key '{key}': missing$"):
        from_json(record, "r.jsonl line 7")


def test_a_newer_schema_is_refused_with_both_versions() -> None:
    with pytest.raises(SchemaError, match=r"line 2: schema 2 is newer than schema 1, .*upgrade"):
        from_json({"kind": "something new", "schema": 2}, "r.jsonl line 2")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": ' + b"1" * 5000 + b"}", "a number cannot be read"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b'{"a": ', "not JSON at column"),
        (b"[1]", "expected a JSON object, found a list"),
        (b"\0\0\0\0", "not JSON at column 1"),
    ],
)
def test_what_is_not_json_is_refused_in_one_line(line: bytes, message: str) -> None:
    with pytest.raises(ResultsError, match=message) as error:
        decode(line)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
