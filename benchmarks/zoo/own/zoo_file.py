"""`zoo.toml`: models and data of one's own, a table each.

[reviews]
model = "./my-model"            # a folder, from this file's own, or a hub model: org/name@revision
data = "reviews.csv"
columns = { text = "body", label = "stars" }

[reviews.targets.int8-openvino] # as in baselines/targets.toml
accuracy_drop = 0.01

[reviews.artifacts]             # compressed elsewhere, as --artifact names it
student = "./student.onnx"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.toml_file import read_toml
from benchmarks.zoo.own.declaration import Declared, declare
from compressors.interface import PressbenchError

NAME = re.compile(r"[a-z0-9][a-z0-9_]*(-[a-z0-9_]+)*")


@dataclass(frozen=True)
class ZooFile:
    """path: as the user named it. declared: by name. targets: model -> compressor -> what is stated, unchecked.
    artifacts: model -> name -> what is stated, unchecked; their paths start from the file's folder."""

    path: str
    declared: Mapping[str, Declared]
    targets: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_zoo(path: Path, said: str) -> ZooFile:
    """Read and check the file; models and data are not looked at yet. Raises PressbenchError: file and key."""
    data = read_toml(path, said)
    declared, targets, artifacts = {}, {}, {}
    for name, values in data.items():
        where = f"{said}: [{name}]"
        if not isinstance(values, dict):
            raise PressbenchError(f"{said}: {name} must be a table, [NAME] with model and data")
        check_name(where, name)
        stated = values.pop("targets", {})
        if not isinstance(stated, dict):
            raise PressbenchError(f"{where}: targets must be a table of compressors")
        given = values.pop("artifacts", {})
        if not isinstance(given, dict):
            raise PressbenchError(f"{where}: artifacts must be a table, NAME = PATH")
        declared[name] = declare(name, where, path.absolute().parent, values)
        if stated:
            targets[name] = stated
        if given:
            artifacts[name] = given
    if not declared:
        raise PressbenchError(f"{said}: no models there; state one as [NAME] with model and data")
    return ZooFile(said, declared, targets, artifacts)


def check_name(where: str, name: str) -> None:
    """Raises PressbenchError for a name that ids of cases cannot hold."""
    if not NAME.fullmatch(name):
        raise PressbenchError(f"{where}: a name is made of small letters, digits, underscores and hyphens")
