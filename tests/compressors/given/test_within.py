"""What lies in a folder, and what only seems to."""

from __future__ import annotations

from pathlib import Path

import pytest

from compressors.given.within import leads_out

COMMIT = "0123456789abcdef"


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A repository as the hub's library keeps it: its files are links into the folder of contents."""
    home = tmp_path / "hub" / "models--who--what"
    folder = home / "snapshots" / COMMIT
    (folder / "onnx").mkdir(parents=True)
    (home / "blobs").mkdir()
    for name in ("model.bin", "onnx/model.onnx"):
        contents = home / "blobs" / name.replace("/", "-")
        contents.write_bytes(b"weights")
        (folder / name).symlink_to("/".join([".."] * (2 + name.count("/")) + ["blobs", contents.name]))
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "hub" / "other").write_bytes(b"of another repository")
    return folder


def test_links_of_the_hubs_cache_are_in_their_folder(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (snapshot / "onnx" / "model.onnx").read_bytes() == b"weights"
    assert not leads_out(snapshot, "model.bin")
    assert not leads_out(snapshot / "onnx", "model.onnx")
    monkeypatch.chdir(snapshot)
    assert not leads_out(Path(), "model.bin")


def test_other_links_and_names_of_it_are_not(snapshot: Path, tmp_path: Path) -> None:
    (snapshot / "link").symlink_to(tmp_path / "secret")
    (snapshot / "beside").symlink_to(tmp_path / "hub" / "other")
    for name in ("link", "beside", "../../blobs/model.bin", "../model.bin", str(snapshot / "model.bin")):
        assert leads_out(snapshot, name), name


def test_a_folder_of_contents_that_is_a_link_holds_nothing(snapshot: Path, tmp_path: Path) -> None:
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    assert (snapshot / "model.bin").read_bytes() == b"weights"
    assert leads_out(snapshot, "model.bin")


def test_elsewhere_a_link_leads_out(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "weights").write_bytes(b"weights")
    (folder / "weights").symlink_to(tmp_path / "blobs" / "weights")
    (folder / "own").write_bytes(b"weights")
    (folder / "again").symlink_to("own")
    assert leads_out(folder, "weights")
    assert not leads_out(folder, "own") and not leads_out(folder, "again") and not leads_out(folder, "sub/../own")
