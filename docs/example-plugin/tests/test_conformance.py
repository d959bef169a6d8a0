import pytest
from pressbench_example.float16 import Float16Weights

from compressors import conformance


@pytest.mark.parametrize("check", conformance.checks(Float16Weights()), ids=str)
def test_conformance(check):
    check()
