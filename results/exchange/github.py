"""A run where people on GitHub look: the summary of the job, annotations, the text of an issue.

Summary and issue are Markdown with what a person acts on first. Both have a largest size, beyond which GitHub shows
nothing at all: whole lines are left out then, and counted. All that comes from records is escaped, and in an issue it
stands in code, where GitHub sees neither a mention of a person nor a reference.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from results.exchange.annotations import Place, lines_for
from results.store.declared import Declared, declared
from results.store.quality import words_of
from results.store.record import MEASURE_NAMES, VERDICTS, CaseRecord
from results.store.reproduction import command
from results.store.store import Run
from results.store.tally import latest
from results.store.text import clipped, markdown, shown
from results.table.cells import SYMBOLS, cells, circumstances, headline, made_from, references, title
from results.table.choice import ALL, sections_of
from results.table.rows import PROBLEMS, PUBLISHED, Row, Summary, judged, reference_of, summary

SUMMARY_BYTES = 1_000_000
"""What one step may add to its summary: GitHub's limit is 1 MiB."""
ISSUE_BYTES = 60_000
"""GitHub's limit is 65,536 characters."""
_RESERVE = 2000
"""Bytes kept for saying what was left out."""
_NAME, _REASON, _COMMAND, _MODEL = 200, 600, 1500, 1500
"""Characters of a name, of a reason, of a command and of what is said of a model that are shown."""
_LONG_LIST = 12
"""Longer lists are folded."""
_HEADINGS = (  # with `{value}`, `{lost}` and `{reference}` for what quality and dense model are called
    "compressor",
    "{value}",
    "{lost} (+ is loss)",
    "speed-up over {reference}",
    "over the best control",
    "size over dense",
    "memory",
    "{value}, speed, size",
)


def report(
    run: Run,
    changes: Sequence[str],
    places: Mapping[tuple[str, str], Place],
    environment: Mapping[str, str],
    notes: Sequence[str] = (),
) -> list[str]:
    """Append the summary to the file that `GITHUB_STEP_SUMMARY` names, and give the lines that are to be printed:
    annotations where `GITHUB_ACTIONS` is true, one where the file cannot be written; nothing elsewhere.

    changes: what changed since the baseline, a line each. places: (measure, case) -> where it is shown. notes: what
    else is amiss with the run, a line each.
    """
    lines = []
    if environment.get("GITHUB_ACTIONS") == "true":
        lines = lines_for(run.header, failing(run), undecided(run), places)
    if path := environment.get("GITHUB_STEP_SUMMARY"):
        try:
            _append(Path(path), run, changes, notes)
        except OSError as error:
            lines.append(f"pressbench: {shown(path)}: the summary cannot be written: {error.strerror}")
    return lines


def _append(path: Path, run: Run, changes: Sequence[str], notes: Sequence[str]) -> None:
    before = path.stat().st_size if path.exists() else 0
    with path.open("ab") as file:  # earlier commands of the same step may have written to it
        file.write(step_summary(run, changes, notes, SUMMARY_BYTES - before).encode())


def failing(run: Run) -> list[CaseRecord]:
    """What fails the run, regressions first: failures that are not excused, and errors."""
    found = [r for r in latest(run.cases) if r.verdict in ("fail", "error") and r.expected.get("status") != "expected"]
    return sorted(found, key=lambda r: (not _regressed(r), PROBLEMS.index(r.verdict)))


def undecided(run: Run) -> list[CaseRecord]:
    """What is neither a pass nor a failure."""
    return [record for record in latest(run.cases) if record.verdict in ("inconclusive", "unqualified")]


def regressions(run: Run) -> list[CaseRecord]:
    """What became worse than the accepted baseline, and was confirmed by the run itself."""
    return [record for record in latest(run.cases) if _regressed(record)]


def step_summary(run: Run, changes: Sequence[str] = (), notes: Sequence[str] = (), room: int = SUMMARY_BYTES) -> str:
    """The Markdown of a run, of at most `room` bytes; empty where not even a few lines fit."""
    page, what = _Page(room), summary(run)
    page.add(f"## {_state(run, what, notes)}", f"**{_text(headline(what))}**")
    page.add(*(f"**{_text(note)}**" for note in notes), _text(circumstances(run.header)))
    page.section("Failing", [_bullet(r, run) for r in failing(run)])
    told = [line.strip() for line in changes if not line.startswith("  regression:")]  # those stand above
    page.section("Since the baseline", [f"- {_text(line)}" for line in told])
    page.section("Not decided", [_bullet(r) for r in undecided(run)])
    told_above = {(r.case, r.measure, r.workload) for r in (*failing(run), *undecided(run))}
    rest = [r for r in what.problems if (r.case, r.measure, r.workload) not in told_above]
    page.section("Excused or unsupported", [_bullet(r) for r in rest])
    page.section("Not executed", [f"- {_code(case)}" for case in what.missing])
    page.section("About the file", [f"- {_text(note)}" for note in what.notes])
    for group in (section.rows for section in sections_of(run, ALL)):
        page.add(f"### {_text(title(group))}", _text(references(group)))
        if made := made_from(run.header, group):
            page.add(_text(made))
        words = words_of(judged(group, "accuracy"))
        names = {"value": words.value, "lost": words.lost(), "reference": reference_of(group)}
        headings = [heading.format(**names) for heading in _HEADINGS]
        page.table(headings, [_cells(row) for row in group])
    page.section("Declared models", [_model(model) for model in declared(run.header).values() if model.facts])
    if legend := _legend(what):
        page.add(_text(legend))
    return page.text()


def issue(run: Run) -> str | None:
    """The Markdown of an issue on what regressed, of at most `ISSUE_BYTES`; None where nothing did."""
    found = regressions(run)
    if not found:
        return None
    page = _Page(ISSUE_BYTES)
    page.add(f"{_count(len(found), 'regression')} in run {_code(run.header.run)}, confirmed by it.")
    page.add(_code(circumstances(run.header), _REASON))
    page.section("", [_bullet(record, run, as_code=True) for record in found])
    return page.text(
        "Where the change is meant, with the records of the run at hand (they are with the workflow's artifacts):",
        f"    pressbench accept {_word(run.header.run, 'RUN')} {_word(found[0].case, 'CASE')} --reason TEXT",
    )


class _Page:
    """Markdown in blocks, of whole lines only: what does not fit into `room` bytes is counted and told."""

    def __init__(self, room: int) -> None:
        self._room = room - _RESERVE
        self._blocks: list[str] = []
        self._left_out: Counter[str] = Counter()

    def add(self, *blocks: str) -> None:
        """Add short blocks."""
        for block in blocks:
            if self._take(block, 2):
                self._blocks.append(block)

    def section(self, heading: str, items: Sequence[str]) -> None:
        """Add a list under a heading, folded where it is long; nothing where it is empty."""
        folded = len(items) > _LONG_LIST and heading != "Failing" and bool(heading)
        before, after = (f"### {heading}", "") if heading else ("", "")
        if folded:
            before = f"<details><summary>{heading}: {len(items)}</summary>"
            after = "</details>"
        if items and self._take(before + after, 6):
            lines = self._fitting(items, "items of lists")
            self._blocks += [block for block in (before, "\n".join(lines), after) if block]

    def table(self, headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
        """Add a table with the rows that fit."""
        top = "\n".join((_pipes(headings), _pipes("---" for _ in headings)))
        if self._take(top, 2):
            kept = self._fitting([_pipes(line) for line in lines], "rows of tables")
            self._blocks.append("\n".join((top, *kept)))
        else:
            self._left_out["rows of tables"] += len(lines)

    def text(self, *last: str) -> str:
        """All of it, with `last` at the end: a few short blocks, for which there is always room."""
        if not self._blocks:
            return ""
        if self._left_out:
            what = " and ".join(f"{number:,} {kind}" for kind, number in self._left_out.items())
            self._blocks.append(f"*Left out, since GitHub shows no more: {what}. The records have all of it.*")
        return "\n\n".join([*self._blocks, *last]) + "\n"

    def _fitting(self, lines: Sequence[str], kind: str) -> list[str]:
        for number, line in enumerate(lines):
            if not self._take(line, 1):
                self._left_out[kind] += len(lines) - number
                return list(lines[:number])
        return list(lines)

    def _take(self, text: str, breaks: int) -> bool:
        size = len(text.encode()) + breaks
        if size > self._room:
            return False
        self._room -= size
        return True


def _regressed(record: CaseRecord) -> bool:
    return record.comparison.get("outcome") == "regression"


def _state(run: Run, what: Summary, notes: Sequence[str]) -> str:
    """The outcome of a run in one line."""
    failed = failing(run)
    worse = sum(map(_regressed, failed))
    parts = [_count(worse, "regression")] if worse else []
    if rest := len(failed) - worse:
        parts.append(_count(rest, "other failure" if worse else "failure"))
    if what.interrupted:
        parts.insert(0, "interrupted")
    if open_ := len(undecided(run)):
        parts.append(f"{open_} not decided")
    amiss = what.interrupted or what.missing or notes
    judged = bool(what.counts.get("pass"))
    mark = "✗" if failed else "!" if amiss else "?" if open_ else "✓" if judged else "·"
    return f"{mark} pressbench: {', '.join(parts) or ('nothing failed' if judged or amiss else 'nothing was judged')}"


def _bullet(record: CaseRecord, run: Run | None = None, as_code: bool = False) -> str:
    """An item of a list: what, why, and with a run how to see it again."""
    reason = record.reason or "no reason was recorded"
    why = _code(reason, _REASON) if as_code else _text(reason)
    line = (
        f"- {markdown(SYMBOLS[record.verdict])} **{record.verdict}**, {record.measure} of {_code(record.case)}: {why}"
    )
    if run is None:
        return line
    again = command(run.header, [record])
    return f"{line}<br>to reproduce: {_code(again, _COMMAND)}" if len(again) <= _COMMAND else line


def _model(model: Declared) -> str:
    """An item of a list: what a declared model was made from."""
    said = [*(f"{what}: {text}" for what, text in model.facts), *(f"note: {note}" for note in model.notes)]
    return f"- {_code(model.name)}: {markdown(clipped('; '.join(said), _MODEL))}"


def _cells(row: Row) -> list[str]:
    cell = cells(row)

    def bounded(number: str, measure: str) -> str:
        return _whole(f"{number} ({cell.bounds[measure]})" if cell.bounds[measure] else number)

    role = "" if row.first.role in ("method", PUBLISHED, row.label) else f" ({row.first.role})"
    name = f"{clipped(row.label, _NAME)}{f', {clipped(row.workload, _NAME)}' if row.workload else ''}{role}"
    verdicts = (row.verdict(measure) for measure in MEASURE_NAMES)
    return [
        markdown(name),
        _whole(cell.accuracy),
        bounded(cell.drop, "accuracy"),
        bounded(cell.speedup, "speed"),
        _whole(cell.over_control),
        bounded(cell.size, "footprint"),
        _whole(cell.memory),
        _whole(" ".join(SYMBOLS[word] if word else "–" for word in verdicts)),
    ]


def _whole(numbers: str) -> str:
    """A cell of numbers that is broken before a bracket only, not within an interval or before a unit."""
    return re.sub(r" (?![\\(])", "&nbsp;", markdown(numbers))


def _legend(what: Summary) -> str:
    """What the symbols of verdicts in the tables mean, of those that occur."""
    return ", ".join(f"{SYMBOLS[word]} {word}" for word in VERDICTS if what.counts.get(word))


def _pipes(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |"


def _text(text: str) -> str:
    return markdown(clipped(text, _REASON))


def _code(text: str, most: int = _NAME) -> str:
    return f"<code>{markdown(clipped(text, most))}</code>"


def _word(name: str, instead: str) -> str:
    """A name as a word of a command; `instead` where it is too long to be read."""
    word = shown(shlex.quote(name))
    return word if len(word.encode()) <= 2 * _NAME else instead


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
