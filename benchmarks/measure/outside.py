"""A slot seen from outside: does what the worker says of it add up with the parent's clock and the processors' time?

A worker's own clock may be slow, its work may go on when the call has returned, or be done by somebody else. The parent
sees how long it waited, and how much processor time the worker and all that it started took meanwhile, and after.
On a GPU the processor's time says little, and is not looked at.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS, WAIT_SHARE = 1e-3, 0.10
"""How much longer the parent may have waited than the worker says that its calls took: a message each way, 0.1 to 0.4
ms here, and a share for waking up on a busy machine."""
BUSY_SHARE = 0.25
"""The least processor time a second of timed work, of one processor: a model computes with all it has, and what a
hypervisor withholds above a tenth makes a case unqualified anyhow."""
AFTER_SECONDS, AFTER_SHARE = 0.02, 0.5
"""How much processor time may be spent between two slots, by slot, beside a share of what the timed calls took: pools
of threads wait for more work by spinning, some milliseconds each."""
FEWEST = 5
"""Slots from which on anything is said: the median of fewer is one slot's luck."""


@dataclass
class Account:
    """What was seen of the slots of one lane, a number each. claimed: seconds from the first timed call to the last
    by the worker's clock. waited: seconds the parent waited. busy: of processor time meanwhile. after: of processor
    time from then to the next slot."""

    threads: int
    cpu: bool = True
    claimed: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What does not add up, with its numbers; empty where all does."""
        if len(self.waited) < FEWEST:
            return []
        found = []
        claimed, waited = statistics.median(self.claimed), statistics.median(self.waited)
        more = statistics.median(out - own for out, own in zip(self.waited, self.claimed, strict=True))
        if more > WAIT_SECONDS + WAIT_SHARE * waited:
            found.append(f"its own clock says {_ms(claimed)} a slot where {_ms(waited)} went by outside")
        if not self.cpu:
            return found
        if sum(self.busy) < BUSY_SHARE * sum(self.waited):
            busy, all_ = sum(self.busy) / len(self.busy), sum(self.waited) / len(self.waited)
            found.append(f"it used {_ms(busy)} of processor time in slots of {_ms(all_)}: its work is done elsewhere")
        if self.after:
            after = statistics.median(self.after)
            if after > AFTER_SECONDS + AFTER_SHARE * self.threads * waited:
                found.append(
                    f"it used {_ms(after)} of processor time after slots of {_ms(waited)} had ended: its work goes on "
                    "when its calls have returned"
                )
        return found

    def to_json(self) -> dict[str, Any]:
        """Medians by slot, for a record."""
        named = {"claimed": self.claimed, "waited": self.waited, "busy": self.busy, "after": self.after}
        return {"slots": len(self.waited)} | {
            f"{name}_seconds": statistics.median(values) for name, values in named.items() if values
        }


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
