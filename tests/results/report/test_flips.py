"""Examples that a method answers otherwise: counted, named and shown with their texts and pictures."""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import HOSTILE, LONG, method, store
from table_runs import case

from results.report.flips import TEXT, flips
from results.report.page import render
from results.report.picture import data_uri
from results.store.text import shown

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def test_flips_are_counted_by_what_they_did(folder: Path) -> None:
    run = store(folder, "one", method("int8", 2.0, 0.01, 0.3))
    kept = next(r for r in run.cases if r.measure == "accuracy").evidence
    lost = sum(
        d == t != p for d, p, t in zip(kept["dense_predictions"], kept["predictions"], kept["labels"], strict=True)
    )
    text = Page(render(run)).said()
    assert lost and f"{lost} lost, 0 gained, 2 wrong both times, of 200 examples" in text


def test_flipped_examples_are_shown_with_names_texts_and_pictures(folder: Path) -> None:
    page = Page(render(store(folder, "one", method("int8", 2.0, 0.01, 0.3))))
    assert "50 lost business business entertainment Document 50: shares rose again." in page.said()
    pictures = [str(a["src"]) for tag, a in page.elements if tag == "img"]
    assert pictures and all(source.startswith("data:image/png;base64,") for source in pictures)


def test_records_from_before_examples_were_kept_still_tell_their_flips(folder: Path) -> None:
    accuracy, *_ = method("int8", 2.0, 0.01, 0.3)
    evidence = {k: v for k, v in accuracy.evidence.items() if k not in ("flipped", "label_names")}
    text = Page(render(store(folder, "one", [replace(accuracy, evidence=evidence)]))).said()
    assert "6 lost, 0 gained" in text and "25 lost 0 0 1" in text and "what it is" not in text


def test_flips_that_a_record_does_not_hold_are_counted() -> None:
    accuracy, *_ = method("int8", 2.0, 0.01, 0.3)
    held = {"total": 8, "examples": [{"row": 150, "text": "the only one"}, {"row": 1, "text": "never flipped"}]}
    found = flips(replace(accuracy, evidence=accuracy.evidence | {"flipped": held}))
    assert found and [one.example for one in found.listed] == [150] and found.more == 7


def test_hostile_examples_are_cut_and_read_as_text() -> None:
    for text in HOSTILE:
        evidence = {
            "predictions": [1], "dense_predictions": [0], "labels": [0], "label_names": [text, text],
            "flipped": {"total": 1, "examples": [{"row": 0, "text": text + LONG, "image": [[text]]}]},
        }  # fmt: skip
        found = flips(case("int8", evidence=evidence))
        assert found
        (one,) = found.listed
        assert len(one.text) == TEXT and one.text.isprintable() and not one.image
        assert one.text.startswith(shown(text)[: TEXT - 1])


def pixels(uri: str) -> list[list[int]]:
    """A grey PNG of 8 bits without filters, read by the letter of its standard."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        content = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0]
        chunks[kind] = content
        at += 12 + length
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0] and chunks[b"IEND"] == b""
    lines = zlib.decompress(chunks[b"IDAT"])
    return [list(lines[y * (width + 1) + 1 : (y + 1) * (width + 1)]) for y in range(height)]


def test_a_picture_has_the_levels_of_the_record() -> None:
    levels = [[0, 255, 7], [128, 1, 254]]
    assert pixels(data_uri(levels)) == levels


@pytest.mark.parametrize(
    "rows",
    [None, 3, "data:image/svg+xml,<svg onload=alert(1)>", [], [[]], [[0], [0, 1]], [[256]], [[-1]], [[True]], [[0.5]],
     [["0"]], [None], {"0": [0]}, [[0] * 33], [[0]] * 33, [[10**400]]],
)  # fmt: skip
def test_what_is_no_picture_is_none(rows: object) -> None:
    assert data_uri(rows) == ""
