"""What a node of a cluster does of a run: a case at a time, as it would be measured there without a cluster."""

from __future__ import annotations

import atexit
import dataclasses
import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cache import Cache, default_root
from benchmarks.cluster.local import keep_to_share
from benchmarks.cluster.nodes import the_library
from benchmarks.cluster.shared_cache import Shared
from benchmarks.hardware import detected, select
from benchmarks.hardware.fingerprint import fingerprint
from benchmarks.matrix.cases import Case
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.qualification.standing import Standing
from benchmarks.run.session import Session
from compressors.interface import PressbenchError
from results.history.qualification import Qualification, QualificationStore
from results.store.record import CaseRecord


@dataclass(frozen=True)
class Job:
    """The run that cases are of. cache: the folder on each node, None for its usual one. shared: where nodes look for
    what others have made, see `benchmarks.cluster.shared_cache`."""

    run: str
    settings: Settings
    cache: str | None
    shared: str | None


@dataclass(frozen=True)
class Answer:
    """A node's record, and what the run tells at its end: where its seconds went, as `Stages` keeps them, how it stands
    by its qualification, and lines that it had to say."""

    record: CaseRecord
    seconds: Mapping[str, float]
    operations: Mapping[str, Mapping[str, int]]
    timed: Mapping[str, float]
    standings: Mapping[str, Standing]
    said: tuple[str, ...]


FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT))
"""What is in the message of whoever could not write, in whatever language it is written."""
ROOM = 2**30
"""Bytes that a disk has when what failed is put away, unless it is the disk that is full."""


class NoRoom(PressbenchError):
    """The disk of a node did not hold what a case writes. node: Ray's name of it. why: the case's reason. full: whether
    it will hold no other case's either."""

    def __init__(self, node: str, why: str, full: bool) -> None:
        super().__init__(node, why, full)
        self.node, self.why, self.full = node, why, full

    def __str__(self) -> str:
        return self.why


_sessions: dict[str, Session] = {}
_said: list[str] = []
_full: list[str] = []  # why nothing more can be measured here


def measure(job: Job, case: Case, again: bool = False) -> Answer:
    """The record of a case, by a session that lives as long as this process. again: with all others started afresh.
    Raises NoRoom where this node's disk is full: another's may not be."""
    if _full:
        raise NoRoom(the_library().get_runtime_context().get_node_id(), _full[0], True)
    session = _session(job)
    own = dataclasses.replace(select(case.hardware.hardware_class), name=case.hardware.name)
    case = dataclasses.replace(case, hardware=own)
    stages = session.stage
    before = dict(stages.seconds), {k: Counter(v) for k, v in stages.operations.items()}, dict(stages.timed)
    record = session.speed_again(case) if again else getattr(session, case.measure)(case)
    if why := _no_room(record, session.cache.root):
        if full := _is_full(session.cache.root):
            _full.append(why)
        raise NoRoom(the_library().get_runtime_context().get_node_id(), why, full)
    record = dataclasses.replace(record, evidence={**record.evidence, "node": _node(session, case)})
    said = tuple(_said)
    _said.clear()
    return Answer(
        record,
        _grown(stages.seconds, before[0]),
        {kind: found - before[1].get(kind, Counter()) for kind, found in stages.operations.items()},
        _grown(stages.timed, before[2]),
        dict(session.supervision.standings),
        said,
    )


def _no_room(record: CaseRecord, cache: Path) -> str | None:
    """The reason of a record that may be for want of room: by what it says, and where it failed by what is left."""
    said = any(text in f"{record.reason} {record.evidence}" for text in FULL)
    wanting = record.verdict in ("error", "unsupported") and said
    return record.reason if wanting or (record.verdict == "error" and _is_full(cache)) else None


def _is_full(cache: Path) -> bool:
    return any(shutil.disk_usage(place).free < ROOM for place in (cache, tempfile.gettempdir()) if Path(place).exists())


def _session(job: Job) -> Session:
    if job.run not in _sessions:
        keep_to_share()  # before anything asks which cores there are
        root = Path(job.cache) if job.cache else default_root()
        cache = Cache(root, _said.append, Shared(job.shared) if job.shared else None)
        _sessions[job.run] = Session(cache, job.settings, Stages(open(os.devnull, "w")), job.run)  # noqa: SIM115
        atexit.register(_sessions[job.run].close)
    return _sessions[job.run]


def _node(session: Session, case: Case) -> dict[str, Any]:
    """Which machine it was: its fingerprint, of which the record has the hash."""
    print_ = session.prepared.fingerprint(case.hardware)
    return {"host": print_["noted"]["host"], "key": print_["key"], "threads": case.hardware.threads}


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {kind: spent - before.get(kind, 0.0) for kind, spent in now.items() if spent > before.get(kind, 0.0)}


def standing(qualifications: str) -> str:
    """How this machine stands by the qualifications in that folder, in a few words a device."""
    keep_to_share()
    store = QualificationStore(Path(qualifications))
    words = {name: _word(store.history(fingerprint(one)["hash"]).qualifications) for name, one in detected().items()}
    return "; ".join(f"{name}: {word}" for name, word in words.items())


def _word(found: Sequence[Qualification]) -> str:
    if not found:
        return "never asked"
    return f"{'yes' if found[-1].qualified else 'no'}, {found[-1].ended[:10]}"
