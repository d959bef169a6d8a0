"""What a peer does not have is told when it is asked for, not when its quantizer has been started."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compressors import conformance, registry

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("peer-hqq", {"bits": 5}, "bits = 5: must be 2, 3, 4 or 8"),
    ("peer-hqq", {"group_size": 12}, "group_size = 12: must be a multiple of 8, and at least that"),
    ("peer-hqq", {"group_size": None}, "group_size = None: must be a multiple of 8, and at least that"),
    ("peer-llmcompressor-gptq", {"bits": 3}, "bits = 3: must be 4 or 8"),
    ("peer-llmcompressor-gptq", {"group_size": 0}, "group_size = 0: must be at least 1"),
    ("peer-llmcompressor-gptq", {"damping": 0}, "damping = 0: must lie above 0"),
    ("peer-autoround", {"bits": 5}, "bits = 5: must be 2, 3, 4 or 8"),
    ("peer-autoround", {"bits": 8, "symmetric": False}, "symmetric = False: must be true at 8 bits"),
    ("peer-autoround", {"iterations": 0}, "iterations = 0: must be at least 1"),
    ("peer-gptqmodel", {"bits": 5}, "bits = 5: must be 2, 3, 4 or 8"),
    ("peer-gptqmodel", {"group_size": 8}, "group_size = 8: must be one of 16, 32, 64, 128, 256, 512, 1024"),
    ("peer-gptqmodel", {"group_size": 48}, "group_size = 48: must be one of 16"),
    ("peer-gptqmodel", {"damping": 0}, "damping = 0: must lie above 0 and below 1"),
    ("peer-gptqmodel", {"damping": 1}, "damping = 1: must lie above 0 and below 1"),
    ("peer-quanto", {"bits": 3}, "bits = 3: must be 2, 4 or 8"),
    ("peer-quanto", {"bits": 8}, "group_size = 64: must be null at 8 bits"),
    ("peer-quanto", {"group_size": 0}, "group_size = 0: must be at least 1, or null"),
    ("peer-torchao", {"bits": 1}, "bits = 1: must be 2, 3, 4, 5, 6, 7 or 8"),
    ("peer-torchao", {"bits": 8, "symmetric": False}, "symmetric = False: must be true at 8 bits"),
]


@pytest.mark.parametrize(("name", "parameters", "told"), REFUSED)
def test_what_a_peer_does_not_have_is_refused(name: str, parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told) as refused:
        registry.build(name, parameters)
    assert "\n" not in str(refused.value)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every peer were installed."""
    monkeypatch.setattr("compressors.peers.environment.missing", lambda name, pins: None)


def reason(name: str, parameters: dict[str, Any], **config: Any) -> str | None:
    spec = conformance.subject("llama").spec
    spec = dataclasses.replace(spec, config={**spec.config, **config})
    return registry.unsupported_reason(registry.build(name, parameters), spec, conformance.HARDWARE)


@pytest.mark.usefixtures("here")
def test_what_autoround_would_leave_dense_is_unsupported() -> None:
    assert reason("peer-autoround", {"group_size": 16}) is None
    assert reason("peer-autoround", {"group_size": 16}, intermediate_size=80) == (
        "peer-autoround: quantizes layers with sides of 32, 64, …: model.layers.0.mlp.gate_proj is 80 x 64"
    )
    assert reason("peer-torchao", {"group_size": 16}, intermediate_size=80) is None


@pytest.mark.usefixtures("here")
def test_what_gptqmodel_cannot_pack_is_unsupported() -> None:
    """Its 3 bits lie 32 to three words, and it fails at what is left over; the others it fills up."""
    assert reason("peer-gptqmodel", {"bits": 3, "group_size": 16}) is None
    assert reason("peer-gptqmodel", {"bits": 3, "group_size": 16}, intermediate_size=80) == (
        "peer-gptqmodel: quantizes layers with sides of 32, 64, …: model.layers.0.mlp.gate_proj is 80 x 64"
    )
    assert reason("peer-gptqmodel", {"group_size": 16}, intermediate_size=80) is None


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["peer-quanto", "peer-torchao"])
def test_without_a_group_size_any_width_will_do(name: str) -> None:
    assert reason(name, {"group_size": None}, intermediate_size=72) is None
    assert str(reason(name, {}, intermediate_size=72)).endswith(
        "64 columns share a scale: does not divide the 72 of model.layers.0.mlp.down_proj"
    )
