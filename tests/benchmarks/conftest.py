"""A run whose cache and folder are its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from benchmarks.cache import Cache
from benchmarks.measure.speed import Budget
from benchmarks.preparation.settings import Settings
from benchmarks.progress import Stages
from benchmarks.run.session import Session
from benchmarks.verdicts import FEWEST


@pytest.fixture
def session(tmp_path: Path) -> Session:
    settings = Settings(budget=Budget(pairs=FEWEST, at_least=FEWEST))
    return Session(Cache(tmp_path), settings, Stages(io.StringIO()), "run")
