"""The command that runs one case again, as the message of a failure gives it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from benchmarks.matrix.options import given
from results.store.reproduction import PLACES, as_words


def reproduction(test: str, option: Callable[[str], Any]) -> str:
    """test: its id in pytest. option: an option's value by its name, as `--tier`."""
    named = [(name, value) for name, value in given(option).items() if name not in PLACES]
    return " ".join([f'pytest "{test}"', *map(shlex.quote, as_words(named))])
