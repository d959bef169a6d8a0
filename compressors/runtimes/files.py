"""Files that become an artifact as they are, by their name in it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressors.interface import PressbenchError


@dataclass(frozen=True)
class Files:
    """What a runtime saves where a model was not made here. files: name in the artifact, which may lie in a folder of
    it -> the file. hashes: name -> the SHA-256 that it was looked at with, where that is known."""

    files: Mapping[str, Path]
    hashes: Mapping[str, str] = field(default_factory=dict)

    def copy(self, directory: Path) -> None:
        """Copy them: whoever changes the given ones later changes no artifact. Raises PressbenchError where one is no
        longer what was looked at."""
        for name, file in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, directory / name)
            with (directory / name).open("rb") as copied:
                found = hashlib.file_digest(copied, "sha256").hexdigest()
            if self.hashes.get(name, found) != found:
                raise PressbenchError(f"{file}: changed while it was being read; start again")


def copy_files(model: Any, directory: Path, runtime: str) -> None:
    """What a runtime saves that makes no model of its own. Raises PressbenchError for anything but Files, and as
    `Files.copy` does."""
    if not isinstance(model, Files):
        raise PressbenchError(f"the runtime {runtime} takes what is there already, not a model that was made here")
    model.copy(directory)
