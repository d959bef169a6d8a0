"""What a node offers, in words that Ray places work by: a node takes one case at a time, of a class that it has, from
runs with the libraries that it has."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from benchmarks.cache import content_hash, versions
from benchmarks.hardware import detected
from benchmarks.hardware.fingerprint import LIBRARIES

NODE = "pressbench"
"""The resource of which every node has one: who holds it has the node to itself."""
LABEL = "pressbench/"
"""What the names of labels begin with."""
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")


def libraries() -> dict[str, str]:
    """Versions that decide whether two results may stand side by side, by name."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {**versions(*LIBRARIES), "python": python, "pressbench": versions("pressbench")["pressbench"]}


def resource(hardware_class: str, found: Mapping[str, str]) -> str:
    """The resource that nodes of that class with those libraries have."""
    return f"{NODE}-{hardware_class}-{content_hash(dict(found))[:12]}"


def resources() -> dict[str, float]:
    """Those of this machine, to start a node with. Of its classes it has enough for any number of cases, as only one
    holds the node."""
    own = libraries()
    return {NODE: 1.0, **{resource(one.hardware_class, own): 1.0 for one in detected().values()}}


def labels() -> dict[str, str]:
    """What people are told of this machine by: its classes, and its libraries."""
    classes = "_".join(sorted({one.hardware_class for one in detected().values()}))
    told = {"classes": classes, **libraries()}
    return {f"{LABEL}{name}": _NOT_IN_LABELS.sub("_", text)[:63] for name, text in told.items()}
