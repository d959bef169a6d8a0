"""Two measurements at a time are none: the lock holds across processes, and says who holds it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.measure.exclusive import Occupied, exclusive, held_by
from compressors.interface import PressbenchError

HOLD = """
import sys
from benchmarks.measure.exclusive import exclusive
sys.argv = ["/usr/bin/measure", "benchmarks", "-k", "int8"]
with exclusive("cpu"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRESSBENCH_LOCKS", str(tmp_path / "locks"))
    return tmp_path / "locks"


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the CPU."""
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def test_who_waits_is_told_who_holds_it_and_gives_up_in_time(other: subprocess.Popen[str]) -> None:
    lines: list[str] = []
    seen: list[tuple[str, int, int]] = []
    with pytest.raises(Occupied) as error:
        with exclusive("cpu", wait=0.5, say=lines.append, progress=lambda *told: seen.append(told)):
            pytest.fail("two hold it")
    who = f"process {other.pid} ("
    assert len(lines) == 1 and lines[0].startswith(f"waiting for cpu, which is being timed by {who}")
    assert "measure benchmarks -k int8, since 2" in lines[0]
    assert str(error.value).startswith(f"cpu is being timed by {who}") and "gave up after 0 s" in str(error.value)
    assert seen and all(what.startswith(f"waiting for {who}") and total == 0 for what, _, total in seen)


def test_another_device_is_free(other: subprocess.Popen[str]) -> None:
    with exclusive("cuda0", wait=0):
        pass


def test_the_lock_of_a_dead_process_is_free(other: subprocess.Popen[str]) -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    with exclusive("cpu", wait=5.0):
        pass


def test_it_is_free_again_when_the_holder_is_done(other: subprocess.Popen[str]) -> None:
    assert other.stdin is not None
    other.stdin.close()
    with exclusive("cpu", wait=20.0, say=lambda line: None):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_every_user_may_lock(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with exclusive("cpu"):
            assert held_by(folder / "cpu.holder").startswith(f"process {os.getpid()} (")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    for name in ("cpu.lock", "cpu.holder"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o666
    assert held_by(folder / "cpu.holder") == "another process"  # nobody holds it now


def test_a_lock_that_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRESSBENCH_LOCKS", f"{os.devnull}/x")
    with pytest.raises(PressbenchError, match=r"cannot lock cpu for timing: .*set PRESSBENCH_LOCKS"):
        with exclusive("cpu"):
            pytest.fail("it was not locked")


def test_a_link_in_the_place_of_the_holder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.mkdir()
    (folder / "cpu.holder").symlink_to(victim)
    with exclusive("cpu"):
        pass
    assert victim.read_text() == "precious"
