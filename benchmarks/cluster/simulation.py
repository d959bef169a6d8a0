"""What a run would take on more nodes than there are: the cases of a stored run, as often as is asked, handed to
nodes in the order in which they are free.

    python -m benchmarks.cluster.simulation results/runs/RUN.jsonl --cases 1000 --nodes 100 --overhead 0.05

Known: how long each case took on its node, and what a case costs the one process that hands all of them over and
writes their records (measured on two nodes here, unless it is said). Not known, and left out: a network that is full,
and what nodes make twice because they share no cache.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster.identity import NODE
from benchmarks.cluster.nodes import Cluster, the_library
from results.store.store import read_run


@dataclass(frozen=True)
class Span:
    """seconds: until the last record is written. work: of all cases together. nodes: how many there were."""

    seconds: float
    work: float
    nodes: int

    @property
    def efficiency(self) -> float:
        """The share of the nodes' time in which they worked."""
        return self.work / (self.seconds * self.nodes)


def simulate(cases: Sequence[float], nodes: int, overhead: float) -> Span:
    """cases: seconds each, in the order in which they are handed over. overhead: seconds that each takes the process
    which hands them over, one after another: half before it is begun, half when it has come back."""
    free = [0.0] * nodes
    heapq.heapify(free)
    come = []
    for number, seconds in enumerate(cases):
        begun = max(heapq.heappop(free), (number + 1) * overhead / 2)
        heapq.heappush(free, begun + seconds)
        come.append(begun + seconds)
    written = len(cases) * overhead / 2
    for at in sorted(come):
        written = max(written, at) + overhead / 2
    return Span(written, sum(cases), nodes)


def overhead_of(cluster: Cluster, payload: object, count: int = 200) -> float:
    """Seconds that a case takes beside its work: so many of them that do nothing but carry a record there and back."""
    ray = the_library()
    task = ray.remote(_carry).options(num_cpus=0, resources={NODE: 1})
    ray.get([task.remote(payload) for _ in range(8)])  # the processes that do it are there then
    started = time.perf_counter()
    ray.get([task.remote(payload) for _ in range(count)])
    return (time.perf_counter() - started) / count


def _carry(payload: object) -> object:
    return payload


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("run", type=Path, help="a stored run, for how long cases take")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--overhead", type=float, help="seconds a case (default: measured on two nodes here)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    stored = read_run(asked.run).cases
    taken = [float(one.seconds["case"]) for one in stored if one.seconds.get("case")]
    if not taken:
        parser.error(f"{asked.run} says of no case how long it took")
    overhead = asked.overhead
    if overhead is None:
        cluster = Cluster("local:2")
        overhead = overhead_of(cluster, max(stored, key=lambda one: len(str(one.evidence))))
        cluster.close()
    cases = random.Random(asked.seed).choices(taken, k=asked.cases)
    print(
        f"{asked.cases} cases of {statistics.mean(cases):.1f} s in the mean ({max(cases):.0f} s at most) on "
        f"{asked.nodes} nodes, {1000 * overhead:.1f} ms a case beside:"
    )
    for how, order in (("in any order", cases), ("longest first", sorted(cases, reverse=True))):
        found = simulate(order, asked.nodes, overhead)
        print(f"  {how}: {found.seconds / 60:.1f} min, efficiency {found.efficiency:.2f}")


if __name__ == "__main__":
    main()
