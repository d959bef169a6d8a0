"""What a worker may see of the cache: what it was given, and nothing else.

A method that reads the dense model's weights when its artifact is loaded ships less than it needs; one that reads the
test examples while it compresses knows the answers. So a worker that runs a method's code is closed in before that
code comes: on Linux, where the kernel allows it, in a mount namespace of its own, in which the folders of the cache are
empty but for what was given, and that can be read only. Everywhere a hook of the interpreter refuses to open or list
what is hidden, and says so by name.
Does not protect from: without namespaces (macOS, some containers), code that opens files by other means than Python's,
and knows where; what lies outside the cache, such as a file of one's own, or the network.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressors.interface import PressbenchError

_NEW_NAMESPACE, _NEW_USER = 0x00020000, 0x10000000  # of unshare(2)
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # of mount(2)
_KEPT = {os.ST_NOSUID: 2, os.ST_NODEV: 4, os.ST_NOEXEC: 8} if sys.platform == "linux" else {}
"""Flags of a mount that must be repeated when it is mounted again: statvfs's -> mount(2)'s."""
_EVENTS = {"open", "os.listdir", "os.scandir", "os.chdir", "os.remove", "os.rename", "os.link", "os.symlink"}
_LOOKS = {"os.listdir", "os.scandir", "os.chdir"}


class Reached(PressbenchError):
    """A method reached for what it was not given."""


@dataclass(frozen=True)
class Enclosure:
    """hidden: folders of which nothing is seen but what is below one of the others. given: files and folders that can
    be read. writable: a folder that can be written to, too."""

    hidden: tuple[Path, ...]
    given: tuple[Path, ...]
    writable: Path | None = None

    def enter(self) -> str:
        """Close this process in, for good: "namespace" or "hook", by what holds it. Call it while there is one thread.

        Raises OSError where a namespace was begun and could not be finished."""
        hidden = tuple(folder for folder in self.hidden if folder.is_dir())
        kept = (*self.given, *((self.writable,) if self.writable else ()))
        how = "hook"
        if sys.platform == "linux" and hidden and _separated():
            _cover(hidden, self.given, self.writable)
            how = "namespace"
        _refuse(hidden, kept)
        return how


def _refuse(hidden: Sequence[Path], kept: Sequence[Path]) -> None:
    """Refuse what lies in `hidden` and not in `kept`, from now on."""
    names = {name for folder in hidden for name in (os.path.realpath(folder), os.path.abspath(folder))}
    closed = tuple(f"{name}{os.sep}" for name in names)
    roots = tuple({os.path.realpath(path) for path in kept} | {str(path) for path in kept})
    # Who looks for what it was given may pass by; in the folders of the cache themselves there is nothing else to see.
    passed = {str(parent) for root in roots for parent in Path(root).parents} - names

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in _EVENTS or not arguments or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not f"{path}{os.sep}".startswith(closed) or (path in passed and event in _LOOKS):
            return
        if not any(path == root or path.startswith(f"{root}{os.sep}") for root in roots):
            raise Reached(f"reached for {path}, which it was not given: what is not in the artifact is not shipped")

    sys.addaudithook(hook)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if _libc().mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", target)


def _separated() -> bool:
    """Whether this process has a mount namespace of its own now, as root or in a user namespace where it is none."""
    if _libc().unshare(_NEW_NAMESPACE) == 0:
        found = True
    else:
        user, group = os.getuid(), os.getgid()
        if _libc().unshare(_NEW_NAMESPACE | _NEW_USER):
            return False
        with contextlib.suppress(OSError):  # not there before Linux 3.19
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        try:
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
        except OSError:
            return False
        found = True
    try:
        _mount(None, "/", None, _RECURSIVE | _PRIVATE)
    except OSError:  # a security module that lets one have a namespace and not use it
        return False
    return found


def _cover(hidden: Sequence[Path], given: Sequence[Path], writable: Path | None) -> None:
    """Lay an empty file system over each hidden folder, and in it what was given, where it was."""
    held = [(path, os.open(path, os.O_PATH), True) for path in given]  # type: ignore[attr-defined]
    if writable:
        held.append((writable, os.open(writable, os.O_PATH), False))  # type: ignore[attr-defined]
    real = [os.path.realpath(folder) for folder in hidden]
    for folder in real:
        _mount("none", folder, "tmpfs", 0, "size=1m,mode=755")
    for path, handle, read_only in held:
        place = os.path.realpath(path)
        if any(place.startswith(f"{folder}{os.sep}") for folder in real):
            source = f"/proc/self/fd/{handle}"
            flags = sum(ours for theirs, ours in _KEPT.items() if os.statvfs(source).f_flag & theirs)
            if os.path.isdir(source):
                os.makedirs(place, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb"):
                    pass
            _mount(source, place, None, _BIND)
            if read_only:
                _mount(None, place, None, _BIND | _REMOUNT | _READ_ONLY | flags)
        os.close(handle)
    for folder in real:
        _mount(None, folder, None, _REMOUNT | _READ_ONLY, "size=1m,mode=755")
