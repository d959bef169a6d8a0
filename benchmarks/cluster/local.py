"""Nodes on this machine, which share its cores: to try a cluster, and to prepare several cases at once. What is timed
takes its turn, as all of them share the machine's lock."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.cluster.identity import labels, resources
from benchmarks.hardware.devices.cpu import physical_cpus
from compressors.interface import PressbenchError

CPUS = "PRESSBENCH_NODE_CPUS"
"""The logical CPUs of a local node, with commas, in the environment of what runs on it."""
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
"""Where nobody else can reach it. In the place of 127.0.0.1 Ray puts the machine's address on Linux, on which nothing
listens then."""
OBJECTS = 100 * 2**20
"""Bytes for what is passed between nodes: records, of a megabyte at most."""


class LocalNodes:
    """As many as `local:N` says, each with its share of the cores. They end with this process, however that ends."""

    def __init__(self, named: str) -> None:
        """Raises PressbenchError where N is no number, or there are fewer cores."""
        count, cores = named.partition(":")[2], physical_cpus()
        if not (count.isascii() and count.isdigit()) or not 1 <= int(count) <= len(cores):
            raise PressbenchError(f"--cluster {named}: after local: there must be a number from 1 to {len(cores)}")
        from ray.cluster_utils import Cluster

        # Ray finds the processors out by itself; what it is told here is only what it must not do.
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        self._cluster: Any = Cluster(initialize_head=False)
        shares = [cores[number :: int(count)] for number in range(int(count))]
        for share in shares:
            self._cluster.add_node(
                num_cpus=len(share), resources=resources(), labels=labels(), object_store_memory=OBJECTS,
                include_dashboard=False, node_ip_address=LOOPBACK,
                env_vars={CPUS: ",".join(map(str, share))},
            )  # fmt: skip
        self.address: str = self._cluster.address

    def close(self) -> None:
        """End them."""
        self._cluster.shutdown()


def keep_to_share() -> None:
    """Of a process on a local node: use the node's cores alone. Nothing on a node that is a machine of its own."""
    share = os.environ.get(CPUS)
    if share and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in share.split(",")})
