"""A run whose cases are measured by the nodes of a cluster. All are handed over at once; Ray gives a node that is free
the next one of its class, and gives it to another where a node dies."""

from __future__ import annotations

import collections
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.cluster.identity import NODE, resource
from benchmarks.cluster.nodes import Cluster, the_library
from benchmarks.matrix.cases import Case
from benchmarks.run import node
from benchmarks.run.session import Session
from compressors.interface import PressbenchError
from results.store.record import CaseRecord

DEATHS = 2
"""Nodes that may die with a case before it is the case that is doubted."""
TICK_SECONDS = 1.0
GONE_SECONDS = 120.0
"""How long cases wait for a node of their class where none is there: one may come back, or come late."""

WAITING = "wait for nodes"
Key = tuple[str, str]


class SpreadSession(Session):
    """A session that measures nothing itself. Records come in whatever order nodes have them; one that comes before
    its turn goes to `early`, so that nothing is lost with this process."""

    def spread(
        self, cluster: Cluster, cases: Sequence[Case], job: node.Job, early: Callable[[CaseRecord], None]
    ) -> None:
        """Say what there is to do; it is handed over when the first record is asked for."""
        self._cluster, self._cases, self._job, self._early = cluster, list(cases), job, early
        self._waiting: dict[Any, tuple[Case, bool]] = {}  # with whether it is measured again
        self._found: dict[Key, CaseRecord] = {}
        self._begun = False
        self._full: set[str] = set()  # nodes, by Ray's names
        self._too_large: dict[Key, set[str]] = collections.defaultdict(set)  # nodes that had no room for a case
        self._seen: dict[str, float] = {}  # class of hardware -> when a node of it was last there
        self.expected: Mapping[Key, float] = {}
        """(measure, case) -> the seconds that it usually takes, where that is known."""

    def accuracy(self, case: Case) -> CaseRecord:
        """See Session."""
        return self._of(case)

    def footprint(self, case: Case) -> CaseRecord:
        """See Session."""
        return self._of(case)

    def speed(self, case: Case) -> CaseRecord:
        """See Session."""
        return self._of(case)

    def speed_again(self, case: Case) -> CaseRecord:
        """See Session."""
        self.finished = {key: record for key, record in self.finished.items() if key != (case.id, case.measure)}
        self._found.pop(_key(case), None)
        self._hand_over(case, again=True)
        return self._of(case)

    def close(self) -> None:
        """What has not come is not waited for."""
        super().close()
        with contextlib.suppress(Exception):  # the connection may be what has ended
            for ref in self._waiting:
                the_library().cancel(ref, force=True)
        self._waiting = {}
        self._cluster.close()

    def _of(self, case: Case) -> CaseRecord:
        key = _key(case)
        if stored := self.finished.get((case.id, case.measure)):
            return stored
        if not self._begun:
            self._begun = True
            # The longest first, or the nodes wait for one in the end; what nobody knows may be long.
            for one in sorted(self._cases, key=lambda one: -self.expected.get(_key(one), math.inf)):
                if (one.id, one.measure) not in self.finished:
                    self._hand_over(one)
        with self.stage(WAITING, f"{case.measure} of {case.id}") as report:
            there = case.hardware.hardware_class
            self._seen.setdefault(there, time.monotonic())
            while key not in self._found:
                report(f"{len(self._waiting)} of {len(self._cases)} cases to come", 0, 0)
                ready, _ = the_library().wait(list(self._waiting), num_returns=1, timeout=TICK_SECONDS)
                for ref in ready:
                    self._take(ref, asked=key)
                if self._left(case):
                    self._seen[there] = time.monotonic()
                elif time.monotonic() - self._seen[there] > GONE_SECONDS:
                    self._give_up(there)
        self.stage.seconds.pop(WAITING)  # what is told is where the nodes' time went, and not this process's as well
        return self._found.pop(key)

    def _give_up(self, hardware_class: str) -> None:
        """All cases of a class that has no node left: they waited together."""
        for ref, (case, _) in list(self._waiting.items()):
            if case.hardware.hardware_class == hardware_class and not self._left(case):
                del self._waiting[ref]
                the_library().cancel(ref)
                why = f"no node of class {hardware_class} was there for {GONE_SECONDS:.0f} s"
                if without := len(self._full | self._too_large[_key(case)]):
                    why += f", but for {without} whose disk had no room"
                self._found[_key(case)] = self._lost(case, why)

    def _left(self, case: Case) -> set[str]:
        """The nodes that a case can go to."""
        there = {node.id for node in self._cluster.fitting(case.hardware.hardware_class)}
        return there - self._full - self._too_large[_key(case)]

    def _hand_over(self, case: Case, again: bool = False) -> None:
        ray, without = the_library(), self._full | self._too_large[_key(case)]
        task = ray.remote(node.measure).options(
            num_cpus=0,
            resources={NODE: 1, resource(case.hardware.hardware_class, self._cluster.libraries): 0.001},
            label_selector={"ray.io/node-id": f"!in({','.join(sorted(without))})"} if without else None,
            max_retries=DEATHS,
            name=f"{case.measure} of {case.id}",
        )
        self._waiting[task.remote(self._job, case, again)] = case, again

    def _take(self, ref: Any, asked: Key) -> None:
        ray, (case, again) = the_library(), self._waiting.pop(ref)
        try:
            answer: node.Answer = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, node.NoRoom) and self._elsewhere(case, again, cause):
                return
            why = str(cause) if isinstance(cause, PressbenchError) else f"{type(cause).__name__}: {cause}"
            record = self._lost(case, why)
        except ray.exceptions.RayError as error:
            record = self._lost(case, f"the nodes that had it died: {' '.join(str(error).split())[:200]}")
        else:
            record = answer.record
            self._add(answer)
        self._found[_key(case)] = record
        if _key(case) != asked:
            self._early(record)

    def _elsewhere(self, case: Case, again: bool, there: node.NoRoom) -> bool:
        """Hand a case over that had no room on a node; False where no other node is left."""
        if there.full and there.node not in self._full:
            self._full.add(there.node)
            address = next((one.address for one in self._cluster.nodes() if one.id == there.node), there.node)
            self.cache.say(f"pressbench: nothing more is measured on the node {address}, its disk is full: {there.why}")
        self._too_large[_key(case)].add(there.node)
        if not self._left(case):
            return False
        self._hand_over(case, again)
        return True

    def _add(self, answer: node.Answer) -> None:
        """Where a node's time went, and what it said."""
        for kind, seconds in answer.seconds.items():
            self.stage.seconds[kind] = self.stage.seconds.get(kind, 0.0) + seconds
        for kind, operations in answer.operations.items():
            self.stage.operations.setdefault(kind, collections.Counter()).update(operations)
        for kind, seconds in answer.timed.items():
            self.stage.timed[kind] = self.stage.timed.get(kind, 0.0) + seconds
        self.supervision.learn(answer.standings)
        for line in answer.said:
            self.cache.say(line)

    def _lost(self, case: Case, why: str) -> CaseRecord:
        def measure() -> dict[str, Any]:
            raise PressbenchError(why)

        return self._record(case, measure)


def _key(case: Case) -> Key:
    return (case.measure, case.id)
