"""Only one measurement at a time on a device of this machine: a lock that holds across processes and users.

The lock is a file that the operating system lets go of when its holder ends, however it ends; beside it
lies who holds it, for whoever waits. The folder is the same for every user: /tmp/pressbench-locks, or
`$PRESSBENCH_LOCKS` (a folder that containers of one machine share, for example).
Does not protect from: load by programs that do not ask, which is what `watch` is for.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock

from compressors.interface import PressbenchError, Progress, no_progress

WAIT_SECONDS = 900.0
"""How long to wait for another measurement: its holder lets go between two cases, which take about a minute
at most, and after a qualification, which takes two."""

WAIT_AGAIN_SECONDS = 30.0
"""How long, once that was in vain: for each of the cases that follow."""


class Occupied(PressbenchError):
    """Somebody else is timing on this device, and did not stop in time: who, in one line."""


def lock_folder() -> Path:
    """Where locks lie. Not the user's own temporary folder: users must see each other's."""
    common = Path("/tmp") if os.name == "posix" else Path(tempfile.gettempdir())
    return Path(os.environ.get("PRESSBENCH_LOCKS") or common / "pressbench-locks")


@contextlib.contextmanager
def exclusive(
    device: str,
    *,
    wait: float = WAIT_SECONDS,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    progress: Progress = no_progress,
) -> Iterator[None]:
    """Hold the device's lock. Who has to wait is told once by `say`, then as progress in seconds.

    Raises Occupied after `wait` seconds, PressbenchError where the lock cannot be made."""
    folder = lock_folder()
    path, holder = folder / f"{device}.lock", folder / f"{device}.holder"
    try:
        _make_folder(folder)
        # Everyone may open it; filelock creates it only where it is missing, which a sticky folder asks for.
        lock = filelock.FileLock(path, mode=0o666)
        _acquire(lock, holder, device, wait, say, progress)
    except OSError as error:
        raise PressbenchError(
            f"cannot lock {device} for timing: {path}: {error.strerror}; "
            "set PRESSBENCH_LOCKS to a folder that all who measure can write"
        ) from None
    try:
        _write_holder(holder)
        yield
    finally:
        _write_holder(holder, "")
        lock.release()


def _acquire(
    lock: filelock.BaseFileLock,
    holder: Path,
    device: str,
    wait: float,
    say: Callable[[str], None],
    progress: Progress,
) -> None:
    started = time.monotonic()
    told = False
    while True:
        try:
            lock.acquire(timeout=0 if not told else 0.2, poll_interval=0.05)
            return
        except filelock.Timeout:
            waited = time.monotonic() - started
            who = held_by(holder)
            if waited >= wait:
                raise Occupied(f"{device} is being timed by {who}; gave up after {wait:.0f} s") from None
            if not told:
                say(f"waiting for {device}, which is being timed by {who}")
                told = True
            progress(f"waiting for {who}", int(waited), int(wait))


def held_by(holder: Path) -> str:
    """Who holds the lock, in a few words."""
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} ({found['user']}, {found['command']}, since {found['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _write_holder(path: Path, text: str | None = None) -> None:
    """A courtesy: where it cannot be written, whoever waits is told of "another process"."""
    if text is None:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        command = command if len(command) <= 60 else f"{command[:59]}…"
        since = datetime.now(UTC).isoformat(timespec="seconds")
        text = json.dumps({"pid": os.getpid(), "user": _user(), "command": command, "since": since})
    no_links = getattr(os, "O_NOFOLLOW", 0)  # another user may have put anything here
    with contextlib.suppress(OSError):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_TRUNC | no_links)
        except FileNotFoundError:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | no_links, 0o666)
            if hasattr(os, "fchmod"):
                os.fchmod(handle, 0o666)  # whatever the umask is
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    folder.chmod(0o1777)  # as /tmp is: everyone may add, nobody may take away another's


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return str(os.getuid()) if hasattr(os, "getuid") else "?"
