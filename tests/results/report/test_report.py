"""The report as a file: what it says, that its numbers are right, and that nothing in a record becomes markup."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import HOSTILE, LONG, PRINT, hostile, method, samples, store, usual
from table_runs import case

from benchmarks.verdicts import SpeedTest
from benchmarks.verdicts.speed import PERIOD, Evidence, whole_sizes
from results.history.baseline import Accepted, Baseline
from results.report import evidence, pareto
from results.report.changes import changes
from results.report.charts import Chart
from results.report.flips import TEXT, flips
from results.report.layers import LISTED as LAYERS_LISTED
from results.report.layers import layers
from results.report.page import render
from results.report.picture import data_uri
from results.report.safe import script_json
from results.report.trends import charts, history
from results.report.write import before
from results.store.record import CaseRecord
from results.store.text import shown

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(hostile(tmp_path_factory.mktemp("hostile")))


# -- nothing in a record is markup ------------------------------------------------------------------


def test_a_hostile_run_adds_no_element_and_no_attribute(hostile_page: str, folder: Path) -> None:
    harmless = Page(render(store(folder, "one", usual())))
    page = Page(hostile_page)
    known = {(tag, *sorted(attributes)) for tag, attributes in harmless.elements}
    foreign = {(tag, *sorted(attributes)) for tag, attributes in page.elements} - known
    of_published = ("td", "class", "colspan", "data-label")
    assert foreign <= {("details",), ("details", "open"), ("pre",), ("strong", "class"), of_published}
    assert not {name for _, attributes in page.elements for name in attributes if name.startswith("on")}
    assert {a["href"] for t, a in page.elements if t == "a"} >= {"#case-1"}
    assert all((a["href"] or "").startswith("#") for t, a in page.elements if t == "a")
    assert len(page.raw["script"]) == 3 and len(page.raw["style"]) == 1


def test_hostile_text_is_shown_as_text(hostile_page: str) -> None:
    text = Page(hostile_page).said()
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[5], "\\u202eevil\\u2066\\u200b", "\\ud800lone", "\\x1b[31mred\\x07",
                 "two lines & <b>bold</b>", "日本語モデル"):  # fmt: skip
        assert name in text, name
    before_library = hostile_page[: hostile_page.index('<script type="module">')]
    assert all(character.isprintable() or character == "\n" for character in before_library)


def test_hostile_text_reaches_the_plots_whole_and_cannot_end_their_data(hostile_page: str) -> None:
    page = Page(hostile_page)
    names = {name for chart in page.data()["charts"].values() if chart["spec"] == "pareto"
             for name in chart["data"]["points"]["name"]}  # fmt: skip
    assert {HOSTILE[0], HOSTILE[1], "\\ud800lone"} <= names
    assert not set("<>&\u2028\u2029") & set(page.raw["script"][0])


def test_words_that_repeat_are_kept_once_and_all_else_as_it_is() -> None:
    columns = {"side": ["slow"] * 5 + ["fast"] * 5, "few": ["a", "b", "a", "b"], "n": [1.0] * 10, "odd": ["a", None]}
    data = Chart("s", "label", {"d": columns, "none": {"line": []}}).to_json()["data"]
    assert data["d"] == columns | {"side": {"words": ["slow", "fast"], "at": [0] * 5 + [1] * 5}}
    assert data["none"] == {"line": []}


def test_data_for_plots_survives_the_way_into_a_script() -> None:
    value = {"a": ["</script><!--", "\u2028&", float("nan"), 1.23456789, 7, True, None], "</script>": {"b": ()}}
    expected = {"a": ["</script><!--", " &", None, 1.2346, 7, True, None], "</script>": {"b": []}}
    assert json.loads(script_json(value)) == expected


# -- one file, no network ---------------------------------------------------------------------------


def test_the_policy_lets_only_the_pages_own_scripts_and_style_run(hostile_page: str) -> None:
    page = Page(hostile_page)
    (policy,) = (a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    parts = {name: set(values) for name, *values in (part.split() for part in str(policy).split(";"))}

    def hashes(contents: list[str]) -> set[str]:
        return {f"'sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}'" for c in contents}

    assert parts["default-src"] == {"'none'"}
    assert parts["script-src"] == hashes(page.raw["script"][1:])
    assert parts["style-src"] == hashes(page.raw["style"])
    assert parts["img-src"] == {"data:"}
    assert set(parts) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_nothing_in_the_page_is_fetched(hostile_page: str) -> None:
    page = Page(hostile_page)
    fetching = {"src", "srcset", "data", "action", "poster", "background", "ping", "manifest", "formaction"}
    assert not [(t, a) for t, a in page.elements if fetching & set(a) or t in ("link", "iframe", "object", "base")]
    assert "url(" not in page.raw["style"][0] and "@import" not in page.raw["style"][0]
    assert "http" not in json.dumps(page.data()["charts"])


def test_a_hundred_cases_of_two_hundred_pairs_stay_below_six_megabytes(folder: Path) -> None:
    records = [r for i in range(100) for r in method(f"m{i}", 1 + i / 50, i / 5000, 0.2 + i / 200, pairs=200)]
    flipped = {
        "predictions": [1] * 1000, "dense_predictions": [0] * 1000, "labels": [0] * 1000,
        "label_names": ["politics"] * 5,
        "flipped": {"total": 1000, "examples": [{"row": row, "text": "word " * 60} for row in range(40)]},
    }  # fmt: skip
    records = [replace(r, evidence=flipped) if r.measure == "accuracy" else r for r in records]
    page = render(store(folder, "big", records))
    assert len(Page(page).data()["charts"]) >= 300
    assert page.count("word " * 59) == 100 * 40
    assert len(page.encode()) < 6_000_000


# -- what it says -----------------------------------------------------------------------------------


def test_a_run_that_went_wrong_says_so_first_and_what_it_was_after_the_results(folder: Path) -> None:
    worse = {
        "outcome": "regression",
        "reason": "slower than the last 9 runs",
        "before": 3.2,
        "now": 2.6,
        "against": "x",
    }
    run = store(folder, "one", usual(int8=worse, distil={"outcome": "unchanged", "reason": ""}))
    page = render(run)
    first = Page(page[: page.index('<section aria-labelledby="results">')]).said()
    assert "1 failed, 1 regressed (which)" in first
    assert "Some CPU, 2 threads, 2026-11-10 22:15 UTC, run one" in first
    look = page[page.index('<section aria-labelledby="attention">') : page.index('<section aria-labelledby="cases">')]
    text = Page(look).said()
    assert "3.20× → 2.60× (−18.8 %)" in text and "slower than the last 9 runs" in text
    assert "drop 2.0 points, allowed 1.0" in text
    assert "1 result is as accepted" in Page(page).said()
    case = next(s for s in page.split('<details class="case"')[1:] if "<h3>int8</h3>" in s)
    anchor = re.match(r' id="([^"]+)"', case)
    assert anchor and f'<a href="#{anchor[1]}">int8-minilm-bbc-cpu-8x128</a>, speed' in look


def test_results_and_plots_come_first_and_what_is_accepted_last(folder: Path) -> None:
    worse = {"outcome": "regression", "reason": "slower"}
    page = Page(render(store(folder, "one", usual(int8=worse), extra={"models": {"minilm-bbc": {"model": "m"}}})))
    headings = [attributes["id"] for tag, attributes in page.elements if tag == "h2"]
    assert headings == ["results", "tradeoffs", "attention", "models", "cases", "time", "machine", "changes"]


def test_without_a_baseline_it_says_so_and_how_to_make_one(folder: Path) -> None:
    text = Page(render(store(folder, "one", usual()))).said()
    assert "nothing is accepted for this machine" in text and "pressbench accept one" in text
    assert "nothing regressed" not in text


def test_an_interrupted_run_does_not_read_as_a_good_one(folder: Path) -> None:
    records = [r for r in usual() if r.compressor == "int8"]
    page = render(store(folder, "one", records, end=False, expected=("int8-minilm-bbc-cpu", "gone", "lost")))
    text = Page(page).said()
    assert "The run was interrupted" in text and "Nothing failed" not in text and "gone" in text


def test_accepted_cases_that_did_not_run_are_told(folder: Path) -> None:
    run = store(folder, "one", usual())
    keys = {(r.measure, r.case): Accepted(run="zero", accepted="2026-11-01") for r in run.cases}
    known = Baseline(PRINT, {}, keys | {
        ("speed", case): Accepted(run="zero", accepted="2026-11-01")
        for case in ("gone-minilm-cpu-8x128", "int8-smollm2-bbc-cpu", "int8-minilm-cuda")
    })  # fmt: skip
    (group,) = changes(run, known).groups  # of another model, or on another device, nothing was to run
    assert (group.outcome, [c.case for c in group.changes]) == ("vanished", ["gone-minilm-cpu-8x128"])


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


# -- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "target", "tau"), [(2.0, 1.9, 0.0), (1.5, 1.6, 0.01), (2.0, 2.0, 0.02), (3.0, 1.2, 0.08)]
)
def test_the_evidence_drawn_is_the_evidence_that_decided(ratio: float, target: float, tau: float) -> None:
    kept = samples(ratio, 120, seed=round(100 * target))
    dense, compressed = kept["dense_seconds"], kept["compressed_seconds"]
    test = SpeedTest(target, alpha=0.01, tau=tau)
    for pair in zip(dense, compressed, strict=True):
        test.add(*pair)
    drawn = evidence.trace(dense, compressed, target, 0.01, tau)
    crossed = [n for n, e in enumerate(map(max, drawn.above, drawn.below), 1) if e >= np.log(100)]
    assert (crossed[0] if crossed else None) == test.decided_at
    for n in (PERIOD, 3 * PERIOD, 120):
        seen = Evidence.of(dense[:n], compressed[:n], whole_sizes(n))
        assert drawn.above[n - 1] == pytest.approx(seen.above(np.log(drawn.upper)), abs=1e-9)
        assert drawn.below[n - 1] == pytest.approx(seen.below(np.log(drawn.lower)), abs=1e-9)


def points(*pairs: tuple[float | None, float | None]) -> list[dict[str, Any]]:
    return [{"speed": a, "size": a, "accuracy": b, "drop": b} for a, b in pairs]


@pytest.mark.parametrize(("x", "y"), itertools.product(("speed", "size"), ("accuracy", "drop")))
def test_the_front_holds_what_nothing_beats(x: str, y: str) -> None:
    axes = {axis.name: axis for axis in (*pareto.ACROSS, *pareto.UP)}
    found = points((1, 5), (2, 5), (3, 3), (3, 4), (2, 2), (None, 9), (4, None), (4, 1), (4, 1), (1, 1))
    a, b = axes[x], axes[y]
    better = pareto.front(found, a, b)

    def beats(p: dict[str, Any], q: dict[str, Any]) -> bool:
        signs = (1 if a.more_is_better else -1), (1 if b.more_is_better else -1)
        gains = [s * (p[n] - q[n]) for s, n in zip(signs, (x, y), strict=True)]
        return min(gains) >= 0 and max(gains) > 0

    complete = [(i, p) for i, p in enumerate(found) if p[x] is not None and p[y] is not None]
    assert better == {i for i, p in complete if not any(beats(q, p) for _, q in complete)}


def test_a_history_is_drawn_by_machine_and_marks_what_was_accepted(folder: Path) -> None:
    runs = [store(folder, f"r{i}", method("int8", 2 + i / 10, 0.01, 0.3)) for i in range(3)]
    runs.append(store(folder, "r3", usual(int8={"outcome": "unchanged", "against": "r1"})))
    known = history(
        runs, Baseline(PRINT, {}, {("speed", runs[0].cases[1].case): Accepted(run="r2", accepted="2026-11-12")})
    )
    ((caption, chart),) = charts(known, "speed", runs[0].cases[1].case)
    drawn = chart.data["runs"]
    assert drawn["value"] == pytest.approx([2.0, 2.1, 2.2, 2.6]) and "4 runs" in caption
    assert [bool(why) for why in drawn["accepted"]] == [False, True, True, False]
    assert charts(history(runs[:1], None), "speed", runs[0].cases[1].case) == []
    on = ({"measured_on": {"examples": name}} for name in ("a", "a", "b", "b"))
    moved = [
        replace(run, cases=tuple(replace(case, evidence={**case.evidence, **what}) for case in run.cases))
        for run, what in zip(runs, on, strict=True)
    ]  # what was measured on other data is not on the line
    ((_, chart),) = charts(history(moved, None), "speed", runs[0].cases[1].case)
    assert chart.data["runs"]["value"] == pytest.approx([2.2, 2.6])


def test_the_runs_before_one_are_its_history(folder: Path) -> None:
    names = [f"2026110{i}T000000Z-aaaa" for i in range(1, 6)]
    runs = [store(folder, name, method("int8", 2.0, 0.01, 0.3)) for name in names]
    (folder / "20261103T120000Z-bbbb.jsonl").write_text("broken\n")
    assert [run.header.run for run in before(runs[3], 2)] == names[1:3]
    assert before(runs[0], 5) == []


def sections(page: str) -> Iterator[str]:
    yield from re.findall(r'<details class="case" id="([^"]+)"', page)


def test_every_link_has_its_target(hostile_page: str) -> None:
    page = Page(hostile_page)
    targets = {a["id"] for _, a in page.elements if "id" in a}
    assert {str(a["href"])[1:] for t, a in page.elements if t == "a"} <= targets
    assert len(set(sections(hostile_page))) == len(list(sections(hostile_page)))
