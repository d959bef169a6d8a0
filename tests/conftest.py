"""What holds for every test of the suite itself."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

# Read by OpenMP when torch is first imported, which is after this. With its default, a thread that waits
# spins: on two busy cores, training took twenty times as long. Nothing here times anything.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A test that forgets to name a cache must not read, fill or repair the user's own.
os.environ["PRESSBENCH_CACHE"] = os.devnull
# Nor must tests wait for a benchmark that is being timed on this machine, or hold one up.
os.environ["PRESSBENCH_LOCKS"] = tempfile.mkdtemp(prefix="pressbench-tests-")
atexit.register(shutil.rmtree, os.environ["PRESSBENCH_LOCKS"], ignore_errors=True)


@pytest.fixture(scope="session")
def matrix_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the runs that tests start, so that the dense model is trained once for all of them. Set
    PRESSBENCH_TEST_CACHE to a folder to keep it."""
    return Path(os.environ.get("PRESSBENCH_TEST_CACHE") or tmp_path_factory.mktemp("matrix-cache"))
