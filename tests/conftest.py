"""What holds for every test of the suite itself."""

import os
from pathlib import Path

import pytest

# Read by OpenMP when torch is first imported, which is after this. With its default, a thread that waits
# spins: on two busy cores, training took twenty times as long. Nothing here times anything.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A test that forgets to name a cache must not read, fill or repair the user's own.
os.environ["PRESSBENCH_CACHE"] = os.devnull


@pytest.fixture(scope="session")
def matrix_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the runs that tests start, so that the dense model is trained once for all of them. Set
    PRESSBENCH_TEST_CACHE to a folder to keep it."""
    return Path(os.environ.get("PRESSBENCH_TEST_CACHE") or tmp_path_factory.mktemp("matrix-cache"))
