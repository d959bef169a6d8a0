"""What the hub said before, kept in the cache: which files a commit has, and which commit a revision was, and when.

The first never changes, so a pinned commit needs no network once it is known. The second is what a look-up falls back
on when the hub is out of reach. Both belong to one endpoint: a mirror is not taken for the hub.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache
from benchmarks.hub.errors import endpoint, is_commit
from compressors.interface import PressbenchError

LISTINGS = "hub-listings"
REVISIONS = "hub-revisions"


@dataclass(frozen=True)
class Memory:
    """What is kept about one repository of the hub at the present endpoint. kind, name: checked ones."""

    cache: Cache
    kind: str
    name: str

    def listing(self, commit: str) -> list[dict[str, Any]] | None:
        """The files of a commit, as `client.look_up` tells them, or None where it was never looked up."""
        entry = self.cache.get(LISTINGS, self._label, self._key(commit=commit))
        return None if entry is None else json.loads((entry / "files.json").read_text(encoding="utf-8"))

    def commit(self, revision: str | None) -> tuple[str, str] | None:
        """(commit, date) of the last look-up of that revision; None where there was none or its record is damaged."""
        question = self._key(revision=revision)
        try:
            record = json.loads(self._record(question).read_text(encoding="utf-8"))
            if record["question"] == question and is_commit(record["commit"]):
                return record["commit"], str(datetime.date.fromisoformat(record["date"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def keep(self, revision: str | None, commit: str, files: list[dict[str, Any]]) -> None:
        """Remember what was looked up today. Raises PressbenchError where the cache cannot be written."""
        text = json.dumps(files, indent=1)

        def write(folder: Path) -> None:
            (folder / "files.json").write_text(text, encoding="utf-8")

        self.cache.build(LISTINGS, self._label, self._key(commit=commit), write)
        question = self._key(revision=revision)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        record = {"question": question, "commit": commit, "date": today}
        path = self._record(question)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False, encoding="utf-8") as aside:
                json.dump(record, aside)
            os.replace(aside.name, path)
        except OSError as error:
            raise PressbenchError(
                f"cache: cannot write {path}: {error.strerror}; set PRESSBENCH_CACHE to a folder of yours"
            ) from None

    @property
    def _label(self) -> str:
        return f"{self.kind}-{self.name}"

    def _key(self, **more: str | None) -> dict[str, str | None]:
        return {"endpoint": endpoint(), "kind": self.kind, "name": self.name, **more}

    def _record(self, question: Mapping[str, str | None]) -> Path:
        path = self.cache.path(REVISIONS, self._label, question)
        return path.with_name(f"{path.name}.json")
