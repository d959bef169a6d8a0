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
