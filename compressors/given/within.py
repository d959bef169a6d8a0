"""Whether what lies in a folder is really in it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from compressors.given.form import GivenError


def leads_out(folder: Path, name: str) -> bool:
    """Whether a file called so, as seen from the folder, lies elsewhere, by its name or by a link. In a snapshot of the
    hub's cache, `models--…/snapshots/COMMIT`, files are links into `blobs` of the same repository: these do not."""
    if Path(name).is_absolute() or Path(os.path.normpath(name)).parts[:1] == ("..",):
        return True
    file = (folder / name).resolve()
    return not any(file.is_relative_to(root) for root in (folder.resolve(), *_blobs(folder)))


def check_within(folder: Path, names: Iterable[str], said: str) -> None:
    """Raises GivenError where one of these files, seen from the folder, lies elsewhere. said: how the user named it."""
    for name in names:
        if leads_out(folder, name):
            raise GivenError(f"{said}: {name} leads out of its folder")


def _blobs(folder: Path) -> list[Path]:
    """The folder of contents of a snapshot, or of a folder in one, where it is no link itself."""
    here = folder.absolute()
    homes = [one.parent for one in here.parents if one.name == "snapshots"]
    return [blobs.resolve() for home in homes if (blobs := home / "blobs").is_dir() and not blobs.is_symlink()]
