"""What GitHub shows of a run: read back as GitHub reads it, by its escapes for commands and a Markdown parser."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

sys.path.append(str(Path(__file__).parents[1]))
from table_runs import RUN, case, nightly, write

from results.exchange.annotations import SHOWN, Place
from results.exchange.github import ISSUE_BYTES, SUMMARY_BYTES, issue, report, step_summary
from results.store.record import CaseRecord, Measure
from results.store.store import Run

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
HOSTILE = "x\n::error::planted\r%0A @someone #1 <script>alert(1)</script> </code> `a` ![i](http://a.example) | \x1b[31m"
COMMAND = re.compile(r"::(?P<level>\w+) (?P<properties>[^:]*)::(?P<message>.*)")


def regressed(name: str, reason: str = "speed-up 2, accepted 4: -50 %") -> CaseRecord:
    return case(
        name, "speed", verdict="fail", reason=f"regression: {reason}",
        measures={"speedup": Measure(value=2.0, low=1.9, high=2.1, bound=1.5, verdict="pass")},
        comparison={"outcome": "regression", "reason": reason, "before": 4.0, "now": 2.0},
    )  # fmt: skip


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """(level, properties, message) as the runner reads a line of output."""
    found = COMMAND.fullmatch(line)
    assert found, line
    properties = dict(part.split("=", 1) for part in found["properties"].split(","))
    return found["level"], {k: unescape(v) for k, v in properties.items()}, unescape(found["message"])


def unescape(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def told(run: Run, places: Mapping[tuple[str, str], Place] | None = None) -> list[tuple[str, dict[str, str], str]]:
    return [parsed(line) for line in report(run, [], places or {}, {"GITHUB_ACTIONS": "true"})]


class Page(HTMLParser):
    """Rendered Markdown: the tags in it, and its text in and out of code."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.code, self.prose = "", ""
        self.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [tag] if tag != "br" else []
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.code += data
        else:
            self.prose += data


def test_failing_cases_are_errors_and_undecided_ones_warnings(tmp_path: Path) -> None:
    run = write(tmp_path, nightly())
    place = Place("compressors/low_rank/svd.py", 31)
    svd = [record.case for record in run.cases if record.compressor == "svd-rank-64"]
    found = told(run, {("footprint", svd[2]): place})
    errors = {properties["title"] for level, properties, _ in found if level == "error"}
    assert errors == {
        "fail: accuracy of magnitude-0.9-minilm-bbc-cpu",
        "fail: footprint of svd-rank-64-minilm-bbc-cpu",
        "error: speed of fp8-dynamic-minilm-bbc-cpu-8x128",
    }
    warnings = [properties["title"] for level, properties, _ in found if level == "warning"]
    assert [title.partition(":")[0] for title in warnings] == ["inconclusive", "unqualified"]
    ((_, properties, message),) = [one for one in found if one[1]["title"].startswith("fail: footprint")]
    assert (properties["file"], properties["line"]) == (place.file, "31")
    reason, again = message.splitlines()
    assert reason == "size 0.302×, allowed 0.300×"
    assert again == (
        "to reproduce: pytest 'benchmarks/test_footprint.py::test_footprint[svd-rank-64-minilm-bbc-cpu]' --tier nightly"
    )


def test_regressions_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    cases = [case(f"bad-{number}", verdict="fail", reason="lost") for number in range(SHOWN)]
    found = told(write(tmp_path, [*cases, regressed("slower")]))
    assert len(found) == SHOWN
    assert found[0][1]["title"] == "fail: speed of slower-minilm-bbc-cpu-8x128"
    assert found[-1][2].startswith("2 more")


def test_a_declared_failure_is_no_annotation(tmp_path: Path) -> None:
    declared = case("known", verdict="fail", reason="lost", expected={"status": "expected"})
    expired = case("stale", verdict="fail", reason="lost", expected={"status": "expired"})
    run = write(tmp_path, [declared, expired])
    assert [properties["title"] for _, properties, _ in told(run)] == ["fail: accuracy of stale-minilm-bbc-cpu"]
    assert "known-minilm-bbc-cpu" in step_summary(run)


def test_hostile_text_begins_no_command_and_ends_no_value(tmp_path: Path) -> None:
    hostile = case(HOSTILE, case=f"{HOSTILE},line=9", verdict="fail", reason=HOSTILE)
    run = write(tmp_path, [hostile])
    lines = report(run, [], {("accuracy", hostile.case): Place("a,b:c%.py", 3)}, {"GITHUB_ACTIONS": "true"})
    assert all(character.isprintable() for line in lines for character in line)
    ((level, properties, message),) = map(parsed, lines)
    assert level == "error"
    assert {**properties, "title": ""} == {"file": "a,b:c%.py", "line": "3", "title": ""}
    assert "::error::planted" in properties["title"]
    assert message.count("\n") == 1
    assert "%0A @someone" in message


def test_nothing_is_told_where_nobody_asked(tmp_path: Path) -> None:
    assert report(write(tmp_path, nightly()), [], {}, {"GITHUB_ACTIONS": "false"}) == []


def test_the_summary_is_appended_and_says_what_to_act_on_first(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    changes = ["compared: 1 regression, 3 unchanged", "  regression: speed of slower: …", "  vanished: speed of gone"]
    run = write(tmp_path, [*nightly(), regressed("slower")])
    assert report(run, changes, {}, {"GITHUB_STEP_SUMMARY": str(file)}) == []
    text = file.read_text(encoding="utf-8")
    assert text.startswith("before\n## ✗ pressbench: 1 regression, 3 other failures, 2 not decided\n")
    page = Page(text)
    assert page.tags.count("table") == 2
    order = ["slower-minilm-bbc-cpu-8x128", "regression: speed-up 2", "magnitude-0.9", "vanished: speed of gone"]
    order += ["1,000 examples cannot decide it", "needs gptqmodel", "2.61× [2.55, 2.70] (≥ 2.00×)"]
    whole = re.sub(r"<[^>]*>", "", MarkdownIt("gfm-like", {"linkify": False}).render(text))
    assert "2.61× [2.55,\xa02.70] (≥\xa02.00×)" in whole  # broken before a bracket, nowhere else
    whole = whole.replace("\xa0", " ")
    found = [whole.find(part.replace('"', "&quot;")) for part in order]
    assert -1 not in found and found == sorted(found), dict(zip(order, found, strict=True))
    assert whole.count("regression: speed") == 1
    assert "✓ pass, ✗ fail, ! error, ? inconclusive, ~ unqualified, ○ unsupported, · measured" in whole


def test_a_summary_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "summary.md"
    (line,) = report(write(tmp_path, nightly()), [], {}, {"GITHUB_STEP_SUMMARY": str(path)})
    assert line == f"pressbench: {path}: the summary cannot be written: No such file or directory"


@pytest.mark.parametrize("written", [0, 400_000])
def test_a_summary_too_large_for_github_is_cut_at_lines_and_says_so(tmp_path: Path, written: int) -> None:
    cases = [case(f"m-{n}", verdict="fail", reason=f"lost {'much ' * 100}", case=f"m-{n}") for n in range(2500)]
    file = tmp_path / "summary.md"
    file.write_text("x" * written)
    report(write(tmp_path, cases), [], {}, {"GITHUB_STEP_SUMMARY": str(file)})
    size = file.stat().st_size
    assert 0.95 * SUMMARY_BYTES < size <= SUMMARY_BYTES < 2**20
    text = file.read_text(encoding="utf-8")[written:]
    named = text.count("to reproduce")
    (left,) = re.findall(r"Left out, since GitHub shows no more: ([\d,]+) items of lists", text)
    assert named + int(left.replace(",", "")) == len(cases)


def test_a_file_that_is_full_is_left_alone(tmp_path: Path) -> None:
    assert step_summary(write(tmp_path, nightly()), room=1500) == ""


def test_a_night_in_which_nothing_failed(tmp_path: Path) -> None:
    assert step_summary(write(tmp_path, [case("good")])).startswith("## ✓ pressbench: nothing failed\n")
    unjudged = write(tmp_path / "unjudged", [case("good", verdict="measured")])
    assert step_summary(unjudged).startswith("## · pressbench: nothing was judged\n")
    stopped = write(tmp_path / "stopped", [case("good")], end=False, expected=("a", "b"))
    text = step_summary(stopped)
    assert text.startswith("## ! pressbench: interrupted\n")
    assert "<code>a</code>" in text


def hostile_run(folder: Path) -> Run:
    names = {"case": HOSTILE, "model": HOSTILE, "task": HOSTILE, "hardware": HOSTILE, "workload": HOSTILE}
    records = [regressed(HOSTILE, HOSTILE), case(HOSTILE, verdict="inconclusive", reason=HOSTILE, **names)]
    return write(folder, records, expected=(HOSTILE,))


def test_hostile_text_is_text_in_the_summary(tmp_path: Path) -> None:
    page = Page(step_summary(hostile_run(tmp_path), [f"  vanished: speed of {HOSTILE}"]))
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(page.tags) <= {"h2", "h3", "p", "strong", "em", "ul", "li", "code", "br", *tables}
    assert page.links == []
    assert "<script>alert(1)</script>" in page.code + page.prose


def test_an_issue_mentions_nobody(tmp_path: Path) -> None:
    text = issue(hostile_run(tmp_path))
    assert text
    page = Page(text)
    assert "@someone #1" in page.code
    assert "@" not in page.prose and "#1" not in page.prose
    assert set(page.tags) <= {"p", "ul", "li", "strong", "code", "pre", "br"}


def test_an_issue_has_the_regressions_alone(tmp_path: Path) -> None:
    text = issue(write(tmp_path, [*nightly(), regressed("slower")]))
    assert text and text.startswith(f"1 regression in run <code>{RUN}</code>, confirmed by it.")
    assert "slower-minilm-bbc-cpu-8x128" in text
    assert "magnitude" not in text
    assert f"    pressbench accept {RUN} slower-minilm-bbc-cpu-8x128 --reason TEXT" in text.splitlines()
    many = issue(write(tmp_path / "many", [regressed(f"slower-{n}") for n in range(400)]))
    assert many and len(many) <= ISSUE_BYTES and "Left out" in many


def test_no_issue_without_a_regression(tmp_path: Path) -> None:
    assert issue(write(tmp_path, nightly())) is None


def test_what_else_is_amiss_is_said_at_the_top(tmp_path: Path) -> None:
    lines = step_summary(write(tmp_path, [case("good")]), notes=["required: 5 cases, executed 1"]).splitlines()
    assert lines[0] == "## ! pressbench: nothing failed"
    assert "**required: 5 cases, executed 1**" in lines
