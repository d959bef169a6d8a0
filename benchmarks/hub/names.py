"""Names and revisions of repositories, and paths of files in them, checked before anything is done with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from benchmarks.cache import SEAL
from benchmarks.hub.errors import HubDamage, HubMistake

KINDS = ("model", "dataset")
_PART = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"\w(?:[\w.@+=#,/-]{0,198}[\w@+=#,-])?", re.ASCII)


def check_name(kind: str, name: str) -> None:
    """Raises HubMistake where `name` cannot be that of a repository: `name` or `organisation/name`."""
    if kind not in KINDS:
        raise HubMistake(f"hub: no repository is a {kind!r}; right is one of: {', '.join(KINDS)}")
    parts = name.split("/")
    fits = len(parts) <= 2 and all(_PART.fullmatch(part) for part in parts)
    if not fits or "--" in name or ".." in name or name.endswith(".git"):
        raise HubMistake(
            f"hub: {name[:120]!r} cannot be the name of a {kind}; right is name or organisation/name, of letters, "
            "digits, '-', '_' and '.'"
        )


def check_revision(kind: str, name: str, revision: str | None) -> str | None:
    """The revision, a full commit in lower case. Raises HubMistake where it cannot be one; None is the default
    branch."""
    if revision is None:
        return None
    if re.fullmatch(r"[0-9A-Fa-f]{40}", revision):
        return revision.lower()
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise HubMistake(
            f"hub: {revision[:120]!r} cannot be a revision of {kind} {name!r}; take a branch, a tag or a full commit"
        )
    return revision


def check_path(kind: str, name: str, path: str) -> None:
    """Raises HubDamage where a file of that path, below a folder, would lie elsewhere, or would not be sealed."""
    pure = PurePosixPath(path)
    odd = not path.isprintable() or "\\" in path or pure.as_posix() != path
    if odd or pure.is_absolute() or not pure.parts or ".." in pure.parts:
        raise HubDamage(f"hub: {kind} {name!r} lists a file that would leave its folder: {path[:120]!r}; refused")
    if pure.name == SEAL:
        raise HubDamage(f"hub: {kind} {name!r} lists a file {path[:120]!r}, the name of the cache's own seal; refused")


def listed(paths: Sequence[str]) -> str:
    """The first few of the paths that a hub lists, for people's eyes: whatever they are, it stays one line."""
    first = ", ".join(path if path.isprintable() else ascii(path) for path in paths[:5])
    return (f"{first} and {len(paths) - 5} more" if len(paths) > 5 else first) or "no file"
