"""An environment is made whole or not at all, by pip, from the pins; the command tells which are here."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from compressors.interface import PressbenchError
from compressors.peers import environment
from compressors.registry import compressor_classes


def wheel(folder: Path, name: str, version: str) -> None:
    """A package that holds nothing, as pip installs it."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip finds packages in, and nowhere else."""
    (tmp_path / "shelf").mkdir()
    for name, value in {
        "PRESSBENCH_PEERS": str(tmp_path / "peers"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "shelf"),
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "shelf"


def test_what_was_installed_is_there_and_what_failed_is_gone(shelf: Path) -> None:
    pins = {"planted_peer": "1.0"}
    said: list[str] = []
    wheel(shelf, "planted_peer", "1.0")
    environment.install("peer-x", pins, said.append)
    assert environment.installed("peer-x")["planted-peer"] == "1.0"
    assert environment.missing("peer-x", {"planted-peer": "1.0"}) is None
    assert said[-1] == "pip install planted_peer==1.0" and environment.python_of("peer-x").exists()
    with pytest.raises(PressbenchError, match=r"^peer-x: pip could not install it: ERROR: .*planted.peer==2\.0"):
        environment.install("peer-x", {"planted_peer": "2.0"}, said.append)
    assert not environment.folder_of("peer-x").exists()


def test_where_nothing_can_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRESSBENCH_PEERS", str(tmp_path / "file"))
    with pytest.raises(PressbenchError, match=r"peer-x: cannot write .*: Not a directory"):
        environment.install("peer-x", {}, lambda line: None)


def test_they_lie_outside_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the cache a method does not see, and whoever deletes it loses nothing."""
    from benchmarks.cache import default_root

    monkeypatch.delenv("PRESSBENCH_CACHE")
    monkeypatch.delenv("PRESSBENCH_PEERS", raising=False)
    assert default_root() not in environment.folder_of("peer-hqq").parents


def test_the_command_lists_and_refuses(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSBENCH_PEERS", str(tmp_path))
    code, out, _ = call("peers")
    lines = out.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert "needs an environment of its own: pressbench peers install peer-hqq  (hqq 0.2.8.post1, torch" in out
    code, out, _ = call("peers", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert found["peer-hqq"]["pinned"] == dict(compressor_classes()["peer-hqq"].pins)
    assert found["peer-hqq"]["folder"] == str(tmp_path / "peer-hqq") and found["peer-hqq"]["missing"]
    for wrong, told in {
        ("install",): "peers install: name one or more of peer-",
        ("install", "peer-hq"): "unknown peer 'peer-hq'; did you mean peer-hqq",
        ("remove", "peer-hqq"): "peers: 'remove' is no action: peers install NAME",
    }.items():
        code, out, err = call("peers", *wrong)
        assert (code, out) == (4, "") and told in err and err.count("\n") == 1
    assert list(tmp_path.glob("peer-*")) == []
