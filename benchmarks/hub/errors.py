"""What a user reads when the hub does not give what was asked for: one line that tells what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from compressors.interface import PressbenchError, Unsupported


class HubMistake(PressbenchError):
    """The user's to mend: a name, a revision, a token, an option."""


class HubOutOfReach(Unsupported):
    """The machine's state: no network, or a hub that does not answer, or not in time."""


class HubDamage(PressbenchError):
    """What came is not what the hub lists: refused."""


@dataclass(eq=False)
class Refusal(Exception):
    """Why the hub was asked in vain, before it is put into words.

    kind: "repository", "revision", "gated", "token", "forbidden", "disabled", "file" (the hub said no), "offline",
    "unreachable", "late" (it said nothing), "truncated" (it said less than it should), "disk" (ours), "failed" (our
    fault). why: a few words. token: whether one was sent. path: of the file that was being fetched. errno, file: of
    an error of kind "disk".
    """

    kind: str
    why: str
    token: bool = False
    path: str = ""
    errno: int = 0
    file: str = ""


OUT_OF_REACH = ("offline", "unreachable", "late")
"""The kinds that say nothing about the repository."""


def endpoint() -> str:
    """Where the hub is, as huggingface_hub sees it, without a password that may be part of it."""
    address = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def host() -> str:
    """The hub's name for people's eyes: host and port."""
    return urlsplit(endpoint()).netloc or endpoint()


def shown(kind: str, name: str, revision: str | None = None) -> str:
    """`model 'org/name' at revision`; a commit by its first 12 digits."""
    if revision is None:
        return f"{kind} {name!r}"
    return f"{kind} {name!r} at {revision[:12] if is_commit(revision) else revision}"


def is_commit(revision: str) -> bool:
    """Whether it is a full commit: 40 hexadecimal digits, lower case."""
    return len(revision) == 40 and not set(revision) - set("0123456789abcdef")


def told(refusal: Refusal, kind: str, name: str, revision: str | None) -> Exception:
    """The error to raise for a refusal: HubMistake, HubOutOfReach, HubDamage, PressbenchError, or the OSError that it
    was, all of one line."""
    what = shown(kind, name)
    if refusal.kind == "disk":
        return OSError(refusal.errno, refusal.why, refusal.file or None)
    if refusal.kind == "truncated":
        return HubDamage(
            f"hub: {shown(kind, name, revision)}: {refusal.path} came truncated (the connection to {host()} ended "
            "before the file did); nothing is kept: run again"
        )
    if refusal.kind == "failed":
        return PressbenchError(f"hub: cannot ask {host()} for {what}: {refusal.why}")
    if refusal.kind in OUT_OF_REACH:
        return HubOutOfReach(
            f"hub: {host()} is out of reach ({refusal.why}) and {shown(kind, name, revision)} was not kept from an "
            f"earlier look-up; {remedy(refusal)}"
        )
    return HubMistake(f"hub: {_mistake(refusal, kind, name, revision)}")


def remedy(refusal: Refusal) -> str:
    """What to do where the hub is out of reach."""
    if refusal.kind == "offline":
        return "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE once, what came is kept from then on"
    return "connect once, what came is kept from then on, or set HF_ENDPOINT to a mirror that answers"


def _mistake(refusal: Refusal, kind: str, name: str, revision: str | None) -> str:
    what = shown(kind, name)
    page = f"{endpoint()}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if refusal.kind == "repository":
        return (
            f"no {what} (or it is private{' and your HF_TOKEN may not read it' if refusal.token else ': set HF_TOKEN'})"
        )
    if refusal.kind == "revision":
        return f"{what} has no revision {revision!r}; take a branch, a tag or a full commit listed at {page}"
    if refusal.kind == "gated":
        token = "with the account of your HF_TOKEN" if refusal.token else "and set HF_TOKEN to a token of yours"
        return f"{what} is gated: accept its terms at {page} {token}"
    if refusal.kind == "token":
        token = "renew HF_TOKEN, or unset it for what is public" if refusal.token else "set HF_TOKEN"
        return f"{host()} does not let you read {what} ({refusal.why}): {token}"
    if refusal.kind == "forbidden":
        return f"your token may not read {what} ({refusal.why}): set HF_TOKEN to one with read access to it"
    if refusal.kind == "disabled":
        return f"{what} is disabled by the hub or its author; see {page}"
    return f"{shown(kind, name, revision)} has no file {refusal.path!r}, though the hub lists it; resolve it anew"
