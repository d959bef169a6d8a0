"""What tests of stored results share."""

import os

import pytest


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_store.py` is about what reaches the disk; where a run is only read it would take time."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
