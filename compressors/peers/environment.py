"""Where a peer lives: a virtual environment of its own, since what the peers pin clashes with ours and with each other.

They lie in `$PRESSBENCH_PEERS`, else in the user's data folder: not in the cache, which can be deleted at any time and
of which a method sees nothing but what it was given.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from compressors.interface import PressbenchError

LOCATION = "PRESSBENCH_PEERS"


def folder_of(name: str) -> Path:
    """The environment of the peer `name`, whether it is there or not."""
    return Path(os.environ.get(LOCATION) or platformdirs.user_data_path("pressbench") / "peers").absolute() / name


def python_of(name: str) -> Path:
    """The interpreter of the peer `name`."""
    return folder_of(name) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def installed(name: str) -> dict[str, str]:
    """Package -> version of what is in the environment of the peer `name`, {} where there is none. Names are lower-case
    with dashes."""
    root = folder_of(name)
    places = [str(place) for place in (*root.glob("lib/python3*/site-packages"), *root.glob("Lib/site-packages"))]
    if not python_of(name).exists() or not places:
        return {}
    return dict(_versions(tuple((place, os.stat(place).st_mtime_ns) for place in places)))


@functools.cache
def _versions(places: tuple[tuple[str, int], ...]) -> dict[str, str]:
    """Of what lies in folders, each with when it last changed: a matrix asks a peer once a model."""
    found = importlib.metadata.distributions(path=[place for place, _ in places])
    return {re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in found}


def missing(name: str, pins: Mapping[str, str]) -> str | None:
    """Why the peer `name` cannot run here, in one line, with the command that helps; None where it can."""
    help_ = f"pressbench peers install {name}"
    found = installed(name)
    if not found:
        return f"needs an environment of its own: {help_}"
    for package, version in pins.items():
        have = found.get(package, "absent").partition("+")[0]  # torch's CPU build is 2.13.0+cpu
        if have != version:
            return f"{package} is {have} in its environment where {version} is pinned: {help_}"
    return None


def install(name: str, pins: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Make the environment of the peer `name` anew, with pip as it is configured. Raises PressbenchError with the end
    of what pip said where it fails; nothing is left of an environment that was not finished."""
    root = folder_of(name)
    shutil.rmtree(root, ignore_errors=True)
    say(f"making {root}")
    try:
        venv.create(root, symlinks=os.name != "nt")
        wanted = [f"{package}=={version}" for package, version in pins.items()]
        say(f"pip install {' '.join(wanted)}")
        pip = [sys.executable, "-m", "pip", "--python", str(python_of(name)), "install", "-q", "--no-input"]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, errors="replace")
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or [f"exit code {done.returncode}"]
            raise PressbenchError(f"{name}: pip could not install it: {last[0].strip()}")
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise PressbenchError(f"{name}: cannot write {error.filename or root}: {error.strerror}") from None
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
