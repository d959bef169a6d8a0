"""Prefill and decode on OpenVINO, with a graph that keeps its key-value cache as state."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressors.runtimes.cached_graph import continued
from compressors.runtimes.generation import greedy
from compressors.runtimes.openvino_held import told_where_held

WIDTHS = {"f32": 4, "bf16": 2}
"""Bytes of a number in the precision that is computed in."""
_PASSED_ON = ("Convert", "Multiply", "Subtract", "FakeQuantize", "Reshape")


class OpenvinoGenerator:
    """See `compressors.runtimes.generation.Generator`. weights: bytes of them that a pass reads."""

    def __init__(self, compiled: Any, precision: str, weights: int) -> None:
        self._request = compiled.create_infer_request()
        self._width, self._weights = WIDTHS[precision], weights
        self._prompts = np.empty((0, 0), np.int64)
        self._cached = 0
        self._kept: list[Any] = []

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """See Generator."""
        self._request.reset_state()
        self._cached, self._kept, self._prompts = 0, [], ids
        return self._next(ids)

    def decode(self, first: np.ndarray, count: int) -> np.ndarray:
        """See Generator."""
        self.rewind()
        return greedy(self._next, first, count)

    def rewind(self) -> None:
        """See Generator. The cache is copied the first time, which is not in `prefill` because that is timed. To go
        back, it is put in the place of what there is without the prompts' last token, which is then read again: a cache
        that was just put there has no room to grow, and is laid out anew at the next token, which a prompt's is not."""
        import openvino

        states = self._request.query_state()
        length = self._prompts.shape[1]
        if not self._kept:
            for state in states:
                copy = openvino.Tensor(state.state.element_type, state.state.shape)
                state.state.copy_to(copy)
                self._kept.append(copy)
        elif self._cached != length:
            for state, copy in zip(states, self._kept, strict=True):
                state.state = openvino.Tensor(np.ascontiguousarray(copy.data[:, :, :-1]))
            self._cached = length - 1
            self._next(self._prompts[:, -1:])

    def bytes_read(self) -> int:
        """See Generator."""
        return self._weights + self.bytes_cached()

    def bytes_cached(self) -> int:
        """See Generator."""
        self.rewind()
        return sum(copy.size for copy in self._kept) * self._width

    def _next(self, ids: np.ndarray) -> np.ndarray:
        batch, sequence = ids.shape
        mask = np.ones((batch, self._cached + sequence), np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, **continued(batch, sequence, self._cached)}
        with told_where_held():
            self._request.infer(inputs, share_inputs=True, share_outputs=True)
        self._cached += sequence
        found: np.ndarray = self._request.get_output_tensor(0).data[:, -1].argmax(-1)
        return found


def last_token_only(graph: Any) -> None:
    """Cut what goes into the output layer down to the last token of each text: a vocabulary for each token of a prompt
    is work that nobody asks for. A graph that does not end in a matrix product is left as it is."""
    from openvino import opset13 as opset

    product = graph.output("logits").get_node().input_value(0).get_node()
    if product.get_type_name() != "MatMul":
        return
    bounds = (opset.constant(np.array([bound], np.int64)) for bound in (-1, 2**31 - 1, 1, 1))
    product.input(0).replace_source_output(opset.slice(product.input_value(0), *bounds).output(0))
    graph.validate_nodes_and_infer_types()


def weight_bytes(graph: Any, precision: str) -> int:
    """Bytes of the constants that each pass reads, as they lie in memory: float32 in the precision that is computed
    in, equal ones once, without tables of which a pass reads single rows."""
    sizes: dict[int, int] = {}
    for node in graph.get_ops():
        if node.get_type_name() == "Constant" and not _looked_up(node):
            kept = node.get_byte_size()
            if node.get_element_type().get_type_name() == "f32":
                kept = kept // 4 * WIDTHS[precision]
            sizes[node.get_data().ctypes.data] = kept
    return sum(sizes.values())


def _looked_up(node: Any) -> bool:
    """Whether rows are gathered from what `node` makes, and nothing else is done with it."""
    users = [(target.get_node(), target.get_index()) for target in node.output(0).get_target_inputs()]
    return bool(users) and all(
        (user.get_type_name() == "Gather" and index == 0) or (user.get_type_name() in _PASSED_ON and _looked_up(user))
        for user, index in users
    )
