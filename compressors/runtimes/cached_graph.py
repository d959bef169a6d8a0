"""A causal language model as one OpenVINO graph that keeps its key-value cache as state.

Beside `input_ids` and `attention_mask` the graph has two inputs, those of the models that optimum-intel makes and
OpenVINO GenAI runs:

    position_ids    (batch, sequence) int64: the place of each new token in its text
    beam_idx        (batch,) int32: the row of the cache that each row goes on from, 0, 1, … where nothing is reordered

`attention_mask` covers what is cached and what is new, (batch, cached + sequence). With nothing cached the graph is a
pass over whole texts, so that one file serves scoring and generating, and its size is what a user would ship.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compressors.interface import ModelSpec, Unsupported
from compressors.runtimes.generation import generates
from compressors.runtimes.openvino_names import named
from compressors.runtimes.program import example_inputs, quiet

ROWS = "beam_idx"
_NO_CACHE = ["pressbench", "no_cache"]

Pairs = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer, (batch, heads, cached, width)."""


def is_causal(model: nn.Module, spec: ModelSpec) -> bool:
    """Whether `model` is one that a cache would be of use to: words in, the next word out."""
    words = set(spec.inputs) == {"input_ids", "attention_mask"} and spec.output == "logits"
    return words and generates(model)


def exported(model: nn.Module, spec: ModelSpec) -> Any:
    """The openvino.Model, in fp32. Raises what torch.export or OpenVINO raises, Unsupported where the layers keep
    something else than all keys and values."""
    past = _example_cache(model, spec)
    states = [f"past.{layer}.{what}" for layer in range(len(past)) for what in ("key", "value")]
    converted = named(_program(model, spec, past), ["input_ids", "attention_mask", "position_ids", *states])
    shapes = [(found.shape[1], found.shape[3]) for pair in past for found in pair]
    _keep_state(converted, states, shapes)
    return converted


def without_cache(graph: Any, reason: str) -> None:
    """Write into a graph why it has no cache, so that who wants to generate with it is told."""
    graph.set_rt_info(reason, _NO_CACHE)


def require_cache(graph: Any) -> None:
    """Raises Unsupported, with the reason where it is known, for a graph without a cache."""
    if has_cache(graph):
        return
    why = f": {graph.get_rt_info(_NO_CACHE).astype(str)}" if graph.has_rt_info(_NO_CACHE) else ""
    raise Unsupported(f"the exported graph keeps no key-value cache, no prefill and no decode{why}")


def has_cache(graph: Any) -> bool:
    """Whether an openvino.Model, or a compiled one, keeps a cache."""
    return any(ROWS in port.get_names() for port in graph.inputs)


def stateless(graph: Any) -> Any:
    """A copy of the graph for passes over whole texts: the same numbers as with an empty cache, bit for bit, in 0.88 of
    the time for 128 tokens, since what is read later need not be kept."""
    copy = graph.clone()
    for assign in copy.get_sinks():
        joined = assign.input_value(0).get_node()  # of what is cached and what is new
        gathered = joined.input_value(0).get_node()
        if (joined.get_type_name(), gathered.get_type_name()) != ("Concat", "Gather"):
            raise Unsupported("its cache is kept in another way than optimum and the suite keep one")
        for reader in joined.output(0).get_target_inputs():
            if reader.get_node().get_type_name() != "Assign":
                reader.replace_source_output(joined.input_value(1))
        empty = gathered.input_value(0).get_node().input_value(0)
        for reader in gathered.output(0).get_target_inputs():  # such as who asks for the number of rows
            reader.replace_source_output(empty)
        copy.remove_sink(assign)
    for variable in copy.get_variables():
        copy.remove_variable(variable)
    copy.validate_nodes_and_infer_types()
    return copy


def whole_texts(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of a pass over texts from their beginning, into an empty cache."""
    batch, sequence = inputs["input_ids"].shape
    return {**inputs, **continued(batch, sequence, 0)}


def continued(batch: int, sequence: int, cached: int) -> dict[str, np.ndarray]:
    """The inputs beside ids and mask for `sequence` more tokens of each text after `cached` ones."""
    places = np.arange(cached, cached + sequence, dtype=np.int64)
    return {"position_ids": np.tile(places, (batch, 1)), ROWS: np.arange(batch, dtype=np.int32)}


class _Cached(nn.Module):
    """What is exported: (ids, mask, positions, cache) -> (logits, cache with the new tokens)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past: Pairs
    ) -> tuple[Tensor, Pairs]:
        from transformers.cache_utils import Cache, DynamicLayer

        layers: list[Any] = []
        for keys, values in past:
            layers.append(DynamicLayer())
            layers[-1].lazy_initialization(keys, values)
            layers[-1].keys, layers[-1].values = keys, values
        # The mask that transformers would make asks for the cache's length, and OpenVINO fuses attention with a
        # state that only attention reads.
        places = torch.arange(attention_mask.shape[1], device=input_ids.device)
        seen = (places[None, None, None] <= position_ids[:, None, :, None]) & attention_mask[:, None, None].bool()
        answer = self.model(
            input_ids=input_ids, attention_mask=seen, position_ids=position_ids,
            past_key_values=Cache(layers=layers), use_cache=True,
        )  # fmt: skip
        return answer.logits, [(layer.keys, layer.values) for layer in layers]


def _example_cache(model: nn.Module, spec: ModelSpec) -> Pairs:
    """What the layers keep of a few tokens."""
    from transformers.cache_utils import DynamicLayer

    with torch.inference_mode():
        layers = model(**example_inputs(spec, sequence=3), use_cache=True).past_key_values.layers
    other = {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    if other:
        raise Unsupported(f"its layers keep a {' and a '.join(sorted(other))}")
    return [(layer.keys.clone(), layer.values.clone()) for layer in layers]


def _program(model: nn.Module, spec: ModelSpec, past: Pairs) -> torch.export.ExportedProgram:
    inputs = example_inputs(spec)
    batch, sequence = inputs["input_ids"].shape
    cached = past[0][0].shape[2]
    mask = torch.ones(batch, cached + sequence, dtype=torch.int64)
    places = torch.arange(cached, cached + sequence).repeat(batch, 1)
    longest = int(spec.config.get("max_position_embeddings", 2**15))
    rows = torch.export.Dim("batch", min=1, max=2**15)
    new = {0: rows, 1: torch.export.Dim("sequence", min=2, max=longest)}  # exporters take 1 for a fixed size
    kept = {0: rows, 2: torch.export.Dim("cached", min=2, max=longest)}
    shapes = (new, {0: rows, 1: torch.export.Dim.DYNAMIC}, new, [(kept, kept) for _ in past])
    with quiet():
        return torch.export.export(
            _Cached(model).eval(), (inputs["input_ids"], mask, places, past), dynamic_shapes=shapes
        )


def _keep_state(graph: Any, states: Sequence[str], shapes: Sequence[tuple[int, int]]) -> None:
    """Turn the graph's inputs called `states`, each with its (heads, width), and the outputs behind the first into
    variables that are empty after a reset. The rows are gathered on the way: the form in which the CPU plugin knows a
    cache, and computes attention in one operator with it."""
    import openvino
    from openvino import opset13 as opset
    from openvino.passes import MakeStateful, Manager

    rows = opset.parameter([-1], openvino.Type.i32, name=ROWS)
    rows.output(0).get_tensor().set_names({ROWS})
    graph.add_parameters([rows])
    pairs = {}
    for name, (heads, width), output in zip(states, shapes, graph.outputs[1:], strict=True):
        source = graph.input(name)
        source.get_node().set_partial_shape(openvino.PartialShape([-1, heads, -1, width]))
        readers = source.get_target_inputs()
        gathered = opset.gather(source, rows, opset.constant(np.int64(0)))
        for reader in readers:
            reader.replace_source_output(gathered.output(0))
        pairs[name] = name.replace("past", "present")
        output.get_tensor().set_names({pairs[name]})
    graph.validate_nodes_and_infer_types()
    manager = Manager()
    manager.register_pass(MakeStateful(pairs))
    manager.run_passes(graph)

    one, none = np.array([0], np.int64), np.zeros(1, np.int64)
    batch = opset.gather(opset.shape_of(graph.input("input_ids")), opset.constant(one), opset.constant(np.int64(0)))
    reads = {node.get_variable_id(): node for node in graph.get_ops() if node.get_type_name() == "ReadValue"}
    for (name, made), (heads, width) in zip(pairs.items(), shapes, strict=True):
        sizes = [batch, *(opset.constant(np.array(size, np.int64)) for size in ([heads], none, [width]))]
        empty = opset.broadcast(opset.constant(np.float32(0)), opset.concat(sizes, axis=0))
        reads[name + made].set_arguments([empty.output(0)])
    graph.validate_nodes_and_infer_types()
