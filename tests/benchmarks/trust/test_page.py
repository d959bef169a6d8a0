"""The page is complete from stored samples alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks.trust import __main__ as command
from benchmarks.trust.decisions import PERCENTS
from benchmarks.trust.page import page
from benchmarks.trust.rivals import INSTALL, rivals
from benchmarks.trust.samples import Session


@pytest.fixture(scope="module")
def text(session: Session) -> str:
    pytest.importorskip("asv", reason=INSTALL)
    return page(session, nights=30)


def test_it_is_complete(text: str, session: Session) -> None:
    headings = re.findall(r"^##? (.+)$", text, re.M)
    assert headings == [
        "Against what people use today", "The goal", "Real pairs of fresh processes", "Simulated nights",
        "Measuring time a decision", "Night after night, against accepted runs", "What this does not show",
        "Run it again",
    ]  # fmt: skip
    assert session.cpu in text and session.date in text and "torch 2.13.0" in text
    for rule in rivals():
        assert text.count(f"| {rule.name} |") == 4, "twice in each of two tables"
    assert "nan" not in text and "None" not in text


def test_every_table_is_whole(text: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    header = next(line for line in text.splitlines() if line.startswith("| rule "))
    assert header.count("%") == len(PERCENTS) - 1


def test_the_same_samples_draw_the_same_page(text: str, session: Session) -> None:
    assert page(session, nights=30) == text


def test_the_command_redraws_it(
    text: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, written = tmp_path / "samples.json", tmp_path / "trust.md"
    samples.write_text(session.model_dump_json())
    monkeypatch.setattr(command, "page", lambda stored: page(stored, nights=30))
    monkeypatch.setattr(sys, "argv", ["trust", "--from", str(samples), "--page", str(written)])
    assert command.main() == 0
    assert written.read_text() == text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    docs, beside = tmp_path / "docs" / "trust.md", tmp_path / "results" / "trust" / "trust.md"
    monkeypatch.setattr(sys, "argv", ["trust", "--from", str(samples)])
    assert command.main() == 0
    assert beside.read_text() == text and not docs.exists()
    monkeypatch.setattr(sys, "argv", ["trust", "--from", str(samples), "--write-docs"])
    assert command.main() == 0
    assert docs.read_text() == text
    samples.write_text("{}")
    assert command.main() == 1
    assert "not samples of this version" in capsys.readouterr().err
