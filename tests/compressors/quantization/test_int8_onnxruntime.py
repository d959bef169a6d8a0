"""int8 on ONNX Runtime: 7-bit weights where 8 would saturate, which no accuracy on small weights would show."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from compressors import conformance
from compressors.interface import Hardware
from compressors.quantization.int8_onnxruntime import Int8OnnxRuntime
from compressors.runtimes.controls import OnnxRuntimeFp32


def largest(features: set[str], **fields: bool) -> int:
    """Of the int8 weights that are made for a CPU with these features."""
    bert = conformance.subject("bert")
    context = dataclasses.replace(bert.context(), hardware=Hardware("cpu", "a class", frozenset(features)))
    exported = OnnxRuntimeFp32().compress(bert.dense.model(), context).model
    made: onnx.ModelProto = Int8OnnxRuntime(**fields).compress(exported, context).model
    arrays = [numpy_helper.to_array(one) for one in made.graph.initializer]
    return max(int(np.abs(one.astype(np.int16)).max()) for one in arrays if one.dtype == np.int8)


@pytest.mark.parametrize(
    "features,fields,bits",
    [({"avx2"}, {}, 7), ({"avx2", "avx512"}, {}, 7), ({"avx2", "avx512", "vnni"}, {}, 8),
     ({"avx2"}, {"reduce_range": False}, 8), ({"avx2", "vnni"}, {"reduce_range": True}, 7)],
)  # fmt: skip
def test_weights_have_the_bits_that_do_not_saturate(features: set[str], fields: dict[str, bool], bits: int) -> None:
    assert (largest(features, **fields) > 64) == (bits == 8)


def test_the_product_of_seven_bits_is_exact_on_this_machine() -> None:
    """All activations and weights at the end of their range: with 8 bits half of the sum is lost without VNNI."""
    import onnxruntime
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 256])
    answer = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 16])
    weight = numpy_helper.from_array(np.full((256, 16), 64, np.int8), "w")
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g", [given], [answer], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((1, 256), 255, np.uint8)})
    assert torch.from_numpy(found).unique().tolist() == [256 * 255 * 64]
