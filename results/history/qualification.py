"""What a qualification of a machine found, and where qualifications are kept: one JSON Lines file for each
fingerprint, only ever appended to, so that a machine's history outlives the cache.

Each line is on disk before the call returns. Reading never stops at a bad line and never passes over one:
what cannot be read, a newer schema included, is listed in `History.damaged` and left where it is.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from results.store.strict_json import Fields, Number, ResultsError, decode, encode, plain
from results.store.text import shown

SCHEMA = 1
OUTCOMES = ("met", "missed", "unknown")
"""Of a criterion. "unknown": it cannot be read on this machine, and decides nothing."""
DEVIATIONS = ("tau", "tau_placement", "tau_contention")


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing a qualified machine must show. found and bound are for a person; value and limit are the
    same as numbers, None where there is no single one."""

    name: str
    found: str
    bound: str
    outcome: str
    value: Number | None = None
    limit: Number | None = None

    @classmethod
    def from_json(cls, data: object, where: str, prefix: str) -> Criterion:
        """The criterion in a JSON object."""
        fields = Fields(data, where, prefix)
        return cls(
            name=fields.text("name"),
            found=fields.text("found"),
            bound=fields.text("bound"),
            outcome=fields.choice("outcome", OUTCOMES),
            value=fields.number("value"),
            limit=fields.number("limit"),
        )


@dataclass(frozen=True, kw_only=True)
class Qualification:
    """One qualification.

    ended: ISO 8601, UTC. fingerprint: the hash that case records carry. quick: the short variant.
    tau, tau_placement, tau_contention: deviations of ln speed-up, see docs/hardware.md. rounds: what each
    fresh pair of processes gave, raw. probes: medians that later cases are held against. ceilings: the most
    that was reached, by name, None where it cannot be measured here. noted: conditions, model, sizes.
    """

    kind: ClassVar[str] = "qualification"
    id: str
    ended: str
    fingerprint: str
    hardware: str
    hardware_class: str
    qualified: bool
    tau: float
    tau_placement: float
    tau_contention: float
    quick: bool = False
    pressbench: str = ""
    criteria: tuple[Criterion, ...] = ()
    rounds: tuple[Mapping[str, Any], ...] = ()
    probes: Mapping[str, Number] = field(default_factory=dict)
    ceilings: Mapping[str, Number | None] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)
    seconds: Number = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The qualification as a JSON object."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("extra", "criteria")}
        criteria = [dataclasses.asdict(criterion) for criterion in self.criteria]
        return {**self.extra, "kind": self.kind, "schema": SCHEMA, **own, "criteria": criteria}

    @classmethod
    def from_json(cls, data: object, where: str = "") -> Qualification:
        """The qualification in a JSON object. Raises ResultsError naming `where` and the key."""
        fields = Fields(data, where)
        fields.choice("kind", (cls.kind,))
        schema = fields.count("schema")
        if schema > SCHEMA:
            raise ResultsError(f"{where}: schema {schema} is newer than schema {SCHEMA}: upgrade pressbench")
        ended = fields.text("ended")
        if _time(ended) is None:
            raise fields.error("ended", "expected a time in ISO 8601 with its zone")
        found: dict[str, float] = {}
        for name in DEVIATIONS:
            value = fields.number(name)
            if value is None or value < 0:
                raise fields.error(name, "expected a deviation of at least 0")
            found[name] = float(value)
        ceilings = fields.mapping("ceilings")
        numbers = Fields(ceilings, where, "ceilings.")
        return cls(
            id=fields.text("id"),
            ended=ended,
            fingerprint=fields.text("fingerprint"),
            hardware=fields.text("hardware"),
            hardware_class=fields.text("hardware_class"),
            pressbench=fields.text("pressbench", ""),
            criteria=tuple(
                Criterion.from_json(item, where, f"criteria[{index}].")
                for index, item in enumerate(fields.sequence("criteria"))
            ),
            rounds=tuple(
                Fields(item, where, f"rounds[{index}].").rest() for index, item in enumerate(fields.sequence("rounds"))
            ),
            probes=fields.numbers("probes"),
            ceilings={name: numbers.number(name) for name in ceilings},
            machine=fields.mapping("machine"),
            noted=fields.mapping("noted"),
            seconds=fields.number("seconds") or 0.0,
            qualified=fields.flag("qualified"),
            quick=fields.flag("quick"),
            **found,
            extra=fields.rest(),
        )


@dataclass(frozen=True)
class History:
    """A machine's qualifications, oldest first. damaged: (line number from 1, why it could not be read)."""

    path: Path | None = None
    qualifications: tuple[Qualification, ...] = ()
    damaged: tuple[tuple[int, str], ...] = ()

    def latest(self, *, within: timedelta, now: datetime | None = None) -> Qualification | None:
        """The newest one that is no older than `within`; one from the future is a wrong clock's, and not taken."""
        moment = now or datetime.now(UTC)
        recent = [
            q
            for q in self.qualifications
            if (ended := _time(q.ended)) is not None and timedelta(minutes=-5) <= moment - ended <= within
        ]
        return max(recent, key=lambda q: _time(q.ended) or moment, default=None)


@dataclass(frozen=True)
class QualificationStore:
    """The folder of qualifications. Several processes may write into it."""

    directory: Path

    def path(self, fingerprint: str) -> Path:
        """The file of the machine with that fingerprint."""
        return self.directory / f"{fingerprint[:16]}.jsonl"

    def check(self) -> None:
        """Raise ResultsError where nothing could be stored: before minutes are spent on measuring it."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{shown(str(self.directory))}: cannot be made: {error.strerror}") from None
        if not os.access(self.directory, os.W_OK | os.X_OK):
            other = "--qualifications names another folder"
            raise ResultsError(f"{shown(str(self.directory))}: cannot be written: {other}")

    def append(self, qualification: Qualification) -> Path:
        """Add one line and wait until it is on disk. Raises ResultsError where the disk refuses."""
        payload = plain(qualification.to_json())
        Qualification.from_json(payload, "qualification")  # what reading would refuse is never written
        line = encode(payload)
        path = self.path(qualification.fingerprint)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                if os.fstat(handle).st_size:
                    os.lseek(handle, -1, os.SEEK_END)
                    if os.read(handle, 1) != b"\n":  # a writer was killed in the middle of its line
                        line = b"\n" + line
                while line:  # a disk that is nearly full takes a part, and refuses only the rest
                    line = line[os.write(handle, line) :]
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise ResultsError(f"{shown(str(path))}: cannot be written: {error.strerror}") from None
        return path

    def history(self, fingerprint: str) -> History:
        """Every qualification of the machine with that fingerprint; empty where there is none."""
        path = self.path(fingerprint)
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return History(path)
        except OSError as error:
            raise ResultsError(f"{shown(str(path))}: cannot be read: {error.strerror}") from None
        found: list[Qualification] = []
        damaged: list[tuple[int, str]] = []
        for number, line in enumerate(lines, 1):
            if not line and number == len(lines):
                continue
            try:
                qualification = Qualification.from_json(decode(line))
            except ResultsError as error:
                damaged.append((number, str(error).removeprefix(": ")))
                continue
            if qualification.fingerprint == fingerprint:  # another one may share the beginning
                found.append(qualification)
        return History(path, tuple(found), tuple(damaged))


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
