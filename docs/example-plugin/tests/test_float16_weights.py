import pytest
from pressbench_example.float16 import Float16Weights

from compressors import conformance, surgery, units
from compressors.interface import PressbenchError


def test_a_weight_beyond_float16_is_an_error_and_not_infinity():
    subject = conformance.subject("bert")
    model = subject.dense.model()
    surgery.get(model, units.blocks(model)[0].attention.query.layer).weight.data[0, 0] = 1e6
    with pytest.raises(PressbenchError, match="query has a weight that float16 cannot hold"):
        Float16Weights().compress(model, subject.context(Float16Weights()))
