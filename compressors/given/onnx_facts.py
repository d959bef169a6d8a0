"""Run as a script on an ONNX file: prints what it says of itself, as one line of JSON.

inputs, outputs   [name, type, [size or null, …]] each
makers            output -> the operator that makes it, seen through those that change nothing
external          files that hold weights, as the graph names them
producer, opsets  who wrote it; domain -> version
dtypes            type of stored weights -> how many
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def facts(path: Path) -> dict[str, Any]:
    """Of the file, without reading weights that lie in others."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    stored = [tensor for part in (graph, *model.functions) for tensor in _tensors(part)]
    held = {tensor.name for tensor in graph.initializer}
    external = {
        entry.value
        for tensor in stored
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    dtypes: Counter[str] = Counter()
    for tensor in stored:
        dtypes[onnx.TensorProto.DataType.Name(tensor.data_type).lower()] += math.prod(tensor.dims)
    return {
        "inputs": [_port(value) for value in graph.input if value.name not in held],
        "outputs": [_port(value) for value in graph.output],
        "makers": {value.name: _maker(graph, value.name) for value in graph.output},
        "external": sorted(external),
        "producer": " ".join(part for part in (model.producer_name, model.producer_version) if part),
        "opsets": {one.domain or "ai.onnx": one.version for one in model.opset_import},
        "dtypes": dict(dtypes),
    }


def _maker(graph: Any, name: str) -> str:
    made = {output: node for node in graph.node for output in node.output}
    while name in made and made[name].op_type in ("Identity", "Cast"):
        name = made[name].input[0]
    return str(made[name].op_type) if name in made else ""


def _port(value: Any) -> list[Any]:
    import onnx

    kind = value.type.tensor_type
    names = {"float": "float32", "double": "float64"}
    dtype = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
    dims = [int(dim.dim_value) if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    return [value.name, names.get(dtype, dtype), dims]


def _tensors(graph: Any) -> Iterator[Any]:
    """All that a graph, or a function, and the graphs in it hold."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
