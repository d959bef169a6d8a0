"""Files that become an artifact as they are, by their name in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """What a runtime saves where a model was not made here. files: name in the artifact, which may lie in a folder of
    it -> the file."""

    files: Mapping[str, Path]

    def copy(self, directory: Path) -> None:
        """Copy them: whoever changes the given ones later changes no artifact."""
        for name, file in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, directory / name)
