"""A Ray cluster and its nodes, as a run asks for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.cluster.identity import LABEL, NODE, libraries, resource
from benchmarks.hardware import detected, is_class
from compressors import install
from compressors.interface import Hardware, PressbenchError

LOCAL = "local:"
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class Node:
    """One machine of the cluster. resources: what Ray places work by. labels: of `identity`, by their short names."""

    id: str
    address: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of hardware; none where it was not started by `pressbench cluster`."""
        return tuple(filter(None, self.labels.get("classes", "").split("_")))

    def refusal(self, own: Mapping[str, str]) -> str | None:
        """Why a run with such libraries gives it nothing, in one line; None where it does."""
        if NODE not in self.resources:
            return "it was started without pressbench: start it by `pressbench cluster join ADDRESS`"
        if any(resource(name, own) in self.resources for name in self.classes):
            return None
        other = [f"{name} {self.labels[name]}, here {own[name]}" for name in own if self._differs(name, own[name])]
        return f"it has other libraries: {'; '.join(other)}"

    def _differs(self, name: str, own: str) -> bool:
        found = self.labels.get(name, "")
        return len(found) != len(own) or any(a != b and a != "_" for a, b in zip(found, own, strict=True))


class Cluster:
    """A connection. `close` ends it, and the nodes that were started for it."""

    def __init__(self, address: str) -> None:
        """address: `auto`, HOST:PORT of a cluster's head, or `local:N` for N nodes on this machine, which share its
        cores. Raises PressbenchError where there is none."""
        ray = the_library()
        self._local: Any = None
        self.libraries = libraries()
        if address.startswith(LOCAL):
            from benchmarks.cluster.local import LocalNodes

            self._local = LocalNodes(address)
            address = self._local.address
        try:
            ray.init(address=address, namespace=NODE, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            self.close()
            raise PressbenchError(f"--cluster {address}: {' '.join(str(error).split())[:300]}") from None

    def nodes(self) -> list[Node]:
        """Those that are alive, by address."""
        found = [
            Node(one["NodeID"], one["NodeManagerAddress"], one["Resources"], _short(one.get("Labels", {})))
            for one in the_library().nodes()
            if one["Alive"]
        ]
        return sorted(found, key=lambda node: (node.address, node.id))

    def fitting(self, hardware_class: str) -> list[Node]:
        """Nodes to which a case of that class can go."""
        wanted = resource(hardware_class, self.libraries)
        return [node for node in self.nodes() if wanted in node.resources and NODE in node.resources]

    def ask(self, node: Node, function: Callable[..., Any], *args: Any) -> Any:
        """What a function says there, beside whatever else is done there."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray, there = the_library(), NodeAffinitySchedulingStrategy(node.id, soft=False)
        return ray.get(ray.remote(function).options(num_cpus=0, scheduling_strategy=there).remote(*args))

    def told(self) -> list[str]:
        """A line for each node that is given nothing, with the reason."""
        return [
            f"pressbench: nothing is measured on the node {node.address}: {why}"
            for node in self.nodes()
            if (why := node.refusal(self.libraries))
        ]

    def select(self, names: Sequence[str]) -> list[Hardware]:
        """Devices by class, each to be had on a node; without names the one class that there is, as `cpu`. Raises
        PressbenchError, in one line, where there is none."""
        there = sorted({name for node in self.nodes() if not node.refusal(self.libraries) for name in node.classes})
        if not there:
            raise PressbenchError("--cluster: it has no node to measure on" + "".join(f"; {t}" for t in self.told()))
        if not names:
            cpus = [name for name in there if name.startswith("cpu-")]
            if len(cpus) != 1:
                raise PressbenchError(f"--cluster: name the classes to run on by --hardware: {', '.join(there)}")
            return [_hardware("cpu", cpus[0])]
        for name in names:
            if name not in there:
                kind = "no node of that class" if is_class(name) else "no class of hardware"
                raise PressbenchError(f"--hardware {name}: {kind}; this cluster has {', '.join(there)}")
        return [_hardware(name, name) for name in names]

    def close(self) -> None:
        """Safe to call twice."""
        the_library().shutdown()
        if self._local is not None:
            self._local.close()
            self._local = None


def _hardware(name: str, hardware_class: str) -> Hardware:
    """A device of a node, as far as a case has to know it before it is there; its threads are the node's."""
    for own in detected().values():
        if own.hardware_class == hardware_class:
            return replace(own, name=name)
    device = "cpu" if hardware_class.startswith("cpu-") else "cuda:0"
    return Hardware(name, hardware_class, device=device)


def _short(labels: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(LABEL): text for name, text in labels.items() if name.startswith(LABEL)}


def the_library() -> Any:
    """Ray. Raises PressbenchError, with the command that installs it, where it is not there."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise PressbenchError(f"--cluster needs a package that is not installed: {install.command(['ray'])}") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray
