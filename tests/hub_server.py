"""A model hub on localhost, as huggingface_hub asks it, that fails in every way it is told to.

    with HubServer(root) as hub:            # root/models/organisation/name/…, root/datasets/…
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.fault = "silent"                # every request from now on is accepted and never answered
        hub.fault = Fault("bytes", "model.safetensors")   # only those whose path ends so

A repository's commit is computed from its files; `main` is what is there now, `tags[name]` names further revisions,
and every commit that was served once stays, from memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

API = re.compile(r"/api/(models|datasets)/((?:[^/]+/)?[^/]+?)(?:/revision/([^/]+))?")
RESOLVE = re.compile(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)")
ERRORS = {
    "repository": (404, "RepoNotFound", "Repository not found"),
    "private": (401, "RepoNotFound", "Invalid username or password."),
    "gated": (401, "GatedRepo", "Access to model is restricted. You must be authenticated to access it."),
    "gated-403": (403, "GatedRepo", "Access to model is restricted and you are not in the authorized list."),
    "bad-token": (401, "", "Invalid credentials in Authorization header"),
    "forbidden": (403, "", "Your token has no read access"),
    "revision": (404, "RevisionNotFound", "Invalid rev id"),
    "disabled": (403, "", "Access to this resource is disabled."),
    "500": (500, "", "Internal error"),
    "429": (429, "", "Too many requests"),
}
"""Fault -> (status, X-Error-Code, X-Error-Message), as the real hub answers."""
LARGE = (".safetensors", ".bin", ".parquet", ".onnx", ".h5", ".pt", ".msgpack")
"""Files that the real hub keeps in LFS, of which it tells the SHA-256."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and with which requests.

    kind: a key of ERRORS, or "silent" (never answers), "trickle" (a byte every tenth of a second), "slow" (all of it
    within a second), "closed" (hangs up), "html" (a portal's page); for files "truncated" (shorter, and says so),
    "cut" (hangs up half-way), "bytes" (one differs); for listings "commit" (another than was asked for), "sizeless",
    "outside" (a path that leaves the folder). where: the end of the paths of the requests it holds for, "" for all.
    times: for so many requests, None for all. method: "GET" or "HEAD", "" for both.
    """

    kind: str
    where: str = ""
    times: int | None = None
    method: str = ""


@dataclass
class HubServer:
    """Serves the repositories below `root`. tags: revision -> commit, beside `main`, which is what lies there."""

    root: Path
    tags: dict[str, str] = field(default_factory=dict)
    fault: Fault | str | None = None
    requests: list[str] = field(default_factory=list)
    """`METHOD /path` of every request so far."""
    tokens: list[str] = field(default_factory=list)
    """The Authorization headers that came."""
    _commits: dict[str, tuple[str, dict[str, bytes]]] = field(default_factory=dict)
    _failed: int = 0

    def __enter__(self) -> HubServer:
        self._ended = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """The server is gone: its port is closed, its address stays."""
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repository: str, revision: str | None = None) -> str | None:
        """The commit of `models/org/name` or `datasets/org/name`; None where there is no such repository or
        revision."""
        folder = self.root / repository
        if not folder.is_dir():
            return None
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        listed = json.dumps([(path, hashlib.sha256(data).hexdigest()) for path, data in files.items()])
        now = hashlib.sha1(f"{repository} {listed}".encode()).hexdigest()
        self._commits[now] = (repository, files)
        commit = now if revision in (None, "main") else self.tags.get(str(revision), revision)
        return commit if self._commits.get(str(commit), ("",))[0] == repository else None

    def files(self, commit: str) -> Mapping[str, bytes]:
        """path -> content at a commit."""
        return self._commits[commit][1]

    def failing(self, method: str, path: str) -> str | None:
        """The kind of fault that holds for a request, None for none."""
        fault = Fault(self.fault) if isinstance(self.fault, str) else self.fault
        if fault is None or not path.endswith(fault.where) or fault.method not in ("", method):
            return None
        if fault.times is not None and self._failed >= fault.times:
            return None
        self._failed += 1
        return fault.kind


def git_hash(data: bytes) -> str:
    """The hash under which git keeps a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append(f"{self.command} {path}")
        if token := self.headers.get("Authorization"):
            self.hub.tokens.append(token)
        fault = self.hub.failing(self.command, path)
        if fault == "silent":
            self.hub._ended.wait(60)
            self.close_connection = True
        elif fault == "closed":
            self.close_connection = True
        elif fault in ERRORS:
            self._error(*ERRORS[fault])
        elif fault == "html":
            self._send(200, b"<html>Welcome to the airport</html>", {"Content-Type": "text/html"}, None)
        elif found := API.fullmatch(url.path):
            self._listing(*(unquote(part) if part else part for part in found.groups()), url.query, fault)
        elif found := RESOLVE.fullmatch(url.path):
            kind = "datasets" if found[1] else "models"
            self._file(kind, unquote(found[2]), unquote(found[3]), unquote(found[4]), fault)
        else:
            self._error(404, "", "no such page")

    def _listing(self, kind: str, name: str, revision: str | None, query: str, fault: str | None) -> None:
        if self.hub.commit(f"{kind}/{name}") is None:
            return self._error(*ERRORS["repository"])
        commit = self.hub.commit(f"{kind}/{name}", revision)
        if commit is None:
            return self._error(*ERRORS["revision"])
        siblings: list[dict[str, Any]] = []
        for path, data in self.hub.files(commit).items():
            entry: dict[str, Any] = {"rfilename": path}
            if parse_qs(query).get("blobs") in (["true"], ["True"]) and fault != "sizeless":
                entry |= {"size": len(data), "blobId": git_hash(data)}
                if path.endswith(LARGE):
                    pointer = b"pointer to " + path.encode()
                    sha = hashlib.sha256(data).hexdigest()
                    entry["blobId"] = git_hash(pointer)
                    entry["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": len(pointer)}
            siblings.append(entry)
        if fault == "outside":
            siblings.append({"rfilename": "../../outside.json", "size": 1, "blobId": git_hash(b"x")})
        told = "0" * 40 if fault == "commit" else commit
        body = json.dumps({"id": name, "modelId": name, "sha": told, "siblings": siblings, "tags": []}).encode()
        self._send(200, body, {"Content-Type": "application/json"}, fault)

    def _file(self, kind: str, name: str, revision: str, path: str, fault: str | None) -> None:
        if self.hub.commit(f"{kind}/{name}") is None:
            return self._error(*ERRORS["repository"])
        commit = self.hub.commit(f"{kind}/{name}", revision)
        if commit is None:
            return self._error(*ERRORS["revision"])
        data = self.hub.files(commit).get(path)
        if data is None:
            return self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        large = path.endswith(LARGE)
        etag = hashlib.sha256(data).hexdigest() if large else git_hash(data)
        if fault == "truncated":
            data = data[: len(data) // 2]
        elif fault == "bytes":
            data = data[:-1] + bytes([data[-1] ^ 1])
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{etag}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            return self._send(200, data, headers, fault)
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        if start > end:
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, None)
        self._send(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"}, fault)

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), told, None)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: str | None) -> None:
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "cut":
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif fault in ("trickle", "slow"):
                step = 1 if fault == "trickle" else len(body) // 9 + 1
                for at in range(0, len(body), step):
                    self.wfile.write(body[at : at + step])
                    if self.hub._ended.wait(0.1):
                        return
            else:
                self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):  # whoever asked was killed
            self.close_connection = True
