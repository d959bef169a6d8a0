"""A cache entry is whole or not there, whoever dies, races or meddles; and its key forgets nothing."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks import cache as cache_module
from benchmarks.cache import SEAL, Cache, content_hash, default_root, hash_files, versions
from benchmarks.zoo import find_model
from benchmarks.zoo.dense import dense_key
from compressors.interface import Hardware, PressbenchError

KEY = {"parameter": 1}
FORK = multiprocessing.get_context("fork")  # a fresh interpreter would import torch first


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, said: list[str]) -> Cache:
    return Cache(tmp_path / "root", said.append)


def make(folder: Path) -> None:
    (folder / "weights").write_bytes(b"good")
    (folder / "inner").mkdir()
    (folder / "inner" / "graph").write_bytes(b"also good")


def never(folder: Path) -> None:
    raise AssertionError("it was there already, and was built again")


def leftovers(cache: Cache) -> list[str]:
    return sorted(p.name for p in (cache.root / "kind").iterdir() if p.suffix != ".lock")


# -- half-written entries --------------------------------------------------------------------------


def test_an_entry_is_built_once_and_then_read(cache: Cache) -> None:
    built = cache.build("kind", "label", KEY, make)
    assert (built / "inner" / "graph").read_bytes() == b"also good"
    assert cache.build("kind", "label", KEY, never) == cache.get("kind", "label", KEY) == built


def test_a_builder_that_raises_leaves_nothing_and_its_error_passes_through(cache: Cache) -> None:
    def half(folder: Path) -> None:
        make(folder)
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        cache.build("kind", "label", KEY, half)
    assert cache.get("kind", "label", KEY) is None
    assert leftovers(cache) == []
    cache.build("kind", "label", KEY, make)


def test_a_process_killed_in_the_middle_is_never_read_and_blocks_nobody(cache: Cache, said: list[str]) -> None:
    def killed(folder: Path) -> None:
        make(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    child = FORK.Process(target=cache.build, args=("kind", "label", KEY, killed))
    child.start()
    child.join(30)
    assert child.exitcode == -signal.SIGKILL
    assert len(leftovers(cache)) == 1, "the fault was not planted: the child left no half-written folder"
    assert cache.get("kind", "label", KEY) is None
    built = cache.build("kind", "label", KEY, make)
    assert leftovers(cache) == [built.name], "what the killed process left must not pile up"
    assert said == []


def test_two_processes_that_want_the_same_entry_build_it_once(cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    together = FORK.Barrier(2)

    def slow(folder: Path) -> None:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        make(folder)

    def child() -> None:
        together.wait(30)
        found = Cache(cache.root).build("kind", "label", KEY, slow)
        os._exit(0 if (found / "weights").read_bytes() == b"good" else 1)

    children = [FORK.Process(target=child) for _ in range(2)]
    for process in children:
        process.start()
    for process in children:
        process.join(30)
    assert [process.exitcode for process in children] == [0, 0]
    assert log.read_text() == "built\n"


# -- damage ----------------------------------------------------------------------------------------


def corrupt(entry: Path) -> None:
    (entry / "weights").write_bytes(b"evil")


def truncate(entry: Path) -> None:
    (entry / "inner" / "graph").write_bytes(b"also")


def remove(entry: Path) -> None:
    (entry / "weights").unlink()


def add(entry: Path) -> None:
    (entry / "inner" / "stray").write_bytes(b"")


def seal_with(text: str) -> Callable[[Path], None]:
    return lambda entry: (entry / SEAL).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (corrupt, "weights is not what was written"),
        (truncate, "inner/graph is not what was written"),
        (remove, "weights is missing"),
        (add, "inner/stray does not belong to it"),
        (lambda entry: (entry / SEAL).unlink(), "its seal is missing or damaged"),
        (seal_with('{"files": {"weigh'), "its seal is missing or damaged"),
        (seal_with("[]"), "its seal is missing or damaged"),
        (seal_with('{"files": ["weights"]}'), "its seal is missing or damaged"),
    ],
    ids=["corrupted", "truncated", "missing", "extra", "no-seal", "cut-seal", "seal-is-a-list", "files-are-a-list"],
)
def test_a_damaged_entry_is_named_and_built_again(
    cache: Cache, said: list[str], damage: Callable[[Path], None], told: str
) -> None:
    entry = cache.build("kind", "label", KEY, make)
    damage(entry)
    again = cache.build("kind", "label", KEY, make)
    assert again == entry
    assert (entry / "weights").read_bytes() == b"good"
    assert not (entry / "inner" / "stray").exists()
    (line,) = said
    assert told in line
    assert str(entry) in line
    assert "\n" not in line
    assert leftovers(cache) == [entry.name]
    cache.build("kind", "label", KEY, never)


def test_deleting_the_cache_is_safe(cache: Cache) -> None:
    entry = cache.build("kind", "label", KEY, make)
    for path in sorted(cache.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert cache.get("kind", "label", KEY) is None
    assert cache.build("kind", "label", KEY, make) == entry


# -- places that cannot be written -----------------------------------------------------------------


def test_a_folder_one_may_not_write_is_one_line() -> None:
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies below a folder that is root's alone
        os.chmod(folder, 0o555)
        ours, theirs = FORK.Pipe()

        def child() -> None:
            if os.geteuid() == 0:
                os.setuid(65534)  # to root every folder is open
            try:
                Cache(Path(folder)).build("kind", "label", KEY, make)
            except BaseException as error:
                theirs.send((type(error).__name__, str(error)))
            os._exit(0)

        process = FORK.Process(target=child)
        process.start()
        theirs.close()
        kind, message = ours.recv()
        process.join(30)
    assert kind == "CacheError"
    assert message.startswith(f"cache: cannot write {folder}/kind")
    assert "PRESSBENCH_CACHE" in message
    assert "\n" not in message


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC], ids=errno.errorcode.get)
def test_a_disk_that_refuses_is_one_line(cache: Cache, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache_module.os, "replace", refuse)
    with pytest.raises(
        PressbenchError, match=f"cache: cannot write .*{os.strerror(code)}; set PRESSBENCH_CACHE"
    ) as told:
        cache.build("kind", "label", KEY, make)
    assert "\n" not in str(told.value)


def test_a_root_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PressbenchError, match=r"cache: cannot write .*file"):
        Cache(tmp_path / "file" / "cache").build("kind", "label", KEY, make)


# -- names -----------------------------------------------------------------------------------------


@given(st.text())
@example("../../etc/passwd")
@example("..")
@example("/etc/passwd")
@example("a\\..\\b\0\n")
@example("模" * 300)
def test_no_label_leaves_its_folder(label: str) -> None:
    path = Cache(Path("/cache-root")).path("kind", label, KEY)
    assert Path(os.path.normpath(path)).parent == Path("/cache-root/kind")
    assert len(f"{path.name}.lock".encode()) < 256
    assert path.name.isprintable()


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRESSBENCH_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("PRESSBENCH_CACHE")
    assert default_root().name == "pressbench"


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_does_not_depend_on_the_order_it_is_written_in() -> None:
    assert content_hash({"a": 1, "b": [2, 3]}) == content_hash({"b": [2, 3], "a": 1})
    assert content_hash({"a": [2, 3]}) != content_hash({"a": [3, 2]})


def test_another_version_of_a_library_is_another_entry(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = cache.path("kind", "label", {"versions": versions("torch", "numpy")})
    real = importlib.metadata.version
    assert versions("torch", "numpy") == {"torch": real("torch"), "numpy": real("numpy")}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99" if name == "numpy" else real(name))
    assert cache.path("kind", "label", {"versions": versions("torch", "numpy")}) != entry


def test_a_package_is_found_by_the_name_it_is_imported_by() -> None:
    # Compressor.requires names what is imported: sklearn, which scikit-learn installs.
    assert versions("sklearn") == {"sklearn": importlib.metadata.version("scikit-learn")}
    assert versions("no_such_package") == {"no_such_package": "absent"}


def test_an_edit_of_any_source_file_is_another_key(tmp_path: Path) -> None:
    # Two files of one name, as zoo/assets/bbc_news.py and zoo/tasks/bbc_news.py are.
    files = [tmp_path / "assets" / "news.py", tmp_path / "tasks" / "news.py", tmp_path / "other.py"]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {path.parent.name}")
    before = content_hash(hash_files(files))
    assert content_hash(hash_files(files)) == before
    for path in files:
        text = path.read_text()
        path.write_text(text + "edited")
        assert content_hash(hash_files(files)) != before, f"{path} does not decide"
        path.write_text(text)


def test_the_seal_says_what_the_entry_was_made_from(cache: Cache) -> None:
    entry = cache.build("kind", "label", KEY, make)
    seal = json.loads((entry / SEAL).read_text())
    assert seal["key"] == KEY
    assert sorted(seal["files"]) == ["inner/graph", "weights"]


def test_a_dense_model_is_made_anew_when_what_trains_or_stores_it_changes() -> None:
    key = dense_key(find_model("minilm-bbc"), Hardware("cpu", "cpu-vnni"))
    files = [name for name, _ in key["source"]]
    assert {"minilm_bbc.py", "training.py", "dense.py", "torch.py", "task.py"} <= set(files)
    assert files.count("bbc_news.py") == 2  # the task and the asset
    assert "vit_digits.py" not in files
    assert set(key["versions"]) >= {"torch", "transformers", "tokenizers"}
    assert set(key["assets"]) == {"minilm", "bbc-news"}
