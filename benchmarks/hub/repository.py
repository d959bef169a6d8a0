"""A repository of the hub at one commit: `resolve` makes it from a name and a revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.cache import Cache
from benchmarks.hub import process
from benchmarks.hub.errors import OUT_OF_REACH, HubDamage, HubMistake, HubOutOfReach, Refusal, is_commit, told
from benchmarks.hub.memory import Memory
from benchmarks.hub.names import check_name, check_revision

__all__ = ["HubDamage", "HubFile", "HubMistake", "HubOutOfReach", "Kind", "Repository", "resolve"]

Kind = Literal["model", "dataset"]


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it. path: relative, with slashes; not checked. bytes: its size. sha256: of its content,
    hexadecimal, which the hub tells of large files (LFS). git: of the others it tells the hash of git, the SHA-1 of
    `blob <size>\\0<content>`."""

    path: str
    bytes: int
    sha256: str | None
    git: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit. revision: what the user asked for, None for the default branch. commit: 40
    hexadecimal digits. note: one line where the hub was not asked today although it should have been, else empty."""

    kind: Kind
    name: str
    revision: str | None
    commit: str
    files: tuple[HubFile, ...]
    note: str = ""


def resolve(kind: Kind, name: str, revision: str | None, cache: Cache, *, seconds: float = 20) -> Repository:
    """The repository `name` at `revision`: a branch, a tag, a full commit, or None for the default branch.

    A full commit that was looked up before is taken from `cache` without any request. Anything else is asked of the
    hub, for `seconds` at most. Where it is out of reach the last look-up is taken, and `note` says so.
    Raises HubMistake (name, revision, access), HubOutOfReach, both in one line. HF_ENDPOINT, HF_TOKEN and
    HF_HUB_OFFLINE count as they do for huggingface_hub; workers set the last, so call it outside of them.
    """
    check_name(kind, name)
    revision = check_revision(kind, name, revision)
    memory = Memory(cache, kind, name)
    if revision is not None and is_commit(revision) and (kept := memory.listing(revision)) is not None:
        return Repository(kind, name, revision, revision, _files(kept))
    question = {"do": "look_up", "kind": kind, "name": name, "revision": revision, "seconds": seconds}
    try:
        commit, listed = _checked(process.ask(question, seconds))
        if revision is not None and is_commit(revision) and revision != commit:
            raise Refusal("unreachable", "it answers with another commit than it was asked for")
    except Refusal as refusal:
        if refusal.kind in OUT_OF_REACH and (last := memory.commit(revision)):
            commit, date = last
            if (kept := memory.listing(commit)) is not None:
                note = f"{kind} {name}: hub out of reach ({refusal.why}): commit {commit[:12]} as of {date}"
                return Repository(kind, name, revision, commit, _files(kept), note)
        raise told(refusal, kind, name, revision) from None
    memory.keep(revision, commit, listed)
    return Repository(kind, name, revision, commit, _files(listed))


def _checked(answer: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """(commit, files) of a look-up's answer. Raises Refusal where a hub would not have answered so."""
    commit, listed = answer["commit"], answer["files"]
    if not (isinstance(commit, str) and is_commit(commit)):
        raise Refusal("unreachable", "it does not tell the commit")
    for file in listed:
        path, size = file["path"], file["bytes"]
        if not isinstance(path, str):
            raise Refusal("unreachable", "it does not tell the names of files")
        if not isinstance(size, int) or size < 0:
            raise Refusal("unreachable", f"it does not tell the size of {path!r}")
    return commit, listed


def _files(listed: list[dict[str, Any]]) -> tuple[HubFile, ...]:
    return tuple(HubFile(**file) for file in listed)
