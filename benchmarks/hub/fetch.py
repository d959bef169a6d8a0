"""Files of a repository at one commit, fetched once into the sealed cache and verified.

The files come into a folder aside and are moved in place when each has the size and the hash that the hub lists, so
an entry is whole or not there.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cache import Cache
from benchmarks.hub import process
from benchmarks.hub.errors import HubDamage, HubMistake, HubOutOfReach, Refusal, host, remedy, shown, told
from benchmarks.hub.model_files import model_patterns
from benchmarks.hub.names import check_name, check_path, listed
from benchmarks.hub.repository import HubFile, Repository
from compressors.artifact import file_hash
from compressors.interface import Progress, no_progress

__all__ = ["fetch", "model_patterns", "total_bytes"]


def fetch(
    repository: Repository,
    patterns: Sequence[str],
    cache: Cache,
    *,
    seconds: float = 900,
    progress: Progress = no_progress,
) -> Path:
    """A folder with the files that match any of `patterns` (fnmatch, case-sensitive, `*` matches slashes, too).

    What is there already is not asked of the hub. A download ends after `seconds`; while another process fetches the
    same files, this one waits for it. `progress` is told bytes. Raises HubMistake where no file matches or access is
    denied, HubDamage where a file is not what the hub lists or would leave the folder, HubOutOfReach.
    """
    check_name(repository.kind, repository.name)
    files = matching(repository, patterns)
    if not files:
        known = listed(sorted(file.path for file in repository.files))
        raise HubMistake(f"hub: {_at(repository)} has no file like {', '.join(map(repr, patterns))}; it has: {known}")
    for file in files:
        check_path(repository.kind, repository.name, file.path)
    key = {
        "kind": repository.kind,
        "name": repository.name,
        "commit": repository.commit,
        "files": [[file.path, file.bytes, file.sha256, file.git] for file in files],
    }
    label = f"{repository.kind}-{repository.name}-{repository.commit[:12]}"

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:  # the same disk: files are moved, not copied
            came = _download(repository, files, Path(aside), seconds, progress)
            for file in files:
                _verify(repository, file, came / file.path)
            for file in files:
                target = folder / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(came / file.path, target)

    return cache.build("hub", label, key, make)


def matching(repository: Repository, patterns: Sequence[str]) -> list[HubFile]:
    """The files that match any of the patterns, by path."""
    return sorted(
        (file for file in repository.files if any(fnmatch.fnmatchcase(file.path, pattern) for pattern in patterns)),
        key=lambda file: file.path,
    )


def total_bytes(repository: Repository, patterns: Sequence[str]) -> int:
    """The size of what `fetch` would fetch, as the hub lists it."""
    return sum(file.bytes for file in matching(repository, patterns))


def _at(repository: Repository) -> str:
    return shown(repository.kind, repository.name, repository.commit)


def _download(
    repository: Repository, files: Sequence[HubFile], aside: Path, seconds: float, progress: Progress
) -> Path:
    """The folder below `aside` with the files as they came."""
    total = sum(file.bytes for file in files)

    def tick() -> None:
        progress(f"fetching {repository.name}", min(_bytes_in(aside), total), total)

    question = {
        "do": "download",
        "kind": repository.kind,
        "name": repository.name,
        "commit": repository.commit,
        "paths": [file.path for file in files],
        "folder": str(aside),
    }
    try:
        process.ask(question, seconds, tick)
    except Refusal as refusal:
        if refusal.kind == "late":
            raise HubOutOfReach(
                f"hub: {_at(repository)}: {_size(_bytes_in(aside))} of {_size(total)} came from {host()} in "
                f"{seconds:g} s; ended, nothing is kept: run again on a faster network, or choose a smaller "
                f"{repository.kind}"
            ) from None
        if refusal.kind in ("offline", "unreachable"):
            raise HubOutOfReach(
                f"hub: {_at(repository)}: {host()} is out of reach ({refusal.why}) and its files "
                f"({_size(total)}) are not in the cache; {remedy(refusal)}"
            ) from None
        raise told(refusal, repository.kind, repository.name, repository.commit) from None
    progress(f"fetching {repository.name}", total, total)
    return aside / "files"


def _bytes_in(folder: Path) -> int:
    """Bytes of the files that another process is downloading below a folder."""
    found = 0
    notes = str(folder / "files" / ".cache")  # of the library, beside what it has not yet moved in place
    for at, _, names in os.walk(folder):
        for name in names:
            if at.startswith(notes) and not name.endswith(".incomplete"):
                continue
            try:
                found += os.lstat(os.path.join(at, name)).st_size
            except OSError:  # moved in between
                continue
    return found


def _size(number: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} bytes"


def _verify(repository: Repository, file: HubFile, path: Path) -> None:
    """Raises HubDamage where `path` is not the file that the hub lists."""
    if path.is_symlink() or not path.is_file():
        raise HubDamage(f"hub: {_at(repository)}: {file.path} did not come; nothing is kept: run again")
    if (came := path.stat().st_size) != file.bytes:
        raise HubDamage(
            f"hub: {_at(repository)}: {file.path} came with {came} bytes, the hub lists {file.bytes}; "
            "nothing is kept: run again"
        )
    if file.sha256 is not None:
        actual, right, of = file_hash(path), file.sha256, "SHA-256"
    elif file.git is not None:
        actual, right, of = _git_hash(path), file.git, "git hash"
    else:
        return
    if actual != right:
        raise HubDamage(
            f"hub: {_at(repository)}: {file.path} came with {of} {actual[:12]}…, the hub lists {right[:12]}…; "
            "nothing is kept: run again"
        )


def _git_hash(path: Path) -> str:
    """The hash under which git keeps a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()
