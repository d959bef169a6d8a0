"""A worker that runs a method's code sees what it was given of the cache, and no more."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure.enclosure import Enclosure
from benchmarks.measure.worker import Worker, WorkerError
from compressors.interface import PressbenchError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for name in ("dense/model/weights", "dense/model/answers", "artifacts/mine/weights", "artifacts/other/weights"):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "cache" / "artifacts" / "made").mkdir()
    (tmp_path / "elsewhere").write_text("not in the cache")
    return tmp_path / "cache"


@pytest.fixture
def enclosure(cache: Path) -> Enclosure:
    given = (cache / "artifacts" / "mine", cache / "dense" / "model" / "weights")
    return Enclosure((cache / "dense", cache / "artifacts", cache / "nothing"), given, cache / "artifacts" / "made")


def read(state: dict[str, Any], path: Path) -> str:
    return path.read_text()


def listed(state: dict[str, Any], path: Path, pattern: str) -> list[str]:
    return sorted(found.name for found in path.glob(pattern))


def write(state: dict[str, Any], path: Path) -> None:
    path.write_text("written")


def read_past_python(state: dict[str, Any], path: Path) -> int:
    return int(ctypes.CDLL(None).open(os.fsencode(path), os.O_RDONLY))


def how(state: dict[str, Any]) -> str:
    return str(state["enclosed"])


def test_what_was_given_is_read_and_what_was_to_be_made_is_written(enclosure: Enclosure, cache: Path) -> None:
    with Worker("enclosed", enclosure=enclosure) as worker:
        assert worker.call(read, cache / "artifacts" / "mine" / "weights") == "artifacts/mine/weights"
        assert worker.call(read, cache / "dense" / "model" / "weights") == "dense/model/weights"
        assert worker.call(read, cache.parent / "elsewhere") == "not in the cache"
        worker.call(write, cache / "artifacts" / "made" / "file")
    assert (cache / "artifacts" / "made" / "file").read_text() == "written"


@pytest.mark.parametrize("name", ["dense/model/answers", "artifacts/other/weights"])
def test_what_was_not_given_is_refused_by_name(enclosure: Enclosure, cache: Path, name: str) -> None:
    with Worker("enclosed", enclosure=enclosure) as worker:
        with pytest.raises(PressbenchError, match=f"reached for {cache / name}, which it was not given"):
            worker.call(read, cache / name)
        with pytest.raises(PressbenchError, match=f"reached for {cache / 'dense'}, which it was not given"):
            worker.call(listed, cache / "dense", "*/answers")
    assert (cache / name).read_text() == name


def test_where_there_are_namespaces_nothing_else_is_there(enclosure: Enclosure, cache: Path) -> None:
    with Worker("enclosed", enclosure=enclosure) as worker:
        if worker.call(how) != "namespace":
            assert sys.platform != "linux" or os.geteuid(), "root may always have one"
            pytest.skip("this machine lets no process have a mount namespace")
        assert worker.call(read_past_python, cache / "dense" / "model" / "weights") > 0
        assert worker.call(read_past_python, cache / "dense" / "model" / "answers") == -1
        with pytest.raises(WorkerError, match="Read-only file system"):
            worker.call(write, cache / "artifacts" / "mine" / "weights")
    with Worker("open") as worker:
        assert worker.call(how) == "open"
        assert worker.call(read_past_python, cache / "dense" / "model" / "answers") > 0


def test_a_cache_behind_a_link_is_closed_too(enclosure: Enclosure, cache: Path) -> None:
    link = cache.parent / "link"
    link.symlink_to(cache)
    behind = Enclosure(
        tuple(link / p.relative_to(cache) for p in enclosure.hidden),
        tuple(link / p.relative_to(cache) for p in enclosure.given),
    )
    with Worker("enclosed", enclosure=behind) as worker:
        assert worker.call(read, link / "artifacts" / "mine" / "weights") == "artifacts/mine/weights"
        for root in (link, cache):
            with pytest.raises((PressbenchError, WorkerError)):
                worker.call(read, root / "dense" / "model" / "answers")
