"""Several runs of pytest one after another in this process, as `matrix_run.Place.batch` starts them.

Arguments: {name: pytest's arguments}, a folder for what they print, {name: bytes that its files may have}, as JSON.
Prints {name: {code, out, err}} as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest


def run(arguments: list[str], folder: Path, room: int | None) -> dict[str, Any]:
    """One run, with both streams into files of their own. room: bytes that a file may have, None for no limit."""
    files, real = [folder / f"batch-{stream}" for stream in ("out", "err")], [os.dup(1), os.dup(2)]
    for stream, file in enumerate(files, 1):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, stream)
        os.close(handle)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    code = pytest.main(arguments)
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, kept in enumerate(real, 1):
        os.dup2(kept, stream)
        os.close(kept)
    out, err = (file.read_text(encoding="utf-8") for file in files)
    return {"code": int(code), "out": out, "err": err}


if __name__ == "__main__":  # workers import this file, too
    runs, folder, room = json.loads(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    print(json.dumps({name: run(arguments, folder, room.get(name)) for name, arguments in runs.items()}))
