"""The process that talks to the hub: one question in, one answer out, and whoever asked may kill it at any time.

Run by path (`python -P client.py`), so that neither torch nor anything else of this project is imported: it answers
after a quarter of a second. One line of JSON on standard input: {"do": "look_up", …} or {"do": "download", …}. One
line of JSON on standard output: {"result": …} or {"error": kind, "why": words, …}, kinds as in `errors.py`. When its
standard input is closed it ends, so it does not outlive whoever asked.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

TRIES = 3
"""How often a look-up is tried that a server answers with an error of its own (HTTP 5xx) or "too many requests"."""
PAUSE_SECONDS = 0.5
"""Before the second try; twice as long before each further one."""
FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Of the user's own disk where they name a file; a firewall gives them, too."""


def look_up(kind: str, name: str, revision: str | None, seconds: float) -> dict[str, Any]:
    """{"commit": 40 hex digits, "files": [{"path", "bytes", "sha256" or None, "git" or None}, …]}."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(1, TRIES + 1):
        try:
            info = HfApi().repo_info(name, repo_type=kind, revision=revision, files_metadata=True, timeout=seconds)
            break
        except HfHubHTTPError as error:
            status = error.response.status_code
            if attempt == TRIES or not (status >= 500 or status in (408, 429)):
                raise
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
    files = []
    for sibling in getattr(info, "siblings", None) or ():
        lfs = sibling.lfs or {}
        files.append(
            {
                "path": sibling.rfilename,
                "bytes": lfs.get("size", sibling.size),
                "sha256": lfs.get("sha256"),
                "git": None if lfs else sibling.blob_id,  # of a large file it is the hash of a pointer to it
            }
        )
    return {"commit": info.sha, "files": files}


def download(kind: str, name: str, commit: str, paths: list[str], folder: str) -> None:
    """The files at that commit below `folder`, from the hub only: another library's cache is not read."""
    from huggingface_hub import hf_hub_download

    for path in paths:
        try:
            hf_hub_download(
                name,
                path,
                repo_type=kind,
                revision=commit,
                local_dir=os.path.join(folder, "files"),
                cache_dir=os.path.join(folder, "no-cache"),
            )
        except BaseException as error:
            error.path = path  # type: ignore[attr-defined]
            raise


ANSWERS: dict[str, Callable[..., Any]] = {"look_up": look_up, "download": download}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def explain(error: BaseException) -> dict[str, Any]:
    """An exception of huggingface_hub, or of what lies below it, as {"error": kind, "why": words}.

    What lies below (httpx in version 1, httpx2 in version 2) is told by names of classes, not imported."""
    chain = list(_chain(error))
    for found in chain:
        if answer := _from_the_hub(found):
            return answer
    for found in chain:
        if isinstance(found, OSError) and (found.errno in FULL or (found.errno in DENIED and found.filename)):
            return {"error": "disk", "why": found.strerror, "errno": found.errno, "file": str(found.filename or "")}
    for found in reversed(chain):  # what lies deepest is the most exact
        if why := _from_the_network(found):
            return {"error": "unreachable", "why": why}
    line = " ".join(str(error).split())[:200]
    if "Consistency check failed" in line:
        return {"error": "truncated", "why": line}
    if any(type(found).__name__ in ("FileMetadataError", "JSONDecodeError") for found in chain):
        return {"error": "unreachable", "why": "what answers there is no hub"}
    return {"error": "failed", "why": f"{type(error).__name__}: {line}"}


def _from_the_hub(error: BaseException) -> dict[str, Any] | None:
    from huggingface_hub import errors, get_token

    if isinstance(error, errors.OfflineModeIsEnabled):
        return {"error": "offline", "why": "HF_HUB_OFFLINE is set"}
    if not isinstance(error, errors.HfHubHTTPError):
        return None
    status = error.response.status_code
    for kind, cls in (
        ("gated", errors.GatedRepoError),  # is a RepositoryNotFoundError, too
        ("repository", errors.RepositoryNotFoundError),
        ("revision", errors.RevisionNotFoundError),
        ("disabled", errors.DisabledRepoError),
        ("file", errors.EntryNotFoundError),
    ):
        if isinstance(error, cls):
            return {"error": kind, "why": f"HTTP {status}", "token": bool(get_token())}
    answered = {401: "token", 403: "forbidden", 404: "repository", 408: "unreachable", 429: "unreachable"}.get(status)
    by_class = "unreachable" if status >= 500 else "failed"
    return {"error": answered or by_class, "why": f"HTTP {status}", "token": bool(get_token())}


def _from_the_network(error: BaseException) -> str | None:
    import socket
    import ssl

    name = type(error).__name__
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, TimeoutError) or name.endswith("Timeout"):
        return "no answer"
    if name == "RemoteProtocolError":
        return "the connection was closed in the middle of an answer"
    if name == "ProxyError":
        return f"proxy: {' '.join(str(error).split())[:100]}"
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "no route to it"
    if isinstance(error, ConnectionError) or name in ("ConnectError", "ReadError", "WriteError", "NetworkError"):
        return " ".join(str(error).split())[:100] or name
    return None


def _end_with_asker() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def main() -> None:
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    line = b""
    while not line.endswith(b"\n"):
        if not (more := os.read(0, 65536)):
            os._exit(1)
        line += more
    threading.Thread(target=_end_with_asker, daemon=True).start()
    question = json.loads(line)
    try:
        reply: dict[str, Any] = {"result": ANSWERS[question.pop("do")](**question)}
    except Exception as error:
        reply = explain(error) | {"path": getattr(error, "path", "")}
    print(json.dumps(reply), file=answer, flush=True)
    os._exit(0)  # threads of libraries are not waited for


if __name__ == "__main__":
    main()
