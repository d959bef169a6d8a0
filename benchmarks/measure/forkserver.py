"""The process that workers are forked from, which has imported once what all of them need.

It takes seconds to import that, while the suite itself imports as much: `begin` lets both happen at once, and imports
nothing heavy itself.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver

PRELOAD = [
    "torch",
    "numpy",
    "transformers",
    # transformers imports these when the first model is built, which takes 2 s: once, here, and not in every worker.
    "transformers.modeling_utils",
    "transformers.modeling_layers",
    "transformers.activations",
    "benchmarks.measure.stages",
    "datasets",  # what a task is read with; what times alone does without, and it need not be there
]
# Asked the usual way whether there is a GPU, torch starts the driver, and what is forked then can no longer use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(PRELOAD)


def begin() -> None:
    """Start it, unless it is there; the first worker would. It ends with this process."""
    forkserver.ensure_running()
