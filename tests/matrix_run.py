"""Runs of the matrix as people start them: pytest in a process of its own, with plugins that the tests plant."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forked_python import ForkedPython

from results.store.record import CaseRecord
from results.store.store import Run

Process = subprocess.Popen[str] | ForkedPython
ROOT = Path(__file__).parents[1]
BATCH = Path(__file__).with_name("batch_of_runs.py")
WAIT = 600
"""Seconds until a run is given up: only a hang takes so long."""


NO_TARGETS = "[vit-digits]\n"
"""A targets file that promises nothing, on purpose: an empty one is refused."""


@dataclass(frozen=True)
class Done:
    """A run that has ended."""

    code: int
    out: str
    err: str

    @property
    def ids(self) -> list[str]:
        """What `--collect-only -q` listed."""
        return [line for line in self.out.splitlines() if "::" in line]


class Place:
    """Where runs work: their cache, results and plugins (module name -> source)."""

    def __init__(
        self, folder: Path, cache: Path, plugins: Mapping[str, str], targets: str, runtimes: Mapping[str, str] = {}
    ) -> None:
        self.folder = folder
        self.cache = cache
        self.site = folder / "site"
        info = self.site / "planted-1.0.dist-info"
        info.mkdir(parents=True)
        for name, text in {**plugins, **runtimes}.items():
            (self.site / f"{name}.py").write_text(text)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        groups = {"compressors": plugins, "runtimes": runtimes}
        lines = [
            line
            for group, named in groups.items()
            for line in (f"[pressbench.{group}]", *(f"{name} = {name}" for name in named))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.targets = folder / "targets.toml"
        self.targets.write_text(targets)

    def command(self, *options: str, results: str = "results", target: str = "benchmarks") -> list[str]:
        """What follows `pytest`."""
        own = ["-o", f"cache_dir={self.folder / 'pytest'}", "-p", "no:xdist", "-p", "no:hypothesispytest"]
        places = ["--cache", self.cache, "--results", self.folder / results, "--targets", self.targets]
        # No test waits for a qualification, nor depends on what else this machine does.
        machine = ["--tau", "0", "--unqualified-ok", "--qualifications", str(self.folder / "qualifications")]
        return [target, *own, *map(str, places), *machine, *options]

    def start(self, *command: str, at: Path = ROOT, fresh: bool = False, **more: str) -> Process:
        """Python with the plugins installed, in a process group of its own, as a shell would start it. at: the folder
        that it is in. fresh: from nothing, not forked. more: what its environment has beside the usual."""
        others = ("PYTEST_", "COV_", "FORCE_COLOR", "GITHUB_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        environment |= {
            "PYTHONPATH": f"{self.site}{os.pathsep}{ROOT}",
            "COLUMNS": "120",
            "HOME": "/proc/none",  # nothing is written there where a folder for the cache is named
            "NO_COLOR": "1",
            "PLANTED": str(self.folder),
            "PLANTED_CACHE": str(self.cache),
            "PLANTED_STARTED": str(self.folder / "started"),
            **more,
        }
        if not fresh:
            return ForkedPython(command, at, environment)
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=at,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,
        )

    def batch(
        self, runs: Mapping[str, list[str]], room: Mapping[str, int] | None = None, *, at: Path = ROOT, **more: str
    ) -> dict[str, Done]:
        """Several short runs, one after another in one process, as most of each would be importing torch.
        room: run -> bytes that its files may have. at, more: as in start."""
        done = finish(self.start(str(BATCH), json.dumps(runs), str(self.folder), json.dumps(room or {}), at=at, **more))
        assert done.code == 0, done.out + done.err
        return {name: Done(**found) for name, found in json.loads(done.out).items()}


def _hear_ctrl_c() -> None:
    """What a shell starts in the background ignores SIGINT, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: Process) -> Done:
    try:
        out, err = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Done(process.returncode, out, err)


def record(run: Run, measure: str, compressor: str) -> CaseRecord:
    """The one of this measure and method."""
    (found,) = [r for r in run.cases if (r.measure, r.compressor) == (measure, compressor)]
    return found
