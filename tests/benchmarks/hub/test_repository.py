"""A name and a revision become a commit, or one line in bounded time, whatever the hub does."""

from __future__ import annotations

import datetime
import json
import pickle
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import Fault, HubServer

from benchmarks.cache import Cache
from benchmarks.hub import process
from benchmarks.hub.errors import Refusal, is_commit
from benchmarks.hub.memory import Memory
from benchmarks.hub.repository import HubMistake, HubOutOfReach, Repository, resolve
from compressors.interface import PressbenchError, Unsupported

BOUND = 1.5
"""Seconds that a process may take to start and to be killed, on top of those it was given."""


def line(call: Callable[[], object], error: type[Exception], within: float = 10) -> str:
    """The one line that `call` ends with, in the time it may take."""
    started = time.monotonic()
    with pytest.raises(error) as raised:
        call()
    assert time.monotonic() - started < within
    assert "\n" not in str(raised.value) and str(raised.value).startswith("hub: ")
    return str(raised.value)


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_name_becomes_a_commit_and_its_files(hub: HubServer, cache: Cache) -> None:
    found = resolve("model", "org/tiny", None, cache)
    assert found.commit == hub.commit("models/org/tiny") and is_commit(found.commit)
    assert found.note == ""
    by_path = {file.path: file for file in found.files}
    files = hub.files(found.commit)
    assert {path: file.bytes for path, file in by_path.items()} == {path: len(data) for path, data in files.items()}
    assert by_path["model.safetensors"].sha256 and by_path["model.safetensors"].git is None
    assert by_path["config.json"].sha256 is None and by_path["config.json"].git
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301
    assert hub.requests == ["GET /api/models/org/tiny"]


def test_a_data_set_and_a_tag(hub: HubServer, cache: Cache, tmp_path: Path) -> None:
    before = resolve("dataset", "org/rows", "main", cache)
    hub.tags["v1"] = before.commit
    (tmp_path / "hub/datasets/org/rows/more.csv").write_text("x")
    after = resolve("dataset", "org/rows", None, cache)
    assert after.commit != before.commit
    tagged = resolve("dataset", "org/rows", "v1", cache)
    assert tagged == Repository("dataset", "org/rows", "v1", before.commit, before.files)


def test_a_known_commit_needs_no_network(hub: HubServer, cache: Cache) -> None:
    found = resolve("model", "org/tiny", "main", cache)
    hub.requests.clear()
    assert resolve("model", "org/tiny", found.commit.upper(), cache).files == found.files
    hub.stop()
    pinned = resolve("model", "org/tiny", found.commit, cache)
    assert (pinned.files, pinned.note, hub.requests) == (found.files, "", [])


def test_a_token_is_sent_and_never_told(hub: HubServer, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    resolve("model", "org/tiny", None, cache)
    assert hub.tokens == ["Bearer hf_secret"]
    hub.fault = "bad-token"
    assert "hf_secret" not in line(lambda: resolve("model", "org/tiny", None, cache), HubMistake)
    assert not [p for p in cache.root.rglob("*") if p.is_file() and "hf_secret" in p.read_text()]


MISTAKES = {
    "repository": "hub: no model 'org/tiny' (or it is private: set HF_TOKEN)",
    "private": "hub: no model 'org/tiny' (or it is private: set HF_TOKEN)",
    "revision": "hub: model 'org/tiny' has no revision 'main'; take a branch, a tag or a full commit listed at "
    "{url}/org/tiny",
    "gated": "hub: model 'org/tiny' is gated: accept its terms at {url}/org/tiny and set HF_TOKEN to a token of yours",
    "gated-403": "hub: model 'org/tiny' is gated: accept its terms at {url}/org/tiny and set HF_TOKEN to a token of "
    "yours",
    "bad-token": "hub: {host} does not let you read model 'org/tiny' (HTTP 401): set HF_TOKEN",
    "forbidden": "hub: your token may not read model 'org/tiny' (HTTP 403): set HF_TOKEN to one with read access to it",
    "disabled": "hub: model 'org/tiny' is disabled by the hub or its author; see {url}/org/tiny",
}


def test_what_the_user_can_mend(hub: HubServer, cache: Cache) -> None:
    resolve("model", "org/tiny", "main", cache)
    for fault, expected in MISTAKES.items():
        hub.fault = fault  # the hub said no today: what it said before does not count
        told = line(lambda: resolve("model", "org/tiny", "main", cache), HubMistake)
        assert told == expected.format(url=hub.url, host=hub.url.removeprefix("http://"))


def test_with_a_token_the_line_does_not_say_to_set_one(
    hub: HubServer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    told = line(lambda: resolve("model", "org/none", None, cache), HubMistake)
    assert told == "hub: no model 'org/none' (or it is private and your HF_TOKEN may not read it)"
    hub.fault = "gated-403"
    told = line(lambda: resolve("dataset", "org/rows", None, cache), HubMistake)
    page = f"{hub.url}/datasets/org/rows"
    assert told == f"hub: dataset 'org/rows' is gated: accept its terms at {page} with the account of your HF_TOKEN"


OUT_OF_REACH = {
    "silent": ("no answer in 4 s", 4),  # enough for the answer that comes in between
    "trickle": ("no answer in 1 s", 1),
    "closed": ("the connection was closed in the middle of an answer", 5),
    "cut": ("the connection was closed in the middle of an answer", 5),
    "500": ("HTTP 500", 5),
    "html": ("what answers there is no hub", 5),
    "sizeless": ("it does not tell the size of 'README.md'", 5),
}


@pytest.mark.parametrize("fault", OUT_OF_REACH)
def test_a_hub_that_does_not_answer(fault: str, hub: HubServer, cache: Cache) -> None:
    host = hub.url.removeprefix("http://")
    why, seconds = OUT_OF_REACH[fault]
    hub.fault = fault

    def ask() -> Repository:
        return resolve("model", "org/tiny", "main", cache, seconds=seconds)

    assert line(ask, HubOutOfReach, seconds + BOUND) == (
        f"hub: {host} is out of reach ({why}) and model 'org/tiny' at main was not kept from an earlier look-up; "
        "connect once, what came is kept from then on, or set HF_ENDPOINT to a mirror that answers"
    )
    if fault != "silent":
        return
    hub.fault = None  # what was looked up before is taken instead, in the same time
    before = ask()
    hub.fault = fault
    started = time.monotonic()
    kept = ask()
    assert time.monotonic() - started < seconds + BOUND
    today = datetime.datetime.now(datetime.UTC).date()
    assert kept.note == f"model org/tiny: hub out of reach ({why}): commit {before.commit[:12]} as of {today}"
    assert (kept.commit, kept.files) == (before.commit, before.files)


def test_a_server_that_stumbles_once_is_asked_again(hub: HubServer, cache: Cache) -> None:
    hub.fault = Fault("429", times=1)
    assert resolve("model", "org/tiny", "main", cache).note == ""
    assert len(hub.requests) == 2


@pytest.mark.parametrize(
    ("variables", "why", "remedy"),
    [
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "its name cannot be resolved", "connect once, "),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE once, "),
        ({"HTTPS_PROXY": "http://127.0.0.1:{closed}", "HF_ENDPOINT": "https://hub.invalid"}, "connection refused", ""),
    ],
)
def test_no_network(
    variables: dict[str, str], why: str, remedy: str, hub: HubServer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(closed=closed_port()))
    told = line(lambda: resolve("model", "org/tiny", None, cache), HubOutOfReach, 10)
    assert f" is out of reach ({why}) and model 'org/tiny' was not kept from an earlier look-up; {remedy}" in told
    assert hub.requests == []


def test_with_the_hub_gone_the_last_look_up_counts(hub: HubServer, cache: Cache) -> None:
    before = resolve("model", "org/tiny", None, cache)
    hub.stop()
    kept = resolve("model", "org/tiny", None, cache)
    today = datetime.datetime.now(datetime.UTC).date()
    assert kept.note == (
        f"model org/tiny: hub out of reach (connection refused): commit {before.commit[:12]} as of {today}"
    )
    assert kept.files == before.files
    assert "'org/other' was not kept" in line(lambda: resolve("model", "org/other", None, cache), HubOutOfReach)


def test_what_another_endpoint_said_does_not_count(
    hub: HubServer, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve("model", "org/tiny", None, cache)
    memory = Memory(cache, "model", "org/tiny")
    assert memory.commit(None) and memory.listing(found.commit)
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.invalid")
    assert memory.commit(None) is None and memory.listing(found.commit) is None


def test_a_damaged_record_is_not_believed(hub: HubServer, cache: Cache) -> None:
    found = resolve("model", "org/tiny", None, cache)
    memory = Memory(cache, "model", "org/tiny")
    assert memory.commit(None) == (found.commit, str(datetime.datetime.now(datetime.UTC).date()))
    (record,) = cache.root.glob("hub-revisions/*.json")
    sound = json.loads(record.read_text())
    of_other = sound["question"] | {"name": "org/other"}
    for damage in ("", "{", "[]", '{"question": {}}', {"commit": "../x"}, {"date": "soon"}, {"question": of_other}):
        record.write_text(json.dumps(sound | damage) if isinstance(damage, dict) else damage)
        assert memory.commit(None) is None
    hub.stop()
    line(lambda: resolve("model", "org/tiny", None, cache), HubOutOfReach)


def test_another_commit_than_asked_for_is_refused(hub: HubServer, cache: Cache) -> None:
    commit = hub.commit("models/org/tiny")
    hub.fault = "commit"
    told = line(lambda: resolve("model", "org/tiny", commit, cache), HubOutOfReach)
    assert "(it answers with another commit than it was asked for)" in told


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/../b", "/etc/passwd", "a/b/c", "a//b", "a/", "-a", "a b", "a\nb", "a%2fb", "é"]
)
def test_a_name_that_cannot_be_one_is_not_asked_for(name: str, hub: HubServer, cache: Cache) -> None:
    told = line(lambda: resolve("model", name, None, cache), HubMistake, 1)
    assert told == (
        f"hub: {name!r} cannot be the name of a model; right is name or organisation/name, of letters, digits, '-', "
        "'_' and '.'"
    )
    assert (hub.requests, cache.root.exists()) == ([], False)


@pytest.mark.parametrize("revision", ["", "..", "a/../b", "-x", "a b", "a\nb", "/main", "main/", "a?b", "x" * 300])
def test_a_revision_that_cannot_be_one_is_not_asked_for(revision: str, hub: HubServer, cache: Cache) -> None:
    told = line(lambda: resolve("model", "org/tiny", revision, cache), HubMistake, 1)
    assert "cannot be a revision of model 'org/tiny'; take a branch, a tag or a full commit" in told
    assert hub.requests == []


def test_a_branch_with_a_slash(hub: HubServer, cache: Cache) -> None:
    hub.tags["refs/pr/1"] = str(hub.commit("models/org/tiny"))
    assert resolve("model", "org/tiny", "refs/pr/1", cache).commit == hub.tags["refs/pr/1"]


def test_errors_are_what_the_suite_knows() -> None:
    assert issubclass(HubMistake, PressbenchError) and not issubclass(HubMistake, Unsupported)
    assert issubclass(HubOutOfReach, Unsupported)


def test_the_process_that_asks_imports_nothing_heavy() -> None:
    text = process.CLIENT.read_text()
    assert set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.M)) == {
        *("__future__", "collections", "errno", "huggingface_hub", "json", "os"),
        *("socket", "ssl", "threading", "time", "typing"),
    }


def test_a_process_that_dies_is_one_line(
    hub: HubServer, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import sys; print('noise'); sys.exit('no such luck')")
    monkeypatch.setattr(process, "CLIENT", dying)
    told = line(lambda: resolve("model", "org/tiny", None, cache), PressbenchError)
    host = hub.url.removeprefix("http://")
    assert told == (
        f"hub: cannot ask {host} for model 'org/tiny': the process that asks ended with code 1: no such luck"
    )


def test_the_deadline_holds_for_a_process_that_ignores_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(process, "CLIENT", deaf)
    started = time.monotonic()
    with pytest.raises(Refusal) as refused:
        process.ask({"do": "nothing"}, 0.5)
    assert (refused.value.kind, time.monotonic() - started < 0.5 + BOUND) == ("late", True)
    for pid in (tmp_path / "pids").read_text().split():
        assert _gone(int(pid))


def _gone(pid: int) -> bool:
    """Whether a process has ended, or will have in a moment."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
