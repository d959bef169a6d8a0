"""What comes of an owner's run is kept where it shows something, and asked again where it does not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache
from benchmarks.preparation import preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.zoo import find_model
from compressors.interface import Hardware


def test_only_what_was_shown_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [{"shown": False, "why": "out of memory"}, {"shown": True, "how": "a pipeline", "examples": 8}]
    asked: list[dict[str, Any]] = []

    def compare(*_: Any) -> dict[str, Any]:
        asked.append(outcomes[len(asked)])
        return dict(asked[-1])

    monkeypatch.setattr(preparation, "compare", compare)
    monkeypatch.setattr(preparation.Preparation, "worker", lambda *_, **__: contextlib.nullcontext())
    found = []
    for _ in range(3):  # three runs
        prepared = preparation.Preparation(Cache(tmp_path), Settings(), Stages(None))
        dense: Any = SimpleNamespace(
            identity="dense", entry=tmp_path, inputs_path=tmp_path, artifact=SimpleNamespace(directory=tmp_path)
        )
        found.append(prepared._agreed(find_model("vit-digits"), dense, Hardware("cpu", "cpu-vnni", threads=1)))
    assert [one["shown"] for one in found] == [False, True, True]
    assert len(asked) == 2 and found[0]["why"] == "out of memory"
