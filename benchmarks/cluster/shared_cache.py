"""A place where nodes leave what they have made for others: any URL of fsspec, as a folder that all of them mount
(`file:///shared/pressbench`) or a bucket (`s3://…`, with its package installed).

An entry lies there file by file, its seal last: without one it is not there yet, and what does not match its seal after
it was fetched is thrown away. Its name is the hash of all that decides its content, so that two nodes which make one at
once leave the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cache import SEAL


@dataclass(frozen=True)
class Shared:
    """Of one URL."""

    url: str

    def fetch(self, kind: str, name: str, folder: Path) -> bool:
        """Copy an entry into `folder`, an empty one; False where it is not there, or could not be read."""
        try:
            place, root = self._at(kind, name)
            if not place.exists(f"{root}/{SEAL}"):
                return False
            for path in place.find(root):
                file = folder / path.removeprefix(root).lstrip("/")
                if not file.resolve().is_relative_to(folder.resolve()):
                    raise OSError(f"{path}: does not lie in its entry")
                file.parent.mkdir(parents=True, exist_ok=True)
                place.get_file(path, str(file))
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            return False
        return True

    def leave(self, kind: str, name: str, entry: Path) -> None:
        """Copy an entry there. Raises OSError where that place cannot be written."""
        place, root = self._at(kind, name)
        if place.exists(f"{root}/{SEAL}"):
            return
        files = sorted(path for path in entry.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == SEAL):
            target = f"{root}/{path.relative_to(entry).as_posix()}"
            place.makedirs(target.rpartition("/")[0], exist_ok=True)
            place.put_file(str(path), target)

    def _at(self, kind: str, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        place, root = url_to_fs(self.url)
        return place, f"{root.rstrip('/')}/{kind}/{name}"
