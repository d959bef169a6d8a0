"""What the tests of the methods share: the tiny models of the conformance checks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressors import conformance

sys.path.append(str(Path(__file__).parents[1]))  # tests/tiny_architectures.py


@pytest.fixture(params=["bert", "vit"])
def tiny(request: pytest.FixtureRequest) -> conformance.Subject:
    """A tiny BERT and a tiny ViT, each with data, as artifacts on disk."""
    return conformance.subject(request.param)


@pytest.fixture
def tiny_bert() -> conformance.Subject:
    """The tiny BERT alone, for what a ViT has not."""
    return conformance.subject("bert")
