"""The report in a real browser: plots are drawn, clicks and keys work, and hostile records stay text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vl_convert", reason="needs the extra 'report'")
sys.path.append(str(Path(__file__).parents[1]))
from report_runs import HOSTILE, hostile, method, store, usual

from results.report.page import render

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.usefixtures("no_waiting_for_the_disk"),
]
MODELS = {
    "minilm": {
        "model": "org/minilm", "data": "reviews.csv", "task": "text-classification", "rows": {"reviews.csv": 8000},
        "hub": {"model": {"name": "org/minilm", "commit": "27dcfa74d334bc871f3234de431e71c6eeba5dd6"}},
        "published": [{"method": "half of the weights by magnitude", "value": 0.93, "source": "Doe and Roe 2023"}],
    }
}  # fmt: skip
POINT = '[data-kind="pareto"] path[aria-roledescription="point"]'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Visit:
    """A page that is open. complaints: errors, refusals of its policy, dialogs, and requests for anything else."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str = "light") -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("dialog", lambda dialog: self.complaints.append("dialog"))
        self.page.on("request", self._requested)
        self.url = file.as_uri()
        self.page.goto(self.url)
        self.page.wait_for_selector('[data-kind="pareto"].drawn svg')

    def _requested(self, request: Any) -> None:
        if request.url.partition("#")[0] != self.url:
            self.complaints.append(f"request: {request.url}")

    def drawn(self) -> None:
        """Wait until nothing that is open is left to draw."""
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('[data-chart]')]"
            ".every((e) => e.closest('details:not([open])') || e.querySelector('svg'))"
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    (folder / "runs").mkdir()
    runs = [store(folder / "runs", f"run{i}", usual()) for i in range(3)]
    found = {name: folder / f"{name}.html" for name in ("usual", "hostile", "declared", "crowded")}
    crowd = [r for i in range(12) for r in method(f"method-{i}", 2 + i / 100, 0.001 * (i % 3), 0.3 + i / 1000)]
    found["crowded"].write_text(render(store(folder / "crowd", "crowd", crowd)), encoding="utf-8")
    declared = store(folder / "runs", "run3", usual(), extra={"models": MODELS})
    found["declared"].write_text(render(declared), encoding="utf-8")
    found["usual"].write_text(render(runs[-1], runs[:-1]), encoding="utf-8")
    found["hostile"].write_text(render(hostile(folder / "hostile")), encoding="utf-8")
    return found


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Any]:
    opened: list[Visit] = []

    def open_(name: str, width: int = 1600, **more: Any) -> Visit:
        opened.append(Visit(browser, files[name], width, **more))
        return opened[-1]

    yield open_
    for one in opened:
        one.context.close()


def test_every_plot_is_drawn_without_a_complaint_or_a_request(visit: Any) -> None:
    usual = visit("usual")
    usual.page.click('[data-open="all"]')
    usual.drawn()
    # Of the run, of its time; of five cases seconds, ratios and three histories each; evidence and layers of four.
    assert usual.page.locator("[data-chart] svg").count() == 1 + 1 + 5 * 5 + 4 + 4
    assert usual.page.locator(POINT).count() == 5
    assert usual.complaints == []


def test_a_click_on_a_point_opens_its_case(visit: Any) -> None:
    page = visit("usual").page
    page.locator(POINT).nth(2).click()
    opened = page.locator("details.case[open]")
    assert opened.count() == 1
    assert opened.locator("h3").first.inner_text() == "int8"
    assert page.evaluate("location.hash") == f"#{opened.get_attribute('id')}"
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_a_case_is_reached_and_opened_by_keyboard_alone(visit: Any) -> None:
    page = visit("usual").page
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('table') && document.activeElement.textContent") == "distil":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("details.case[open]")
    assert page.locator("details.case[open] h3").first.inner_text() == "distil"
    page.keyboard.press("Enter")  # the focus is on it, so the same key closes it
    page.wait_for_selector("details.case[open]", state="detached")


def test_the_reader_picks_the_axes(visit: Any) -> None:
    page = visit("usual").page
    plot = page.locator('[data-kind="pareto"]')
    assert "speed-up over dense" in plot.inner_text()
    page.select_option("#axis-across", "memory")
    page.select_option("#axis-up", "accuracy")
    page.wait_for_function("() => document.querySelector('[data-kind=\"pareto\"]').textContent.includes('MiB')")
    page.wait_for_function("() => document.querySelector('[data-kind=\"pareto\"]').textContent.includes('accuracy, %')")


def test_hover_says_what_a_point_is(visit: Any) -> None:
    page = visit("usual").page
    page.locator(POINT).nth(2).hover()
    text = page.locator("#tip").inner_text()
    for part in ("int8", "quantization", "2.60× [2.47, 2.73]", "+0.3 [−0.1, +0.7]", "bits = 8", "pass"):
        assert part in text, part


def hidden(page: Any) -> list[str]:
    """The names that stand over a point or over another name."""
    found: list[str] = page.evaluate(
        f"""() => {{
            const box = (e) => e.getBoundingClientRect();
            const names = [...document.querySelectorAll(".names text")];
            const others = [...document.querySelectorAll('{POINT}')].concat(names);
            const over = (a, b) => a.left < b.right && a.right > b.left && a.top < b.bottom && a.bottom > b.top;
            return names.filter((name) => others.some((other) => other !== name && over(box(name), box(other))))
                .map((name) => name.textContent);
        }}"""
    )
    return found


@pytest.mark.parametrize("width", [400, 1600])
def test_where_points_crowd_no_name_hides_anything_and_each_is_told_by_keyboard(visit: Any, width: int) -> None:
    page = visit("crowded", width).page
    assert hidden(page) == []
    assert 0 < page.locator(".names text").count() < 12 or width > 1000
    told = set()
    for point in page.locator(POINT).all():
        point.focus()
        told.add(page.locator("#tip dd").first.inner_text())
    assert told == {f"method-{i}" for i in range(12)}


@pytest.mark.parametrize("width", [400, 1600])
def test_every_point_has_its_name_beside_it_or_tells_it_by_keyboard(visit: Any, width: int) -> None:
    opened = visit("usual", width)
    page = opened.page
    named = set(page.locator(".names text").all_text_contents())
    assert named <= {"dense", "openvino-fp32", "int8", "distil", "prune"}
    assert named == {"dense", "openvino-fp32", "int8", "distil", "prune"} or width < 1000
    assert not hidden(page)
    for point in page.locator(POINT).all():
        said = str(point.get_attribute("aria-label"))
        point.focus()
        tip = page.locator("#tip").inner_text()
        name = said.partition(",")[0]
        assert name in tip and "speed-up over dense" in said and "[" in said and "drop" in said
    assert said.startswith("prune, bits = 8, speed-up over dense 1.20× [1.14, 1.26], drop +2.0 [+1.6, +2.4]")
    page.keyboard.press("Enter")
    assert page.locator("details.case[open] h3").first.inner_text() == "prune"
    assert opened.complaints == []


def test_names_follow_the_plot(visit: Any) -> None:
    page = visit("usual", 1600).page
    apart = (
        "() => { const at = (e) => e.getBoundingClientRect();"
        f" const points = [...document.querySelectorAll('{POINT}')];"
        " return Math.max(...[...document.querySelectorAll('.names text')].map((t) => Math.min("
        "...points.map((p) => Math.abs(at(p).left - at(t).left) - at(t).width)))); }"
    )
    before = page.evaluate(apart)
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_timeout(1000)
    assert before < 20 and page.evaluate(apart) < 20


@pytest.mark.parametrize("width", [360, 1000, 1249, 1600])
def test_published_numbers_are_in_the_table_and_in_no_plot(visit: Any, width: int) -> None:
    declared = visit("declared", width)
    page = declared.page
    row = page.locator("table.results tr", has_text="published: Doe and Roe")
    assert row.locator("td").first.inner_text() == "93.0 %" and row.locator("a").count() == 0
    assert page.locator(POINT).count() == 5 and page.locator("#models").is_visible()
    cut = "() => [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
    assert page.evaluate(cut) == 0 and page.evaluate("document.documentElement.scrollWidth") <= width
    assert declared.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_is_wider_than_the_window(visit: Any, width: int, scheme: str) -> None:
    usual = visit("usual", width, scheme=scheme)
    usual.page.click('[data-open="all"]')
    usual.drawn()
    assert usual.page.evaluate("document.documentElement.scrollWidth") <= width
    wide = usual.page.evaluate(
        "() => [...document.querySelectorAll('[data-chart] svg')].filter((e) => e.getBoundingClientRect().right >"
        " document.documentElement.clientWidth + 1).length"
    )
    assert wide == 0
    cut = usual.page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth).length"
    )
    assert cut == 0


def test_paper_shows_a_table_the_open_cases_and_what_was_not_decided_and_no_buttons(visit: Any) -> None:
    opened = visit("usual", 794, scheme="dark")  # A4 at 96 pixels an inch
    page = opened.page
    page.click("details.case:nth-of-type(3) > summary")
    opened.drawn()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.results')).display") == "table"
    assert page.locator(".results thead").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details.case:nth-of-type(3) [data-chart] svg").first.is_visible()
    assert page.locator("details.case:nth-of-type(4) h4").first.is_hidden()
    assert page.locator("details.told li").first.is_visible()
    for control in ("nav", "select", "button"):
        assert page.locator(control).first.is_hidden(), control
    assert page.evaluate("document.documentElement.scrollWidth") <= 794


def test_pictures_of_flipped_examples_are_seen_and_their_texts_are_read(visit: Any) -> None:
    usual = visit("usual", 360)
    usual.page.click('[data-open="all"]')
    flips = usual.page.locator("details.case", has_text="int8").locator("details", has=usual.page.locator(".flips"))
    flips.first.evaluate("(e) => (e.open = true)")
    picture = flips.first.locator("img").first
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("(e) => [e.complete, e.naturalWidth, e.naturalHeight]") == [True, 8, 8]
    assert "Document 50: shares rose again." in flips.first.inner_text()
    assert usual.complaints == []


def test_hostile_records_do_nothing_and_read_as_text(visit: Any) -> None:
    opened = visit("hostile", 360)
    page = opened.page
    page.click('[data-open="all"]')
    opened.drawn()
    first = page.locator(POINT).first
    first.scroll_into_view_if_needed()
    first.hover()
    assert page.locator("#tip script, #tip img, #tip b, #tip svg").count() == 0
    first.click()
    assert page.title() == "pressbench: run hostile"
    assert page.locator("main script, main img, main b, main style").count() == 0
    text = page.locator("body").inner_text()
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[5], "日本語モデル"):
        assert name in text, name
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert opened.complaints == []
