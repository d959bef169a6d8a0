"""What the tests of the methods share: the tiny models of the conformance checks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compressors import conformance, registry

sys.path.append(str(Path(__file__).parents[1]))  # tests/tiny_architectures.py


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """What a test registers, or a conformance check of what it plants, stays known to no other test."""
    classes = registry._compressors()[0]
    before = dict(classes)
    yield
    classes.clear()
    classes.update(before)


@pytest.fixture(params=["bert", "vit"])
def tiny(request: pytest.FixtureRequest) -> conformance.Subject:
    """A tiny BERT and a tiny ViT, each with data, as artifacts on disk."""
    return conformance.subject(request.param)


@pytest.fixture
def tiny_bert() -> conformance.Subject:
    """The tiny BERT alone, for what a ViT has not."""
    return conformance.subject("bert")
