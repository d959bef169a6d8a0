"""Sizes by layer stand beside the dense model's, and none is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import method, store
from table_runs import case

from results.report.layers import LISTED as LAYERS_LISTED
from results.report.layers import layers
from results.report.page import render
from results.store.record import CaseRecord

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def footprint(**evidence: Any) -> CaseRecord:
    return case("int8", "footprint", evidence=evidence)


def test_sizes_by_layer_stand_beside_the_dense_models_in_the_order_of_the_model(folder: Path) -> None:
    text = Page(render(store(folder, "one", method("int8", 2.0, 0.01, 0.25)))).said()
    rows = ("bert.embeddings 45.5 MiB 11.4 MiB 0.250× 11,917,824 11,917,824", "bert.encoder.layer.5 6.77 MiB 1.69 MiB",
            "bert.pooler 578 KiB 144 KiB 0.250×", "classifier 7.52 KiB", "all 86.6 MiB 21.7 MiB 0.250×")  # fmt: skip
    places = [text.find(row) for row in rows]
    assert -1 not in places and places == sorted(places), dict(zip(rows, places, strict=True))


def test_layers_that_one_of_both_lacks_and_layers_beyond_the_list_are_not_lost() -> None:
    one = {"bytes": 2**20, "parameters": 10}
    found = layers(footprint(dense_layers={f"m.layers.{i}": one for i in range(100)}, layers={"m.layers.3": one}))
    assert found and len(found.rows) == LAYERS_LISTED + 2
    assert found.rows[3] == ("m.layers.3", "1.00 MiB", "1.00 MiB", "1.000×", "10", "10")
    assert found.rows[-2] == ("the others", "40.0 MiB", "0 B", "0.000×", "400", "0")
    assert found.rows[-1] == ("all", "100 MiB", "1.00 MiB", "0.010×", "1,000", "10")


@pytest.mark.parametrize(
    "odd", [None, 3, [], {"a": 1}, {"a": {"bytes": "1"}}, {"a": {"bytes": -1}}, {"a": {"bytes": 10**400}}]
)
def test_layers_of_another_form_are_none(odd: object) -> None:
    good = {"a": {"bytes": 1, "parameters": 1}}
    assert layers(footprint(layers=odd, dense_layers=good)) is None
    assert layers(footprint(layers=good, dense_layers=odd)) is None
    assert layers(footprint(layers=good, dense_layers=good)) is not None
