"""What a session of measuring leaves behind: every slot of every pair of processes, as JSON."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from compressors.interface import PressbenchError

SCHEMA = 1
BATCH = 1
"""Pictures in one forward pass."""
PAIRS = 40
"""Pairs of slots in every recording, whatever anybody decides on them."""
LONGEST = 200
"""Pairs at most, where ours has not decided by then: the default budget of a speed case."""


class Recording(BaseModel):
    """One pair of fresh processes. old, new: seconds of each slot, in pairs; orders: who went first, (d) the old
    or (c) the new version; seconds: by the clock, for all of it, untimed passes included; started: seconds
    since the beginning of the session."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: int
    calls: int
    extra: int
    round: int
    started: float
    seconds: float
    old: list[float]
    new: list[float]
    orders: list[str]


class Session(BaseModel):
    """All recordings of one run, and the machine they speak of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    seed: int
    date: str
    cpu: str
    cores: int
    threads: int
    system: str
    versions: dict[str, str]
    seconds: float
    recordings: list[Recording]

    def of(self, percent: int) -> list[Recording]:
        """The recordings of one slow-down, 0 for unchanged, in the order they were made."""
        return [r for r in self.recordings if r.percent == percent]


def stored_session(path: Path) -> Session:
    """The samples in a file. Raises PressbenchError where it has none of this version."""
    try:
        return Session.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PressbenchError(f"{path}: not samples of this version: {' '.join(str(error).split())[:200]}") from None
