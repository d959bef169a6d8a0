"""The answer of a run in a terminal: plain lines, no number cut, commands ready to be pasted."""

from __future__ import annotations

import math
import shlex
import textwrap
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from results.store.quality import ACCURACY, SCORE
from results.store.within import in_words
from results.table.answer import Answer, Pick, lost, speed_believed
from results.table.cells import MISSING, cells, verdict
from results.table.pen import Line, Pen, at_hyphens
from results.table.rows import Row

Build = Callable[[Row], Sequence[str]]
"""The words of the command that builds what a row was measured on; none of what was given."""
_LONGEST_NAME, _NARROWEST = 30, 12
_INDENT = "    "


def print_answer(answer: Answer, console: Console, build: Build, files: Callable[[Row], str | None]) -> None:
    """Print one answer on `console`, in lines of its width; a word of a command may be longer. files: where what a row
    was measured on lies now, if that is known."""
    drawn = _Drawn(Pen(ascii=console.options.ascii_only), console)
    model, task, hardware = answer.group
    drawn.line(", ".join(filter(None, (f"{model} on {task}" if task else model, hardware, answer.workload))), "bold")
    if answer.doubt:
        drawn.line(f"no answer, as no verdict is: {answer.doubt}")
        return
    executed, expected = answer.cases
    if executed < expected:
        drawn.line(f"from the {executed} of {expected} cases of the run that were executed", "yellow")
    margin = in_words(answer.told.points, answer.margin)
    if not answer.judged:
        unit = "1pt" if answer.told.points else "5%"
        drawn.line(f"no target is set, so quality was not judged: --within {unit} sets a bound for a run", "yellow")
    if answer.front:
        measures = _listed([_loss(answer), *answer.axes])
        drawn.line(f"the front, {len(answer.front)} of {answer.compared}: no other beats one in {measures} at once")
        drawn.front(answer, build)
    named = f"within {margin}" + ("" if answer.told is ACCURACY else f" of {_quality(answer)}")
    picks = [(f"fastest {named}", answer.fastest, "speed"), (f"smallest {named}", answer.smallest, "size")]
    picks = [(title, pick, axis) for title, pick, axis in picks if axis in answer.axes]
    for number, (title, pick, axis) in enumerate(picks):
        later = [other for _, other, _ in picks[number + 1 :]] + [answer.ship]
        drawn.pick(answer, title, pick, axis, margin, build, any(o and pick and o.row is pick.row for o in later))
    if answer.ship is None:
        drawn.line(f"what I would ship: the dense model as it is; {answer.why}", "bold")
    else:
        drawn.line(f"what I would ship: {_name(answer.ship.row)}, {answer.why}", "bold")
        drawn.numbers(answer, answer.ship.row)
        over = answer.ship.row.measure("speedup_vs_control")
        if over.high is not None and over.high < 1 and speed_believed(answer.ship.row):
            drawn.line(f"uncompressed, {answer.ship.row.control or 'the best control'} is faster: this has "
                       f"{cells(answer.ship.row).over_control} of its speed", indent=_INDENT)  # fmt: skip
        command = build(answer.ship.row)
        drawn.command(command)
        if folder := files(answer.ship.row):
            drawn.line(f"its files, {'made for this run' if command else 'as they were given'}:", indent=_INDENT)
            drawn.word(folder)
    for reason, names in answer.out.items():
        drawn.line(f"{reason}: {', '.join(names)}", "dim")


class _Drawn:
    def __init__(self, pen: Pen, console: Console) -> None:
        self._pen, self._console = pen, console

    def line(self, text: str, style: str = "", indent: str = "") -> None:
        """A sentence, broken at blanks; what follows its first line stands further in."""
        for part in textwrap.wrap(
            self._pen.text(text).plain, self._console.width, initial_indent=indent, subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
        ):  # fmt: skip
            self._console.print(self._pen.text(part, style), soft_wrap=True)

    def word(self, text: str) -> None:
        """What is not to be broken."""
        self._console.print(self._pen.text(f"{_INDENT}{text}"), soft_wrap=True)

    def front(self, answer: Answer, build: Build) -> None:
        """Its rows: what was lost, speed, size, and the command that builds one of them."""
        heads = [f"{'drop, points' if answer.told.points else 'rise, %'} [90 %]", "speed-up [98 %]", "size"]
        axes = [axis in answer.axes for axis in ("speed", "size")]
        wanted = [True, *axes]
        lines = [[text for text, kept in zip(_columns(row), wanted, strict=True) if kept] for row in answer.front]
        taken = sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True))
        names = min(_LONGEST_NAME, max(_NARROWEST, self._console.width - taken))
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("")
        for head in (head for head, kept in zip(heads, wanted, strict=True) if kept):
            table.add_column(self._pen.text(head))
        for row, texts in zip(answer.front, lines, strict=True):
            name: list[Line] = [(part, "") for part in at_hyphens(_name(row), names)]
            table.add_row(self._pen.lines(name), *map(self._pen.text, texts))
        self._console.print(table)
        commands = [(row, words) for row in answer.front if (words := build(row))]
        if not commands:
            return
        first = commands[0][1]
        place = first.index("--compressor") + 1
        self.line("to build one of them, with its name in place of NAME:")
        self.command([*first[:place], "NAME", *first[place + 1 :]])
        for row, words in commands:
            if words[place] != row.label:
                self.line(f"NAME of {row.label}: {shlex.quote(words[place])}", indent=_INDENT)

    def pick(
        self, answer: Answer, title: str, pick: Pick | None, axis: str, margin: str, build: Build, later: bool
    ) -> None:
        """later: whether its command follows below."""
        if pick is None:
            why = "" if axis != "speed" or any(map(speed_believed, answer.kept)) else ", as no speed is believed here"
            self.line(f"{title}: none{why}", "bold")
            return
        shown = "" if pick.shown else f"; within {margin} by its estimate, {_end(answer, pick.row)} by its interval"
        beside = f"; not told apart from {_listed([_name(row) for row in pick.beside])}" if pick.beside else ""
        self.line(f"{title}: {_name(pick.row)}{shown}{beside}", "bold")
        self.numbers(answer, pick.row)
        if pick.unshown is not None:
            better = "faster" if axis == "speed" else "smaller"
            value = _columns(pick.unshown)[1 if axis == "speed" else 2]
            self.line(f"{_name(pick.unshown)} is {better}, {value}, but within {margin} by its estimate alone, "
                      f"{_end(answer, pick.unshown)} by its interval", indent=_INDENT)  # fmt: skip
        if not (command := build(pick.row)):
            self.line("it was given, not built here", indent=_INDENT)
        elif later:
            self.line("built by the command below", indent=_INDENT)
        else:
            self.command(command)

    def numbers(self, answer: Answer, row: Row) -> None:
        """What it lost, its speed and its size."""
        drop, speed, size = _columns(row)
        parts = [f"{'drop' if answer.told.points else 'rise'} {drop}"]
        parts += [f"{axis} {text}" for axis, text in (("speed", speed), ("size", size)) if axis in answer.axes]
        self.line(", ".join(parts), indent=_INDENT)

    def command(self, words: Sequence[str]) -> None:
        """For a shell: each line but the last ends with a backslash, and no word is broken. Nothing of no words."""
        if not words:
            return
        lines = [_INDENT]
        for word in _together(words):
            if len(lines[-1]) + len(word) + 3 > self._console.width and lines[-1].strip():
                lines.append(2 * _INDENT)
            lines[-1] += word if not lines[-1].strip() else f" {word}"
        for number, line in enumerate(lines):
            self._console.print(
                self._pen.text(f"{line} \\" if number < len(lines) - 1 else line), soft_wrap=True, highlight=False
            )


def _together(words: Sequence[str]) -> list[str]:
    """Quoted, and an option on one line with its value."""
    joined: list[str] = []
    for word in map(shlex.quote, words):
        if joined and joined[-1].startswith("-") and " " not in joined[-1] and not word.startswith("-"):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


def _columns(row: Row) -> tuple[str, str, str]:
    cell = cells(row)
    word = row.verdict("speed")
    speed = cell.speedup if speed_believed(row) else f"{MISSING} {verdict(word)}" if word else MISSING
    return cell.drop, speed, cell.size


def _name(row: Row) -> str:
    return f"{row.label} ({row.first.role})" if row.first.role != "method" else row.label


def _loss(answer: Answer) -> str:
    return f"drop of {_quality(answer)}" if answer.told.points else "rise of perplexity"


def _quality(answer: Answer) -> str:
    return answer.metric if answer.told is SCORE else "accuracy" if answer.told is ACCURACY else "perplexity"


def _end(answer: Answer, row: Row) -> str:
    """`up to 2.3`: the upper end of what it may have lost."""
    high = lost(row)[1]
    return "open" if math.isinf(high) else f"up to {100 * high:.1f}{'' if answer.told.points else ' %'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
