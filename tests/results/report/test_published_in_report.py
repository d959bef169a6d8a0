"""Published numbers on the page: in its table, in none of its plots, and text whatever they hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from report_runs import HOSTILE, store, usual

from results.report.page import render

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def page(folder: Path, *published: dict[str, object]) -> str:
    models = {"minilm": {"model": "org/minilm", "task": "text-classification", "published": list(published)}}
    return render(store(folder, "run1", usual(), extra={"models": models}))


def test_a_published_number_is_a_row_without_a_link_a_verdict_or_a_point(tmp_path: Path) -> None:
    found = page(tmp_path, {"method": "8 bits", "value": 0.9691, "source": "Doe 2023"})
    table, _, rest = found.partition("</tbody>")
    row = table[table.rindex("<tr>") :]
    assert "8 bits (published: Doe 2023)" in row and "96.9 %" in row and "not measured here" in row
    assert "<a " not in row and "verdict" not in row
    assert "8 bits" not in rest and "Doe" not in rest


def test_hostile_methods_and_sources_are_text(tmp_path: Path) -> None:
    found = page(tmp_path, *({"method": text, "value": 0.5, "source": text} for text in HOSTILE))
    assert found.count("(published: ") == len(HOSTILE)
    assert "<img src=x" not in found and "<script>document" not in found and "\u202eevil" not in found
    assert all(character == "\n" or character == "\t" or character.isprintable() for character in found)
