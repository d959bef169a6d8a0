"""Run as a script on an archive of torch.export: prints what it says of itself, as one line of JSON.

Reading one unpickles what is in it, which can run code.

    inputs, outputs   [name, type, [size or null, …]] each, in the order of the program's
    version           of torch that wrote it, as far as the archive says
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any


def facts(path: Path) -> dict[str, Any]:
    """Of the program in the archive."""
    import torch

    program = torch.export.load(str(path))
    made = {node.name: node.meta.get("val") for node in program.graph.nodes}
    given = list(program.graph_signature.user_inputs)
    keywords = program.call_spec.in_spec.child(1).context if program.call_spec.in_spec is not None else []
    names = [*given[: len(given) - len(keywords)], *map(str, keywords)]
    return {
        "inputs": [_port(name, made[str(node)]) for name, node in zip(names, given, strict=True)],
        "outputs": [_port(name, made[node]) for name, node in _outputs(program)],
        "version": _version(path),
    }


def _outputs(program: Any) -> list[tuple[str, str]]:
    """(name, node): as a dictionary or an answer of transformers names them, else as the graph does."""
    nodes = [str(name) for name in program.graph_signature.user_outputs]
    spec = program.call_spec.out_spec
    keys = spec.context
    while isinstance(keys, list | tuple) and len(keys) == 2 and isinstance(keys[1], list | tuple):
        keys = keys[1]  # of a class of transformers: the class, and its keys
    named = isinstance(keys, list | tuple) and len(keys) == len(nodes) and all(isinstance(key, str) for key in keys)
    return list(zip(map(str, keys) if named else nodes, nodes, strict=True))


def _port(name: str, value: Any) -> list[Any]:
    dims = [int(size) if isinstance(size, int) else None for size in value.shape]
    return [name, str(value.dtype).removeprefix("torch."), dims]


def _version(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(("/.data/version", "/version"))]
        return archive.read(found[0]).decode(errors="replace").strip() if found else ""


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
