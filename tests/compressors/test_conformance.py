"""Every method keeps the contract."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.matrix.cases import role
from compressors import registry
from compressors.conformance import Check, checks
from compressors.interface import Hardware
from compressors.peers.base import Peer

NOT_OF_CONTROLS = "effect_is_witnessed"
"""A control compresses nothing, and bf16 on OpenVINO does not even change the file."""


def matrix() -> Iterator[Check]:
    """Every check of every method of the quick tier, and of the controls all but the one about the effect."""
    for label, compressor in registry.variants("quick").items():
        if role(compressor) != "dense":
            for check in checks(compressor, label):
                if role(compressor) == "method" or check.check.__name__ != NOT_OF_CONTROLS:
                    yield check


@pytest.mark.parametrize("check", matrix(), ids=str)
def test_conformance(check: Check) -> None:
    check()


def test_every_variant_of_every_tier_is_in_what_is_checked_or_a_stronger_setting_of_it() -> None:
    names = {check.compressor.name for check in matrix()}
    # Peers: see test_real_peers.
    peers = {name for name, cls in registry.compressor_classes().items() if issubclass(cls, Peer)}
    every = {c.name for c in registry.variants("full").values() if role(c) != "dense"} - peers - ABSENT - BEHIND
    nightly_only = every - {c.name for c in registry.variants("quick").values()}
    assert names == every - nightly_only
    assert nightly_only == {check.compressor.name for check in NIGHTLY}, "give it a quick variant, or check it here"


ABSENT = {
    name
    for name, cls in registry.compressor_classes().items()
    if any(not importlib.util.find_spec(m) for m in cls.requires)
}
"""What needs packages that are not installed: llama.cpp is compiled where it is."""
BEHIND = {"ctranslate2-fp32", "ctranslate2-int8"}
"""Of encoders with a decoder alone, which none of the tiny models here is: see test_ctranslate2."""
SCORES = ("random", "threshold", "gradient", "fisher", "wanda", "sparsegpt", "regularized")
GRIDS = ("log2", "nf4", "codebook", "hqq")
ENSEMBLE = {"members": ["prune-structured:recovery_epochs=0", "low-rank-svd:recovery_epochs=0"], "epochs": 0.25}
COMPILED, RELOADS = ("torch-compile-fp32", "torch-compile-bf16"), "reload_gives_the_same_outputs"
"""Kernels are compiled for seconds at every load; all else of them is the dense model's."""
GPU = Hardware("cuda0", "cuda-sm90", frozenset({"cuda", "sm90"}), device="cuda:0")
SPARSE = [registry.build(f"attention-{name}", {"window": 1}) for name in ("window", "global", "strided", "sinks")]
BRIEF = {"recovery_epochs": 0.25}


def on_gpu(name: str, **parameters: Any) -> list[Check]:
    """Of a method for GPUs: its layers compute on a CPU too, where this runs."""
    return checks(registry.build(name, parameters), "-".join([name, *parameters.values()]), GPU)


NIGHTLY = [
    # All but the score is the same code, and `test_architectures` has them on many models.
    *(check for score in SCORES for check in checks(registry.build(f"prune-{score}")) if check.kind == "bert"),
    *checks(registry.build("prune-tokens", {"recovery_epochs": 0.25})),
    *(check for check in checks(registry.build("prune-information")) if check.kind == "bert"),
    *checks(registry.build("sparse-csr", {"recovery_epochs": 0.0})),
    *checks(registry.build("prune-tree", {"recovery_epochs": 0.25})),
    *checks(registry.build("prune-group-lasso", {"recovery_epochs": 0.25})),
    *checks(registry.build("prune-movement", {"recovery_epochs": 0.5})),
    *checks(registry.build("prune-vocabulary")),
    *checks(registry.build("prune-layers", {"removed": 0.5})),
    *checks(registry.build("prune-width", {"recovery_epochs": 0.25})),
    *checks(registry.build("distil-student", {"epochs": 0.5})),
    *(check for check in checks(registry.build("low-rank-fisher")) if check.kind == "bert"),
    *checks(registry.build("low-rank-whitened", {"recovery_epochs": 0.25})),
    *checks(registry.build("low-rank-embedding", {"recovery_epochs": 0.25})),
    # The grids share all but the grid.
    *(c for grid in GRIDS for c in checks(registry.build(f"quantize-{grid}", {"group_size": 16})) if c.kind == "bert"),
    *checks(registry.build("quantize-gptq", {"bits": 3, "group_size": 16, "tuning_epochs": 0.25})),
    *checks(registry.build("quantize-vector", {"recovery_epochs": 0.25})),
    *checks(registry.build("quantize-mixed", {"average_bits": 3.0, "group_size": 16})),
    *checks(registry.build("train-quantized", {"bits": 3, "epochs": 0.25})),
    *checks(registry.build("adapters-beside", {"rank": 4, "recovery_epochs": 0.25})),
    *(c for name in COMPILED for c in checks(registry.build(name)) if c.kind == "bert" and c.check.__name__ == RELOADS),
    *checks(registry.build("weight-only", {"bits": 8}), "weight-only-8bit"),
    *checks(registry.build("weight-only", {"bits": 4, "group_size": 32}), "weight-only-4bit"),
    *checks(registry.build("weight-only-openvino", {"bits": 4}), "weight-only-openvino-4bit"),
    *checks(registry.build("weight-only-onnxruntime", {"bits": 4}), "weight-only-onnxruntime-4bit"),
    # The texts here have 16 tokens, of which half are then old.
    *checks(registry.build("quantize-cache", {"bits": 4, "group_size": 4, "residual": 4}), "quantize-cache-4bit"),
    *(c for name in ("llamacpp-fp16", "quantize-gguf") if name not in ABSENT for c in checks(registry.build(name))),
    *checks(registry.build("int8-dynamic-torch")),
    *checks(registry.build("int8-static-torch")),
    *checks(registry.build("int8-trained-torch", {"epochs": 0.25})),
    *(c for granularity in ("row", "tensor") for c in on_gpu("fp8", granularity=granularity)),
    *checks(registry.build("quantize-awq", {"group_size": 16})),
    *checks(registry.build("gptq-aten")),
    *checks(registry.build("gptq-openvino")),
    *checks(registry.build("gptq-onnxruntime")),
    *(check for check in checks(registry.build("quantize-smooth")) if check.kind == "bert"),
    *checks(registry.build("share-layers", {"recovery_epochs": 0.25})),
    *checks(registry.build("fuse-soup", {"members": ["prune-structured:recovery_epochs=0.25"] * 2})),
    *(c for c in checks(registry.build("fuse-ensemble", ENSEMBLE)) if c.kind != "vit"),
    # Of 16 tokens attention is 4 % of this Llama's work, too little to see less of it: test_methods has 64 of them.
    *(c for m in SPARSE for c in checks(m) if c.kind != "llama" or c.check.__name__ != "effect_is_witnessed"),
    # Of 16 tokens; a Llama's, which look at 64 of them one by one, are too few: see attention/test_approximate_kept.
    *(c for c in checks(registry.build("attention-linear", {**BRIEF, "features": 3})) if c.kind != "llama"),
    *checks(registry.build("attention-projected", {**BRIEF, "rank": 2})),
    *checks(registry.build("attention-hashed", {**BRIEF, "rounds": 1, "size": 4})),
]


@pytest.mark.parametrize("check", NIGHTLY, ids=str)
def test_conformance_of_what_only_nights_run(check: Check) -> None:
    check()
