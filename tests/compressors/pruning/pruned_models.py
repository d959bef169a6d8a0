"""Tiny models pruned by one score alone, and examples to score them on exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from compressors import conformance
from compressors.conformance import Subject
from compressors.interface import Context
from compressors.pruning.gradient import PruneGradient
from compressors.pruning.weights import MaskedWeights

ALONE: dict[str, Any] = {"recovery_epochs": 0.0}


def pruned(tiny: Subject, compressor: MaskedWeights, seed: int = 0) -> nn.Module:
    return compressor.compress(tiny.dense.model(), tiny.context(compressor, seed=seed)).model


def exact(tiny: Subject, count: int) -> Context:
    """The first examples, on a machine that computes in fp32."""
    plain = dataclasses.replace(conformance.HARDWARE, features=frozenset())
    return dataclasses.replace(tiny.context(PruneGradient()), calibration=tiny.examples[:count], hardware=plain)
