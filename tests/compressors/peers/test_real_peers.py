"""The peers themselves, as far as they are installed: `pressbench peers install NAME`."""

from __future__ import annotations

from typing import Any

import pytest

from compressors import conformance, registry
from compressors.peers import environment
from compressors.peers.base import Peer

FEW: dict[str, dict[str, Any]] = {"peer-autoround": {"iterations": 5}}
PEERS = {name: cls for name, cls in registry.compressor_classes().items() if issubclass(cls, Peer)}


@pytest.mark.real
def test_those_that_are_here_keep_the_contract() -> None:
    here = [name for name, cls in sorted(PEERS.items()) if environment.missing(name, cls.pins) is None]
    if not here:
        pytest.skip(f"none of {', '.join(sorted(PEERS))} is installed: pressbench peers install NAME")
    for name in here:
        for check in conformance.checks(registry.build(name, FEW.get(name, {}))):
            if check.kind == "llama":
                check()


OTHER_LAYOUTS: list[tuple[str, dict[str, Any]]] = [
    ("peer-autoround", {"symmetric": False, "iterations": 2}),
    ("peer-autoround", {"symmetric": False, "bits": 3, "iterations": 2}),
    ("peer-autoround", {"bits": 8, "iterations": 2}),
    ("peer-gptqmodel", {"symmetric": False, "act_order": True}),
    ("peer-gptqmodel", {"symmetric": False, "bits": 3, "group_size": 16}),
    ("peer-gptqmodel", {"act_order": True, "bits": 8}),
    ("peer-gptqmodel", {"symmetric": False, "bits": 2, "group_size": 16}),
    ("peer-quanto", {"bits": 8, "group_size": None}),
    ("peer-quanto", {"bits": 2, "group_size": 16}),
    ("peer-torchao", {"bits": 8, "group_size": None}),
    ("peer-torchao", {"bits": 3, "symmetric": False}),
]


@pytest.mark.real
@pytest.mark.parametrize(("name", "parameters"), OTHER_LAYOUTS)
def test_what_else_it_saves_is_read_as_it_decodes_it(name: str, parameters: dict[str, Any]) -> None:
    """`compress` holds every weight against the peer's own decoding."""
    if reason := environment.missing(name, PEERS[name].pins):
        pytest.skip(reason)
    peer, subject = registry.build(name, parameters), conformance.subject("llama")
    made = peer.compress(subject.dense.model(), subject.context(peer))
    assert {layout["bits"] for layout in made.structure["layers"].values()} == {parameters.get("bits", 4)}
