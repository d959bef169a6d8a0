"""How much memory there is, and how much of it a worker may take."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import psutil

from compressors.interface import PressbenchError

SHARE = 0.9
"""Of the machine's memory, or of the container's, that one worker may take unless told otherwise: beyond, the
kernel ends a process of its own choice, which may be the run."""
UNITS = {"MiB": 2**20, "GiB": 2**30}
_CGROUP = Path("/sys/fs/cgroup")


def default_limit() -> int:
    """Bytes that a worker may take where no option says."""
    return int(SHARE * min([psutil.virtual_memory().total, *_cgroup_limits()]))


def parse_size(option: str, text: str) -> int:
    """Bytes of `4GiB` or `512MiB`. Raises PressbenchError, naming `option`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(MiB|GiB)", text.strip())
    size = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if size < 1:
        raise PressbenchError(f"{option} {text}: expected a size such as 4GiB or 512MiB")
    return size


def shown(size: int) -> str:
    """`4.2 GiB`, or `512 MiB` below one GiB."""
    return f"{size / UNITS['GiB']:.3g} GiB" if size >= UNITS["GiB"] else f"{size / UNITS['MiB']:.0f} MiB"


def _cgroup_limits() -> list[int]:
    """The limits of the control groups that this process is in (Linux, version 2), and of version 1's root."""
    files = [_CGROUP / "memory" / "memory.limit_in_bytes", _CGROUP / "memory.max"]
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/"):
                group = _CGROUP / line.removeprefix("0::/")
                files += [folder / "memory.max" for folder in (group, *group.parents) if _CGROUP in folder.parents]
    limits = []
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limits.append(int(file.read_text(encoding="ascii")))
    return [limit for limit in limits if limit > 0]
