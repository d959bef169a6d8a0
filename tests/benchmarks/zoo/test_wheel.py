"""An asset is the pinned files and nothing else, or one line that says how to get it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.cache import Cache, content_hash
from benchmarks.zoo import known_models, wheel
from benchmarks.zoo.wheel import AssetError, WheelAsset

METADATA = "fake_asset-1.0.dist-info/"
CONTENT = {
    "fake_asset/__init__.py": b"raise SystemExit('an asset was imported')",
    "fake_asset/data/one.txt": b"one",
    "fake_asset/data/deep/two.txt": b"two",
    "fake_asset/data/readme.md": b"not asked for",
    "elsewhere/three.txt": b"not asked for",
    f"{METADATA}METADATA": b"Metadata-Version: 2.1\nName: fake-asset\nVersion: 1.0\n",
    f"{METADATA}WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{METADATA}RECORD": b"",
}
VARIABLE = "PRESSBENCH_FAKE"


def write_wheel(folder: Path, content: Mapping[str, bytes]) -> Path:
    path = folder / "fake_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def asset(wheel: Path | None = None, *files: str) -> WheelAsset:
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest() if wheel else "0" * 64
    return WheelAsset(
        name="fake",
        package="fake-asset",
        version="1.0",
        sha256=sha256,
        root="fake_asset/data",
        files=files or ("*.txt",),
        variable=VARIABLE,
        license="none",
    )


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip can reach no index, only the wheels in this folder; it is asked as a user's configuration would."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv(VARIABLE, raising=False)
    return wheels


# -- unpacking -------------------------------------------------------------------------------------


def test_only_the_named_files_are_unpacked_and_nothing_is_imported(tmp_path: Path) -> None:
    packed = write_wheel(tmp_path, CONTENT)
    asset(packed).unpack(packed, tmp_path / "out")
    assert tree(tmp_path / "out") == {"one.txt": b"one", "deep/two.txt": b"two"}
    assert "fake_asset" not in sys.modules


def test_a_wheel_with_another_hash_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    pinned = asset(write_wheel(tmp_path, CONTENT))
    swapped = write_wheel(tmp_path, {**CONTENT, "fake_asset/data/one.txt": b"0ne"})
    with pytest.raises(
        AssetError, match=rf"asset fake: {swapped.name} has SHA-256 \w{{64}}, pinned is {pinned.sha256}"
    ):
        pinned.unpack(swapped, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "fake_asset/data/../../../evil.txt",
        "fake_asset/data/deep/../../../../evil.txt",
        "fake_asset/data//../../evil.txt",
    ],
)
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    packed = write_wheel(tmp_path, {name: b"evil"})
    with pytest.raises(AssetError, match="names a file outside its folder"):
        asset(packed).unpack(packed, tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_absolute_name_is_no_file_of_the_asset(tmp_path: Path) -> None:
    outside = tmp_path / "evil.txt"
    packed = write_wheel(tmp_path, {str(outside): b"evil", "/fake_asset/data/evil.txt": b"evil", **CONTENT})
    asset(packed).unpack(packed, tmp_path / "out")
    assert not outside.exists()
    assert "evil.txt" not in tree(tmp_path / "out")


def test_a_link_in_the_wheel_is_not_followed(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("fake_asset/data/link.txt")
    link.external_attr = 0o120777 << 16
    packed = tmp_path / "fake_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    asset(packed).unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out" / "link.txt").is_symlink()


def test_a_file_beyond_any_reason_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "LARGEST_BYTES", 1000)
    packed = write_wheel(tmp_path, {"fake_asset/data/bomb.txt": b"0" * 1001})
    with pytest.raises(AssetError, match=r"'fake_asset/data/bomb\.txt' unpacks to 1001 bytes; refused"):
        asset(packed).unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out" / "bomb.txt").exists()


def test_a_wheel_without_the_files_is_named(tmp_path: Path) -> None:
    packed = write_wheel(tmp_path, {"fake_asset/data/other.bin": b""})
    with pytest.raises(AssetError, match=r"asset fake: .* holds none of \*\.txt under fake_asset/data"):
        asset(packed).unpack(packed, tmp_path / "out")


# -- fetching --------------------------------------------------------------------------------------


def test_it_is_fetched_with_pip_once_and_repaired_when_damaged(tmp_path: Path, no_index: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "cache", said.append)
    packed = write_wheel(no_index, CONTENT)
    wanted = asset(packed)
    folder = wanted.folder(cache)
    assert {n: d for n, d in tree(folder).items() if n.endswith(".txt")} == {"one.txt": b"one", "deep/two.txt": b"two"}
    assert not any("__init__" in name for name in tree(folder))

    packed.rename(tmp_path / "away")  # what is in the cache needs no index
    assert wanted.folder(cache) == folder
    assert said == []

    (tmp_path / "away").rename(packed)
    (folder / "one.txt").write_bytes(b"0ne")
    assert (wanted.folder(cache) / "one.txt").read_bytes() == b"one"
    (line,) = said
    assert "one.txt" in line


def test_without_a_network_it_is_one_line_with_every_way_out(tmp_path: Path) -> None:
    with pytest.raises(AssetError) as told:
        asset().folder(Cache(tmp_path / "cache"))
    message = str(told.value)
    assert message.startswith("asset fake: cannot fetch fake-asset==1.0 (")
    assert "No matching distribution" in message  # pip's own reason
    assert "connect to a package index once" in message
    assert f"set {VARIABLE} to a folder with *.txt" in message
    assert "\n" not in message
    assert [p for p in (tmp_path / "cache").rglob("*") if p.suffix != ".lock" and p.is_file()] == []


def test_a_pip_that_hangs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(wheel.subprocess, "run", hang)
    with pytest.raises(AssetError, match=r"asset fake: .*pip did not finish in 600 s"):
        asset().folder(Cache(tmp_path / "cache"))


# -- a folder of one's own -------------------------------------------------------------------------


def test_a_folder_of_ones_own_takes_the_place_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert asset().folder(Cache(tmp_path / "cache")) == tmp_path
    assert not (tmp_path / "cache").exists()
    before = content_hash(asset().identity())
    (tmp_path / "mine.txt").write_text("changed")
    assert content_hash(asset().identity()) != before, "what is made from it would not be made again"


@pytest.mark.parametrize("own", ["incomplete", "missing"])
def test_an_incomplete_folder_of_ones_own_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    (tmp_path / "incomplete").mkdir()
    (tmp_path / "incomplete" / "one.txt").write_text("one")
    monkeypatch.setenv(VARIABLE, str(tmp_path / own))
    wanted = asset(None, "one.txt", "deep/*.json")
    absent = "deep/*.json" if own == "incomplete" else "one.txt"
    for ask in (lambda: wanted.folder(Cache(tmp_path / "cache")), wanted.identity):
        with pytest.raises(
            AssetError, match=re.escape(f"asset fake: {VARIABLE}={tmp_path / own} has no file {absent!r}")
        ):
            ask()


def test_every_pinned_asset_names_its_hash_its_licence_and_a_way_round_the_network() -> None:
    pinned = {a.name: a for model in known_models().values() for a in model.assets}
    assert {"minilm", "bbc-news"} <= set(pinned)
    for found in pinned.values():
        assert re.fullmatch("[0-9a-f]{64}", found.sha256)
        assert found.variable.startswith("PRESSBENCH_")
        assert found.license
