"""Of pairs of texts those that do not belong together are no matches."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.zoo.own.pairs import matches
from benchmarks.zoo.own.table import DataError, Table

COLUMNS = {"query": "sentence1", "document": "sentence2"}


def table(column: str, values: list[Any], names: tuple[str, ...] = ()) -> Table:
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", column: value} for n, value in enumerate(values)]
    return Table("pairs.csv", ["sentence1", "sentence2", column], rows, {column: names} if names else {})


@pytest.mark.parametrize(
    ("column", "values", "names"),
    [
        ("label", [1, 0, 1, 0], ()),
        ("Label", ["1", "0", "1.0", "0"], ()),
        ("score", [1.0, 0.0, 1.0, 0.0], ()),
        ("is_duplicate", [True, False, True, False], ()),
        ("label", ["entailment", "neutral", "Entailment", "contradiction"], ()),
        ("label", [0, 1, 0, 2], ("entailment", "neutral", "contradiction")),
        ("label", [1, 0, 1, 0], ("not_equivalent", "equivalent")),
        ("label", [1, 0, 1, 0], ("different", "same")),
    ],
)
def test_only_matches_are_kept_and_the_others_are_counted(column: str, values: list[Any], names: Any) -> None:
    kept, told = matches(table(column, values, names), COLUMNS)
    assert kept == [0, 2]
    assert told == (f"2 pairs with 0 in column {column!r} are no matches, and left out",)


def test_a_column_of_another_name_is_taken_where_it_is_named() -> None:
    found = table("gold", [0, 1])
    assert matches(found, COLUMNS) == ([0, 1], ())
    assert matches(found, {**COLUMNS, "match": "gold"})[0] == [1]


@pytest.mark.parametrize(
    ("values", "names"), [(["sport", "business"], ()), ([3, 4], ("a", "b", "c", "d", "e"))], ids=["words", "named"]
)
def test_a_topic_is_no_grade(values: list[Any], names: Any) -> None:
    assert matches(table("label", values, names), COLUMNS) == ([0, 1], ("column 'label' is not read",))


@pytest.mark.parametrize("values", [[1, 0.6], [5, 0], [1, None], [0, 1, 2], ["1", "sport"]])
def test_grades_are_refused(values: list[Any]) -> None:
    with pytest.raises(
        DataError, match=r"pairs.csv: row \d: column 'label' holds .*: whether two texts belong together"
    ):
        matches(table("label", values), COLUMNS)


def test_none_belongs_together() -> None:
    with pytest.raises(DataError, match="is 0 in all rows"):
        matches(table("label", [0, 0]), COLUMNS)
