"""What holds for every test of the suite itself."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Read by OpenMP when torch is first imported, which is after this. With its default, a thread that waits
# spins: on two busy cores, training took twenty times as long. Nothing here times anything.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A test that forgets to name a cache must not read, fill or repair the user's own.
os.environ["PRESSBENCH_CACHE"] = os.devnull
# Nor must they note or find what the user has run.
os.environ["PRESSBENCH_STATE"] = os.devnull
# Nor must tests wait for a benchmark that is being timed on this machine, or hold one up.
os.environ["PRESSBENCH_LOCKS"] = tempfile.mkdtemp(prefix="pressbench-tests-")
atexit.register(shutil.rmtree, os.environ["PRESSBENCH_LOCKS"], ignore_errors=True)
# The runs that tests start are not spread, though the tests may be; pytest-benchmark would time nothing.
os.environ.pop("PYTEST_XDIST_WORKER", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that start runs of the suite come first, as what takes longest should not begin last; of those, one
    that trains the dense model of `matrix_cache`, and at the same time those that do without."""
    home = Path(__file__).parent
    waits = {item.path for item in items if "matrix_cache" in getattr(item, "fixturenames", ())}
    first = next((item.path for item in items if item.path.parent == home and item.path in waits), None)
    items.sort(key=lambda item: (item.path.parent != home, item.path != first, item.path in waits))


@pytest.fixture(scope="session")
def matrix_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the runs that tests start, so that the dense model is trained once for all of them, also where
    pytest-xdist spreads the tests. Set PRESSBENCH_TEST_CACHE to a folder to keep it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    folder = Path(os.environ.get("PRESSBENCH_TEST_CACHE") or shared / "matrix-cache")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Calls `pressbench` in an empty folder: exit code, what it printed, what it complained of."""
    from pressbench import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pressbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return called
