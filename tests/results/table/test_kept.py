"""What a method left as it is stored stands in its row: an embedding in fp32 is no part of four bits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # tests/results/table_runs.py

from table_runs import case, terminal, three, write

from results.table.choice import Choice
from results.table.grid import grid
from results.table.kept import kept
from results.table.table import render

DENSE = {"embeddings": (400, 100), "layer.0": (1000, 250), "layer.1": (1000, 250), "classifier": (8, 2)}


def layers(**sizes: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {name: {"bytes": size, "parameters": count} for name, (size, count) in sizes.items()}


def evidence(**changes: Any) -> dict[str, Any]:
    return {"layers": layers(**DENSE | changes), "dense_layers": layers(**DENSE)}


QUARTER = {"layer.0": (250, 250), "layer.1": (250, 250)}


def test_the_share_is_of_weights_in_layers_of_as_many_bytes() -> None:
    found = kept(case("q", "footprint", role="method", evidence=evidence(**QUARTER)))
    assert found is not None and found.share == pytest.approx(102 / 602)
    assert found.layers == ("embeddings", "classifier")


@pytest.mark.parametrize(
    "what,changes",
    [
        ("a small classifier is nothing to speak of", QUARTER | {"embeddings": (100, 100)}),
        ("all is as it was", {}),
        ("it has other layers", {"layer.2": (250, 250)}),
        ("not numbers", {"layer.0": (float("nan"), 250)}),
    ],
)
def test_where_nothing_can_be_said_nothing_is(what: str, changes: dict[str, Any]) -> None:
    assert kept(case("q", "footprint", role="method", evidence=evidence(**changes))) is None, what


def test_controls_and_older_records_have_none() -> None:
    assert kept(case("c", "footprint", role="control", evidence=evidence(**QUARTER))) is None
    assert kept(case("q", "footprint", role="method", evidence={"layers": [1], "dense_layers": "x"})) is None
    assert kept(None) is None


@pytest.mark.parametrize("width", [60, 80, 100, 130])
@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_it_stands_at_the_size(tmp_path: Path, format: str, width: int) -> None:
    numbers = (0.9, 0.01, 0.0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3
    plain, partly = three("whole", *numbers, role="method"), three("blocks", *numbers, role="method")
    partly[2] = case("blocks", "footprint", role="method", measures=partly[2].measures, evidence=evidence(**QUARTER))
    run = write(tmp_path, [*plain, *partly])
    text = terminal(run, width) if format == "terminal" else render(run, format)
    assert text.count("17 % as before") == 1
    nothing = write(tmp_path / "nothing", plain)
    assert "before" not in (terminal(nothing, width) if format == "terminal" else render(nothing, format))


def test_the_layers_are_named_in_a_column_of_their_own(tmp_path: Path) -> None:
    numbers = (0.9, 0.01, 0.0, 0.02), (2.0, 1.9, 2.1, 1.2), 0.3
    records = three("blocks", *numbers, role="method")
    records[2] = case("blocks", "footprint", role="method", measures=records[2].measures, evidence=evidence(**QUARTER))
    (block,) = grid([write(tmp_path, records)], Choice(columns=("size", "kept"))).blocks
    assert "16.9%: embeddings, classifier" in str(block)
