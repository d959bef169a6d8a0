"""What a check is, what it finds, and what comes of it."""

from __future__ import annotations

import dataclasses
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.gpu_check.shapes import LARGE, SMALL, Shapes
from compressors.interface import Hardware, Progress, Unsupported

Kind = Literal["held", "failed", "not here"]
SHOWN = 300
"""The most characters of a reason."""


class NotHere(Exception):
    """What is asked cannot be asked here, and that is no failure: the reason, in one line."""


@dataclass(frozen=True)
class Number:
    """Something measured, or read. unit: empty of what has none."""

    name: str
    value: float | int | str | None
    unit: str = ""


@dataclass(frozen=True)
class Setting:
    """Where and how large. ceilings: what this device was seen to reach, by name, as far as that is known yet."""

    hardware: Hardware
    small: bool = False
    ceilings: Mapping[str, float] = field(default_factory=dict)

    @property
    def device(self) -> str:
        return self.hardware.device

    @property
    def cuda(self) -> bool:
        return self.hardware.device != "cpu"

    @property
    def tiny(self) -> bool:
        return self.small or not self.cuda

    @property
    def shapes(self) -> Shapes:
        return SMALL if self.tiny else LARGE

    def needs_cuda(self, also: str = "") -> None:
        """Raises NotHere where there is none. also: what was done nevertheless."""
        if not self.cuda:
            raise NotHere(f"needs CUDA{f'; {also}' if also else ''}")


class Findings:
    """What a check finds as it goes: kept when it breaks off. stepped: is told what it is at; added: every number."""

    def __init__(
        self, stepped: Callable[[str], None] = lambda what: None, added: Callable[[Number], None] = lambda number: None
    ) -> None:
        self.numbers: list[Number] = []
        self.faults: list[str] = []
        self._stepped, self._added = stepped, added

    def add(self, name: str, value: float | int | str | None, unit: str = "") -> None:
        """A number, with its unit."""
        self.numbers.append(Number(name, value, unit))
        self._added(self.numbers[-1])

    def hold(self, met: bool, fault: str) -> None:
        """What must be so; the fault is told where it is not."""
        if not met:
            self.faults.append(fault)

    def at_most(self, name: str, value: float, bound: float, unit: str = "") -> None:
        """A number that must not be above `bound`, nor NaN."""
        self.add(name, value, unit)
        told = " ".join(filter(None, (f"{name}: {value:.3g}", unit)))
        self.hold(math.isfinite(value) and value <= bound, f"{told}, at most {bound:g}")

    def step(self, what: str) -> None:
        """What is done now."""
        self._stepped(what)


@dataclass(frozen=True)
class Check:
    """asks: a sentence. seconds: it is stopped after so long. alone: runs in a process of its own; else it starts some
    itself. run: importable by name, as it is sent there."""

    name: str
    asks: str
    run: Callable[[Setting, Findings], None]
    seconds: float = 60.0
    alone: bool = True


@dataclass(frozen=True)
class Result:
    """What came of a check. reason: one line, empty where it held. detail: the end of a traceback or a log."""

    name: str
    asks: str
    kind: Kind
    reason: str = ""
    numbers: tuple[Number, ...] = ()
    seconds: float = 0.0
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """For gpu_check.json."""
        return dataclasses.asdict(self)


def one_line(error: BaseException | str) -> str:
    """A reason, of one line."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def outcome(
    check: Check,
    setting: Setting,
    stepped: Callable[[str], None] = lambda what: None,
    added: Callable[[Number], None] = lambda number: None,
) -> Result:
    """Run it here. Whatever it raises is its own result; Ctrl-C and a time limit go on to the caller."""
    found, started = Findings(stepped, added), time.perf_counter()
    kind: Kind = "held"
    reason = detail = ""
    try:
        check.run(setting, found)
    except (NotHere, Unsupported) as error:
        kind, reason = "not here", one_line(str(error))
    except TimeoutError:
        raise
    except Exception as error:
        kind, reason, detail = "failed", one_line(error), traceback.format_exc()[-4000:]
    if found.faults:
        kind = "failed"
        reason = one_line("; ".join([*found.faults[:3], *([reason] if reason else [])]))
    seconds = round(time.perf_counter() - started, 2)
    return Result(check.name, check.asks, kind, reason, tuple(found.numbers), seconds, detail)


NUMBER = "number: "
"""What begins a message of a worker that is a number and not a step."""


def perform(state: dict[str, Any], check: Check, setting: Setting, *, progress: Progress) -> Result:
    """The same in a worker, which tells every number when it has it: if it dies or hangs, that is what is left."""

    def added(number: Number) -> None:
        progress(NUMBER + json.dumps(dataclasses.astuple(number)), 0, 0)

    return outcome(check, setting, lambda what: progress(what, 0, 0), added)
