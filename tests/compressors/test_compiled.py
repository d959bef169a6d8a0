"""The dense model by torch.compile: that it is compiled, and answers as it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from compressors import conformance, registry
from compressors.build import build_step
from compressors.interface import Hardware, Unsupported


def answers(made: object, subject: conformance.Subject) -> np.ndarray:
    inputs = {name: values[:4].numpy() for name, values in subject.examples.inputs.items()}
    return made.load(threads=1)(inputs)  # type: ignore[attr-defined, no-any-return]


def test_what_runs_is_compiled_and_answers_as_the_dense_model(tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    method = registry.build("torch-compile-fp32")
    made = build_step(method, tiny_bert.dense, tiny_bert.context(method), tmp_path)
    torch._dynamo.reset()
    counters.clear()
    wanted = answers(tiny_bert.dense, tiny_bert)
    assert not counters["stats"]["unique_graphs"]
    np.testing.assert_allclose(answers(made, tiny_bert), wanted, rtol=1e-3, atol=1e-4)
    assert counters["stats"]["unique_graphs"] >= 1


def test_a_growing_cache_is_not_compiled(tmp_path: Path) -> None:
    subject, method = conformance.subject("llama"), registry.build("torch-compile-fp32")
    made = build_step(method, subject.dense, subject.context(method), tmp_path)
    with pytest.raises(Unsupported, match="compiled anew as its key-value cache grows"):
        made.generator()


def test_without_a_compiler_it_says_what_is_missing(
    tiny_bert: conformance.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = registry.build("torch-compile-fp32")
    assert method.supports(tiny_bert.spec, conformance.HARDWARE) is None
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "install g++" in str(method.supports(tiny_bert.spec, conformance.HARDWARE))
    assert method.supports(tiny_bert.spec, Hardware("cuda0", "cuda-sm90", device="cuda:0")) is None
    slow = Hardware("cpu", "cpu-avx2", frozenset({"avx2"}))
    assert "bf16" in str(registry.build("torch-compile-bf16").supports(tiny_bert.spec, slow))
