"""Models of the hub that come declared with pressbench: each a file like a user's zoo.toml, in `zoo/hub`.

They run when they are named, where a hub is in reach."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.zoo.own.declaration import Declared
from benchmarks.zoo.own.zoo_file import ZooFile, read_zoo
from compressors.interface import PressbenchError

FOLDER = Path(__file__).parents[1] / "hub"


@functools.cache
def shipped() -> ZooFile:
    """All of them together."""
    declared: dict[str, Declared] = {}
    targets: dict[str, Mapping[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        file = read_zoo(path, f"{FOLDER.name}/{path.name}")
        if twice := declared.keys() & file.declared.keys():
            raise PressbenchError(f"{file.path}: [{min(twice)}]: another file declares that too")
        declared |= file.declared
        targets |= file.targets
    return ZooFile(FOLDER.name, declared, targets)
