"""GitHub's workflow commands: a line of output for each case that GitHub shows beside the code.

A command is a line of its own, and its values are escaped as GitHub's toolkit does: a name from a record can neither
end its value nor begin a command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.store.record import CaseRecord, RunHeader
from results.store.reproduction import command
from results.store.text import clipped, shown

SHOWN = 10
"""How many errors, and how many warnings, GitHub shows of one step."""
_TITLE, _REASON, _COMMAND = 120, 800, 1200  # characters; GitHub cuts what is much longer


@dataclass(frozen=True)
class Place:
    """Where in the code a case belongs. file: from the root of the repository. line: from 1."""

    file: str
    line: int


def lines_for(
    header: RunHeader,
    failing: Sequence[CaseRecord],
    undecided: Sequence[CaseRecord],
    places: Mapping[tuple[str, str], Place],
) -> list[str]:
    """The lines to print: an error for each case of `failing`, a warning for each of `undecided`, `SHOWN` of each
    at most, of which the last then counts the rest. places: (measure, case) -> where it is shown."""
    return [*_commands("error", header, failing, places), *_commands("warning", header, undecided, places)]


def _commands(
    level: str, header: RunHeader, records: Sequence[CaseRecord], places: Mapping[tuple[str, str], Place]
) -> list[str]:
    named = records if len(records) <= SHOWN else records[: SHOWN - 1]
    lines = []
    for record in named:
        place = places.get((record.measure, record.case))
        where = f"file={_property(place.file)},line={place.line}," if place else ""
        title = clipped(f"{record.verdict}: {record.measure} of {record.case}", _TITLE)
        reason = clipped(record.reason or "no reason was recorded", _REASON)
        again = command(header, [record])
        message = f"{reason}\nto reproduce: {again}" if len(again) <= _COMMAND else reason
        lines.append(f"::{level} {where}title={_property(title)}::{_data(message)}")
    if rest := len(records) - len(named):
        lines.append(f"::{level} title=pressbench::{rest} more, in the summary of this job and in the table")
    return lines


def _data(text: str) -> str:
    """`text` as a command's message; line feeds are kept, each line is made printable."""
    lines = (shown(line).replace("%", "%25") for line in text.split("\n"))
    return "%0A".join(lines)


def _property(text: str) -> str:
    """`text` on one line as a command's property."""
    return shown(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
