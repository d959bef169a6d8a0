"""What was not shown of a stand-in is asked again in the next run, and never kept as an answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.preparation import standing_in
from benchmarks.zoo import find_model
from compressors.interface import Hardware


def test_only_what_was_shown_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [{"shown": False, "why": "out of memory"}, {"shown": True, "how": "a pipeline", "examples": 8}]
    asked: list[dict[str, Any]] = []

    def compare(*_: Any) -> dict[str, Any]:
        asked.append(outcomes[len(asked)])
        return dict(asked[-1])

    monkeypatch.setattr(standing_in, "compare", compare)
    (tmp_path / "inputs").write_bytes(b"texts")
    artifact: Any = SimpleNamespace(digest="ab", directory=tmp_path)
    dense: Any = SimpleNamespace(entry=tmp_path)
    workers: Any = (None, None)
    found = [
        standing_in.agreed(
            find_model("vit-digits"), artifact, tmp_path / "inputs", dense, Cache(tmp_path / "cache"), workers,
            Hardware("cpu", "cpu-vnni"), "machine", 1.0,
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [one["shown"] for one in found] == [False, True, True]
    assert len(asked) == 2 and found[0]["why"] == "out of memory"
