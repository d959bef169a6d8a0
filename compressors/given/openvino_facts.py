"""Run as a script on an OpenVINO graph: prints what it says of itself, as one line of JSON.

inputs, outputs   [name, type, [size or null, …]] each
makers            output -> the operator that makes it, seen through those that change nothing
stateful          whether it keeps a cache as state
producer          who wrote it, as far as it says
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def facts(path: Path) -> dict[str, Any]:
    """Of the graph, which is read and not compiled."""
    import openvino

    model = openvino.Core().read_model(str(path))
    known = model.get_rt_info() if hasattr(model, "get_rt_info") else {}
    version = known["Runtime_version"].value if "Runtime_version" in known else ""
    return {
        "inputs": [_port(port) for port in model.inputs],
        "outputs": [_port(port) for port in model.outputs],
        "makers": {_port(port)[0]: _maker(port) for port in model.outputs},
        "stateful": bool(model.get_sinks()),
        "producer": str(version),
    }


def _maker(port: Any) -> str:
    node = port.get_node().input_value(0).get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return str(node.get_type_name())


def _port(port: Any) -> list[Any]:
    names = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i64": "int64", "i32": "int32"}
    kind = port.get_element_type().get_type_name()
    shape = port.get_partial_shape()
    dims = [] if shape.rank.is_dynamic else [None if d.is_dynamic else d.get_length() for d in shape]
    name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
    return [name, names.get(kind, kind), dims]


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
