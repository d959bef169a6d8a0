"""The methods and the plugin that the tests of the matrix plant: one that crashes, an idle, a slow, a broken one."""

from __future__ import annotations

METHOD = """
import ctypes, os, sys, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from compressors.interface import Compressor, Compressed

@dataclass(frozen=True)
class {cls}(Compressor):
    name: ClassVar[str] = "planted-{name}"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[str] = "storage"
    variants: ClassVar[dict] = {{}}
    nightly_variants: ClassVar[dict] = {{"": {{}}}}

    def compress(self, model, context):
        {body}
        return Compressed(model)
"""

PLUGINS = {
    # Talks on every channel, then dies as a faulty kernel would.
    "planted_crash": METHOD.format(
        cls="Crash",
        name="crash",
        body="print('GARBAGE'); os.write(1, b'GARBAGE'); os.write(2, b'GARBAGE'); ctypes.string_at(0)",
    ),
    # Does nothing, and says it is smaller.
    "planted_idle": METHOD.format(cls="Idle", name="idle", body="pass"),
    # Tells who it is, and takes its time.
    "planted_slow": METHOD.format(
        cls="Slow",
        name="slow",
        body="Path(os.environ['PLANTED_STARTED']).write_text(str(os.getpid())); time.sleep(600)",
    ),
    "planted_broken": "raise RuntimeError('built for another torch')",
}
