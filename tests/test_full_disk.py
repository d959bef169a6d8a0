"""Results on file systems that are really full or read-only, mounted for one run in a namespace of its own."""

from __future__ import annotations

import mmap
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from matrix_run import NO_TARGETS, Done, Place, finish

from results.store.store import list_runs, read_run

CHOSEN = ["--model", "vit-digits", "--compressor", "dense", "-m", "not speed", "-q", "--tb=no"]
UNSHARE = ["unshare", "--map-root-user", "--mount"]
# The mount goes with the namespace: what it holds is copied out first.
RUN = """
mount {how} "$1" && {first} cd "$2" || exit 99
shift 2
"$@"
code=$?
cp -a "$MOUNTED/." "$COPY"
exit $code
"""
TINY = "-t tmpfs -o size=8k tmpfs"
READ_ONLY = '--bind "$1" "$1" && mount -o remount,bind,ro'


def why_not(folder: Path) -> str | None:
    """Why nothing can be mounted here; None where it can."""
    try:
        done = subprocess.run(
            [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, text=True, timeout=60
        )
    except OSError as error:
        return f"unshare: {error.strerror}"
    return done.stderr.strip().replace("\n", " ") if done.returncode else None


class Mounts:
    """Runs whose folder for results is a mount of their own."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def run(self, name: str, how: str, first: str = "") -> tuple[Done, Path]:
        """A run and a copy of what its folder held in the end. how: options of mount; first: a shell command."""
        mounted, copy = self.place.folder / name, self.place.folder / f"{name}-copy"
        mounted.mkdir()
        copy.mkdir()
        script = RUN.format(how=how, first=first).replace("$MOUNTED", str(mounted)).replace("$COPY", str(copy))
        pytest_run = [sys.executable, "-m", "pytest", *self.place.command(*CHOSEN, results=name)]
        command = [*UNSHARE, "sh", "-c", script, "sh", str(mounted), str(Path(__file__).parents[1]), *pytest_run]
        done = finish(
            self.place.start("-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])", *command, fresh=True)
        )
        assert done.code != 99, done.err
        return done, copy


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory, matrix_cache: Path) -> Mounts:
    folder = tmp_path_factory.mktemp("mounts")
    if reason := why_not(folder):
        pytest.skip(f"nothing can be mounted here: {reason}")
    return Mounts(Place(folder, matrix_cache, {}, NO_TARGETS))


def said(done: Done) -> str:
    """The one line that names the file and the reason."""
    (line,) = [line for line in (done.out + done.err).splitlines() if re.search("cannot be (written|made)", line)]
    assert "Traceback" not in done.out + done.err
    return line


@pytest.mark.skipif(mmap.PAGESIZE != 4096, reason=f"pages of {mmap.PAGESIZE} bytes: a tmpfs cannot be as small")
def test_a_full_disk_ends_the_run_and_what_it_stored_can_be_gone_on_with(mounts: Mounts) -> None:
    done, copy = mounts.run("tiny", TINY, 'head -c 4000 /dev/zero > "$1/ballast" &&')
    assert done.code == 74, done.out + done.err
    (path,) = list_runs(copy)
    assert f"{mounts.place.folder / 'tiny' / path.name}: cannot be written: No space left on device" in said(done)
    stored = read_run(path)
    assert (stored.cases, stored.end, stored.damaged) == ((), None, ())
    assert path.read_bytes().endswith(b"\n")
    again = finish(mounts.place.start("-m", "pytest", *mounts.place.command(*CHOSEN, "--resume", results=copy.name)))
    assert again.code == 0, again.out + again.err
    stored = read_run(path)
    assert stored.damaged == ()
    assert stored.end is not None
    assert stored.end.executed == stored.end.expected == 2


@pytest.mark.skipif(mmap.PAGESIZE != 4096, reason=f"pages of {mmap.PAGESIZE} bytes: a tmpfs cannot be as small")
def test_a_disk_that_is_full_from_the_start_keeps_no_empty_run(mounts: Mounts) -> None:
    done, copy = mounts.run("full", TINY, 'head -c 8192 /dev/zero > "$1/ballast" &&')
    assert done.code == pytest.ExitCode.USAGE_ERROR, done.out + done.err
    assert re.search(rf"{mounts.place.folder}/full/\S+\.jsonl: cannot be written: No space left on device", said(done))
    assert list_runs(copy) == []


def test_a_read_only_disk_is_one_line(mounts: Mounts) -> None:
    done, copy = mounts.run("read-only", READ_ONLY)
    assert done.code == pytest.ExitCode.USAGE_ERROR, done.out + done.err
    where = rf"{mounts.place.folder}/read-only/\S+\.jsonl"
    assert re.search(f"{where}: cannot be made: Read-only file system", said(done))
    assert list_runs(copy) == []
