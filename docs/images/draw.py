"""Draws the pictures of the README from a report that `pressbench report` wrote, by a Chromium on this machine:

    python docs/images/draw.py results/report.html report docs/images/report.png
    python docs/images/draw.py results/report.html curve docs/images/curve.png

`report` is the top of the page, `curve` its plot of quality against size.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTH = 1500


def top(page: Page, target: str) -> None:
    """The beginning of the page, as it opens."""
    page.screenshot(path=target, clip={"x": 0, "y": 0, "width": WIDTH, "height": 1000})


def curve(page: Page, target: str) -> None:
    """The first plot, with size across."""
    page.select_option("#axis-across", "size")
    page.wait_for_timeout(1000)
    plot = page.query_selector("[data-kind='pareto']")
    assert plot is not None, "the report has no plot"
    plot.scroll_into_view_if_needed()
    plot.screenshot(path=target)


def main() -> None:
    report, what, target = sys.argv[1:4]
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
        page.goto(Path(report).resolve().as_uri())
        page.wait_for_timeout(1500)
        {"report": top, "curve": curve}[what](page, target)
        browser.close()


if __name__ == "__main__":
    main()
