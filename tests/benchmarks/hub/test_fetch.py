"""What is fetched is what the hub lists, whole or not at all, in bounded time, and only once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hub_server import Fault, HubServer, git_hash

from benchmarks.cache import SEAL, Cache
from benchmarks.hub import fetch as fetching
from benchmarks.hub.errors import HubDamage
from benchmarks.hub.fetch import fetch, total_bytes
from benchmarks.hub.repository import HubFile, HubMistake, HubOutOfReach, Repository, resolve

BOUND = 1.5
"""Seconds that a process may take to start and to be killed, on top of those it was given."""
WEIGHTS = ("config.json", "model.safetensors")


@pytest.fixture
def tiny(hub: HubServer) -> Repository:
    """The model as the hub lists it, without having asked."""
    commit = str(hub.commit("models/org/tiny"))
    large = (".safetensors", ".onnx", ".bin")
    files = [
        HubFile(path, len(data), hashlib.sha256(data).hexdigest(), None)
        if path.endswith(large)
        else HubFile(path, len(data), None, git_hash(data))
        for path, data in hub.files(commit).items()
    ]
    return Repository("model", "org/tiny", "main", commit, tuple(files))


def line(call: Callable[[], object], error: type[Exception], within: float = 10) -> str:
    """The one line that `call` ends with, in the time it may take."""
    started = time.monotonic()
    with pytest.raises(error) as raised:
        call()
    assert time.monotonic() - started < within
    assert "\n" not in str(raised.value) and str(raised.value).startswith("hub: ")
    return str(raised.value)


def entries(cache: Cache) -> list[str]:
    """What lies in the cache, locks aside."""
    folder = cache.root / "hub"
    return [p.name for p in folder.iterdir() if p.suffix != ".lock"] if folder.exists() else []


def test_the_files_that_match_and_no_others(hub: HubServer, cache: Cache, tmp_path: Path) -> None:
    rows = resolve("dataset", "org/rows", None, cache)
    assert total_bytes(rows, ["data/*"]) == 2000 + len(hub.files(rows.commit)["data/train.csv"])
    folder = fetch(rows, ["data/*.csv", "data/*.PARQUET"], cache)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "data/train.csv",
        SEAL,
    ]
    assert (folder / "data/train.csv").read_bytes() == hub.files(rows.commit)["data/train.csv"]
    assert hub.requests[1:] == [
        f"{method} /datasets/org/rows/resolve/{rows.commit}/data/train.csv" for method in ("HEAD", "GET")
    ]
    hub.requests.clear()
    assert fetch(rows, ["*.csv"], cache) == folder  # the same files, in other words
    hub.stop()
    assert fetch(resolve("dataset", "org/rows", None, cache), ["*.csv"], cache) == folder
    assert hub.requests == []
    assert not (tmp_path / "home").exists()  # nothing is kept in another library's cache


def test_the_commit_that_was_resolved_and_not_what_is_there_now(
    hub: HubServer, tiny: Repository, cache: Cache, tmp_path: Path
) -> None:
    config = tmp_path / "hub/models/org/tiny/config.json"
    before = config.read_bytes()
    config.write_text("{}")
    assert (fetch(tiny, ["config.json"], cache) / "config.json").read_bytes() == before


def test_the_cache_of_another_library_is_not_believed(
    hub: HubServer, tiny: Repository, cache: Cache, tmp_path: Path
) -> None:
    kept = tmp_path / f"home/hub/models--org--tiny/snapshots/{tiny.commit}"
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("damaged long ago")
    assert (fetch(tiny, ["config.json"], cache) / "config.json").read_bytes() == b'{"model_type": "bert"}'


def test_progress_is_told_in_bytes(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    told: list[tuple[str, int, int]] = []
    hub.fault = Fault("slow", "model.safetensors", method="GET")
    folder = fetch(tiny, WEIGHTS, cache, progress=lambda *step: told.append(step))
    total = total_bytes(tiny, WEIGHTS)
    assert told[-1] == ("fetching org/tiny", total, total)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert any(0 < done < total for _, done, _ in told)
    assert (folder / "model.safetensors").read_bytes() == hub.files(tiny.commit)["model.safetensors"]


def test_damage_is_named_and_nothing_is_kept(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    at = f"hub: model 'org/tiny' at {tiny.commit[:12]}: "
    again = "nothing is kept: run again"

    def damaged(fault: Fault) -> str:
        hub.fault = fault
        told = line(lambda: fetch(tiny, WEIGHTS, cache), HubDamage)
        assert entries(cache) == []
        assert told.startswith(at) and told.endswith(again)
        return told.removeprefix(at).removesuffix(f"; {again}")

    right = next(file.sha256 for file in tiny.files if file.path == "model.safetensors")
    assert damaged(Fault("truncated", "model.safetensors")) == (
        "model.safetensors came with 150000 bytes, the hub lists 300000"
    )
    host = hub.url.removeprefix("http://")
    assert damaged(Fault("truncated", "model.safetensors", method="GET")) == (
        f"model.safetensors came truncated (the connection to {host} ended before the file did)"
    )
    told = damaged(Fault("bytes", "model.safetensors"))
    assert told.startswith("model.safetensors came with SHA-256 ")
    assert told.endswith(f"…, the hub lists {str(right)[:12]}…")
    assert damaged(Fault("bytes", "config.json")).startswith("config.json came with git hash ")
    hub.fault = None
    assert (fetch(tiny, WEIGHTS, cache) / "config.json").is_file()


def test_without_the_checks_damage_would_be_kept(
    hub: HubServer, tiny: Repository, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library alone would have let through: why the checks are ours."""
    monkeypatch.setattr(fetching, "_verify", lambda *_: None)
    hub.fault = Fault("bytes", "model.safetensors")
    assert (fetch(tiny, WEIGHTS, cache) / "model.safetensors").stat().st_size == 300_000


@pytest.mark.parametrize("fault", ["silent", "trickle"])
def test_a_download_ends_in_time(fault: str, hub: HubServer, tiny: Repository, cache: Cache) -> None:
    hub.fault = Fault(fault, "model.safetensors", method="GET")
    told = line(lambda: fetch(tiny, WEIGHTS, cache, seconds=1.5), HubOutOfReach, 1.5 + BOUND)
    at, host = f"model 'org/tiny' at {tiny.commit[:12]}", hub.url.removeprefix("http://")
    came = r"\d+ bytes"  # none yet, where this machine is slow
    assert re.fullmatch(
        rf"hub: {at}: {came} of 300\.0 kB came from {re.escape(host)} in 1\.5 s; ended, nothing is kept: run again on "
        "a faster network, or choose a smaller model",
        told,
    )
    assert entries(cache) == []


def test_a_connection_that_always_breaks(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    hub.fault = Fault("cut", "model.safetensors", method="GET")  # resumed or not, as the library's version has it
    line(lambda: fetch(tiny, WEIGHTS, cache, seconds=1.5), HubOutOfReach, 1.5 + BOUND)
    assert entries(cache) == []


def test_the_hub_says_no_to_a_file(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    hub.fault = Fault("gated", "config.json")  # of a gated model anybody may read the listing
    assert line(lambda: fetch(tiny, WEIGHTS, cache), HubMistake) == (
        f"hub: model 'org/tiny' is gated: accept its terms at {hub.url}/org/tiny and set HF_TOKEN to a token of yours"
    )
    gone = dataclasses.replace(tiny, files=(*tiny.files, HubFile("gone.json", 1, None)))
    hub.fault = None
    assert line(lambda: fetch(gone, ["gone.json"], cache), HubMistake) == (
        f"hub: model 'org/tiny' at {tiny.commit[:12]} has no file 'gone.json', though the hub lists it; resolve it anew"
    )


def test_no_network(hub: HubServer, tiny: Repository, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert line(lambda: fetch(tiny, WEIGHTS, cache), HubOutOfReach) == (
        f"hub: model 'org/tiny' at {tiny.commit[:12]}: {hub.url.removeprefix('http://')} is out of reach "
        "(HF_HUB_OFFLINE is set) and its files (300.0 kB) are not in the cache; unset HF_HUB_OFFLINE and "
        "TRANSFORMERS_OFFLINE once, what came is kept from then on"
    )
    assert (hub.requests, entries(cache)) == ([], [])


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "a//x", "./x", "a\nx", "", "a/..", "\x1b[2Jx"]
)
def test_a_file_that_would_leave_the_folder_is_refused(
    path: str, hub: HubServer, tiny: Repository, cache: Cache
) -> None:
    hostile = dataclasses.replace(tiny, files=(*tiny.files, HubFile(path, 1, None)))
    told = line(lambda: fetch(hostile, ["*"], cache), HubDamage, 1)
    assert told == f"hub: model 'org/tiny' lists a file that would leave its folder: {path!r}; refused"
    assert (hub.requests, entries(cache)) == ([], [])


def test_a_hostile_listing_is_refused_where_it_is_used(hub: HubServer, cache: Cache) -> None:
    hub.fault = "outside"
    found = resolve("model", "org/tiny", None, cache)
    assert "'../../outside.json'; refused" in line(lambda: fetch(found, ["*.json"], cache), HubDamage)
    hub.fault = None
    assert (fetch(found, ["model.safetensors"], cache) / "model.safetensors").is_file()


def test_a_file_that_the_seal_would_leave_out_is_refused(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    hostile = dataclasses.replace(tiny, files=(HubFile(f"data/{SEAL}", 1, None),))
    told = line(lambda: fetch(hostile, ["*"], cache), HubDamage)
    assert told == f"hub: model 'org/tiny' lists a file 'data/{SEAL}', the name of the cache's own seal; refused"


def test_patterns_that_match_nothing(hub: HubServer, tiny: Repository, cache: Cache) -> None:
    assert line(lambda: fetch(tiny, ["*.gguf", "CONFIG.json"], cache), HubMistake) == (
        f"hub: model 'org/tiny' at {tiny.commit[:12]} has no file like '*.gguf', 'CONFIG.json'; it has: README.md, "
        "config.json, model.safetensors, onnx/model.onnx, pytorch_model.bin and 3 more"
    )


def test_a_killed_process_leaves_nothing_half_read(
    hub: HubServer, tiny: Repository, cache: Cache, tmp_path: Path
) -> None:
    """Not the entry, and not the process that was fetching for it."""
    hub.fault = Fault("trickle", "model.safetensors", method="GET")
    program = (
        "import sys, pathlib\n"
        "from benchmarks.cache import Cache\n"
        "from benchmarks.hub.fetch import fetch\n"
        "from benchmarks.hub.repository import HubFile, Repository\n"
        f"fetch({tiny!r}, {WEIGHTS!r}, Cache(pathlib.Path({str(cache.root)!r})))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        for _ in range(400):
            if any(request.startswith("GET") and "safetensors" in request for request in hub.requests):
                break
            time.sleep(0.05)
        else:
            pytest.fail("it never began to fetch")
        (asking,) = psutil.Process(process.pid).children()
    finally:
        process.kill()
        process.wait()
    asking.wait(5)  # raises where it goes on
    (left,) = entries(cache)
    assert left.startswith(".building-")
    hub.fault = None
    folder = fetch(tiny, WEIGHTS, cache)
    assert entries(cache) == [folder.name]
    assert (folder / "model.safetensors").read_bytes() == hub.files(tiny.commit)["model.safetensors"]


def test_a_damaged_entry_is_fetched_again(hub: HubServer, tiny: Repository, tmp_path: Path) -> None:
    said: list[str] = []
    cache = Cache(tmp_path / "cache", said.append)
    folder = fetch(tiny, ["config.json"], cache)
    (folder / "config.json").write_text("{}")
    assert (fetch(tiny, ["config.json"], cache) / "config.json").read_bytes() == b'{"model_type": "bert"}'
    assert "config.json is not what was written" in said[0]
