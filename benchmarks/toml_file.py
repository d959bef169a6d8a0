"""Files of TOML that people write: what cannot be read is told in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from compressors.interface import PressbenchError


def read_toml(path: Path, said: str, error: type[PressbenchError] = PressbenchError) -> dict[str, Any]:
    """The tables of a file. said: how messages name it. Raises `error`: not there, not readable, or which line is no
    TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{said}: not found") from None
    except OSError as fault:
        raise error(f"{said}: cannot be read: {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise error(f"{said}: {fault}") from None
