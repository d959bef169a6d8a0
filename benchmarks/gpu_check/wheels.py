"""Packages for a machine without a network: fetched as wheels where there is one, installed there from the folder.

A machine with torch, transformers and the packages of NEEDED needs none. It imports neither torch nor anything else of
them, so that they can be installed first."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

NEEDED = {
    "torch": "torch",
    "transformers": "transformers",
    "numpy": "numpy",
    "scipy": "scipy",
    "safetensors": "safetensors",
    "filelock": "filelock",
    "packaging": "packaging",
    "psutil": "psutil",
    "cpuinfo": "py-cpuinfo",
    "rich": "rich",
    "pynvml": "nvidia-ml-py",
}
"""Module -> the package that brings it: all that a check imports, but what these bring themselves."""
LARGE = ("torch", "transformers")
"""Not fetched: they are what a machine with a GPU has."""
MOST = 60 * 10**6
"""Bytes that a folder of wheels may come to."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PYTHON = "3.12"


def missing() -> list[str]:
    """The packages that are not here."""
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def bundle(folder: Path, packages: Sequence[str], python: str = PYTHON) -> str:
    """Fetch the wheels of these packages, without what they need themselves, for Linux on x86-64 and that Python; one
    line of what came of it. Raises ValueError, in one line, where pip cannot, or they are too large."""
    wanted = [name for name in packages if name not in LARGE]
    if not wanted:
        return "nothing to fetch: a machine with torch, transformers and the packages named in the docs needs no wheels"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    done = subprocess.run([*command, "--dest", str(folder), *wanted], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"pip: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    wheels = sorted(folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels)
    if size > MOST:
        raise ValueError(f"{folder} holds {size / 1e6:.0f} MB of wheels, more than {MOST / 1e6:.0f}: leave some out")
    return f"{len(wheels)} wheels, {size / 1e6:.1f} MB, in {folder}"


def install(folder: Path) -> Path:
    """Install all wheels of a folder to a temporary one, without a network, for this process and those that it starts.
    Raises ValueError, in one line, where that fails."""
    wheels = sorted(map(str, folder.glob("*.whl")))
    if not wheels:
        raise ValueError(f"no wheels in {folder}")
    target = Path(tempfile.mkdtemp(prefix="pressbench-wheels-"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-compile", "--target", str(target), *wheels]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"pip: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    sys.path.insert(0, str(target))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(target), os.environ.get("PYTHONPATH"))))
    importlib.invalidate_caches()
    return target
