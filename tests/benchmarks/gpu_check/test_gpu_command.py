"""The command needs few packages, says which are not here, and fetches and installs wheels by pip alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import wheels

ROOT = Path(__file__).parents[3]
ABSENT = (
    "datasets evaluate duckdb pydantic openvino onnxruntime onnx nncf optuna gguf platformdirs sklearn ray jsonschema"
)


def test_all_checks_are_imported_without_what_a_gpu_machine_lacks() -> None:
    ask = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in set({ABSENT!r}.split()):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import benchmarks.gpu_check.command, benchmarks.measure.stages
from benchmarks.gpu_check.checks import checks
print(len(checks()))
"""
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "22", done.stderr


def test_the_command_line_is_there_before_torch_is() -> None:
    ask = "import sys, benchmarks.gpu_check.__main__; print(*(m in sys.modules for m in ('torch', 'numpy', 'rich')))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False"] * 3, done.stderr


def test_what_is_not_here_is_named_with_the_command_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wheels, "missing", lambda: ["psutil", "nvidia-ml-py"])
    assert command.main(["--device", "cuda0"]) == command.UNANSWERED
    told = capsys.readouterr().err
    assert "not here: psutil, nvidia-ml-py" in told and "bundle DIR psutil nvidia-ml-py" in told
    assert told.count("\n") == 1


def test_a_device_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(wheels, "missing", list)
    assert command.main(["--device", "cuda7", "--out", str(tmp_path / "out")]) == command.UNANSWERED
    told = capsys.readouterr().err
    assert "unknown hardware 'cuda7'" in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


# -- wheels ----------------------------------------------------------------------------------------


def test_without_names_nothing_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["bundle", str(tmp_path / "wheels")]) == 0
    assert "nothing to fetch" in capsys.readouterr().out
    assert command.main(["bundle", str(tmp_path / "wheels"), "torch"]) == 0
    assert not (tmp_path / "wheels").exists()


def test_wheels_are_fetched_by_pip_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def download(command: list[str], **_: Any) -> Any:
        asked.append(command)
        (tmp_path / "rich-1-py3-none-any.whl").write_bytes(bytes(1000))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(wheels.subprocess, "run", download)
    assert wheels.bundle(tmp_path, ["rich", "transformers"]).startswith("1 wheels, 0.0 MB")
    line = " ".join(asked[0])
    assert "pip download" in line and "--no-deps" in line and line.endswith(f"--dest {tmp_path} rich")
    assert "--python-version 3.12 --implementation cp --platform manylinux_2_28_x86_64" in line
    monkeypatch.setattr(wheels, "MOST", 10)
    with pytest.raises(ValueError, match="more than"):
        wheels.bundle(tmp_path, ["rich"])


def test_wheels_of_a_folder_are_installed_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no wheels"):
        wheels.install(tmp_path)
    with zipfile.ZipFile(tmp_path / "planted_wheel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("planted_wheel.py", "ANSWER = 42\n")
        wheel.writestr(
            "planted_wheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: planted-wheel\nVersion: 1.0\n"
        )
        wheel.writestr(
            "planted_wheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("planted_wheel-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "before")
    target = wheels.install(tmp_path)
    assert (target / "planted_wheel.py").is_file() and sys.path[0] == str(target)
    assert wheels.os.environ["PYTHONPATH"].startswith(str(target))
