"""The cache of everything expensive: assets, dense models, artifacts, the dense model's predictions.

An entry is a folder under a key that is the hash of all that decides its content. It is built aside and
renamed into place, under a lock that holds across processes, so a half-written entry is never read. A
seal lists every file's SHA-256; an entry that does not match its seal is named, thrown away and built
again. Deleting the cache is always safe.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock

from compressors.artifact import file_hash
from compressors.interface import PressbenchError

SEAL = "seal.json"
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)


def default_root() -> Path:
    """`$PRESSBENCH_CACHE`, else the user's cache folder."""
    if named := os.environ.get("PRESSBENCH_CACHE"):
        return Path(named)
    import platformdirs  # what only times or prints a fingerprint has no cache

    return platformdirs.user_cache_path("pressbench")


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_files(paths: Iterable[str | Path]) -> list[tuple[str, str]]:
    """(name, SHA-256) of source files that decide what is built. Where they lie does not decide, but files
    of one name in two folders both do."""
    return sorted((Path(p).name, hashlib.sha256(Path(p).read_bytes()).hexdigest()) for p in paths)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions by the name a package is installed or imported by, "absent" for what is not."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = _version_of_module(package)
    return found


def _version_of_module(name: str) -> str:
    """`sklearn` is installed by scikit-learn: the versions of all that install a module of that name."""
    top = name.partition(".")[0]
    if importlib.util.find_spec(top) is None:  # before asking every installed package, which is slow
        return "absent"
    owners = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
    return " ".join(importlib.metadata.version(owner) for owner in owners) or "unknown"


class CacheError(PressbenchError):
    """The cache cannot be written to: of this machine, whatever was to be kept there."""


class Elsewhere(Protocol):
    """Entries of other machines, see `benchmarks.cluster.shared_cache.Shared`."""

    def fetch(self, kind: str, name: str, folder: Path) -> bool: ...
    def leave(self, kind: str, name: str, entry: Path) -> None: ...


@dataclass(frozen=True)
class Cache:
    """Entries under `root`. `say` receives one line where an entry had to be rebuilt."""

    root: Path
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
    shared: Elsewhere | None = None
    """Where else an entry may be, and is left for others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", self.root.absolute())  # a method works in another folder

    def path(self, kind: str, label: str, key: Mapping[str, Any]) -> Path:
        """Where the entry of that key lies, whether it exists or not. `label` is for people's eyes."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in label)[:80]
        return self.root / kind / f"{safe}-{content_hash(key)[:20]}"

    def kinds(self) -> tuple[Path, ...]:
        """The folders that entries lie in, one a kind."""
        with contextlib.suppress(OSError):
            return tuple(sorted(path for path in self.root.iterdir() if path.is_dir()))
        return ()

    def get(self, kind: str, label: str, key: Mapping[str, Any]) -> Path | None:
        """The entry if it is there and sound; a damaged one is named and removed."""
        entry = self.path(kind, label, key)
        if not entry.exists():
            return None
        if fault := damage(entry):
            self.say(f"cache: {entry}: {fault}; it is thrown away and built again")
            _remove(entry)
            return None
        return entry

    def build(self, kind: str, label: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The entry of that key, made by `make(folder)` if it is not there. What `make` raises passes
        through, and leaves nothing behind."""
        entry = self.path(kind, label, key)
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(f"{entry}.lock")
            with lock:
                if found := self.get(kind, label, key):
                    return found
                building = f".building-{entry.name}-"
                for abandoned in entry.parent.glob(f"{building}*"):  # its process was killed: we hold the lock
                    shutil.rmtree(abandoned, ignore_errors=True)
                with tempfile.TemporaryDirectory(dir=entry.parent, prefix=building) as aside:
                    folder = Path(aside) / "entry"
                    folder.mkdir()
                    if not self._fetched(kind, entry.name, folder):
                        started = time.time()
                        make(folder)
                        _seal(folder, key, time.time() - started)
                    os.replace(folder, entry)
                self._leave(kind, entry)
                return entry
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise CacheError(
                f"cache: cannot write {error.filename or entry}: {error.strerror}; "
                "set PRESSBENCH_CACHE to a folder of yours"
            ) from None

    def _fetched(self, kind: str, name: str, folder: Path) -> bool:
        """Whether somebody else has made it, and it is in the folder now, as it was sealed."""
        if self.shared is None or not self.shared.fetch(kind, name, folder):
            return False
        if fault := damage(folder):
            self.say(f"cache: {name} of the shared cache: {fault}; it is made here")
            shutil.rmtree(folder)
            folder.mkdir()
            return False
        return True

    def _leave(self, kind: str, entry: Path) -> None:
        if self.shared is not None:
            try:
                self.shared.leave(kind, entry.name, entry)
            except OSError as error:  # the others make it themselves
                self.say(f"cache: {entry.name} could not be left in the shared cache: {error}")


def _files(entry: Path) -> list[Path]:
    return sorted(p for p in entry.rglob("*") if p.is_file() and p.name != SEAL)


def _seal(entry: Path, key: Mapping[str, Any], seconds: float) -> None:
    files = {p.relative_to(entry).as_posix(): file_hash(p) for p in _files(entry)}
    text = json.dumps({"key": key, "files": files, "seconds": round(seconds, 3)}, default=str, indent=1)
    (entry / SEAL).write_text(text, encoding="utf-8")


def damage(entry: Path) -> str | None:
    """Which file of an entry is not as it was sealed, and how; None where all are."""
    try:
        sealed = dict(json.loads((entry / SEAL).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return "its seal is missing or damaged"
    present = {p.relative_to(entry).as_posix(): p for p in _files(entry)}
    for name in sorted(sealed.keys() | present.keys()):
        if name not in present:
            return f"{name} is missing"
        if name not in sealed:
            return f"{name} does not belong to it"
        if file_hash(present[name]) != sealed[name]:
            return f"{name} is not what was written (its SHA-256 differs)"
    return None


def _remove(entry: Path) -> None:
    # Renamed first, so that nobody opens an entry of which half is gone.
    grave = entry.with_name(f".removed-{entry.name}-{os.getpid()}")
    os.replace(entry, grave)
    shutil.rmtree(grave, ignore_errors=True)
