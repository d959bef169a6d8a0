"""Nothing in a record becomes markup, and the page runs and fetches nothing but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from html_page import Page
from report_runs import HOSTILE, hostile, store, usual

from results.report.charts import Chart
from results.report.page import render
from results.report.safe import script_json

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(hostile(tmp_path_factory.mktemp("hostile")))


# -- nothing in a record is markup -----------------------------------------------------------------


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


# -- one file, no network --------------------------------------------------------------------------


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


def sections(page: str) -> Iterator[str]:
    yield from re.findall(r'<details class="case" id="([^"]+)"', page)


def test_every_link_has_its_target(hostile_page: str) -> None:
    page = Page(hostile_page)
    targets = {a["id"] for _, a in page.elements if "id" in a}
    assert {str(a["href"])[1:] for t, a in page.elements if t == "a"} <= targets
    assert len(set(sections(hostile_page))) == len(list(sections(hostile_page)))
