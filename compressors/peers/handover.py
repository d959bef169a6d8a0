"""The handover to a peer: files there, a process of the peer's own interpreter, files back.

The process shares no code with pressbench but the script it is started with. It is told to look nothing up and to use
the processors it is given, and gets a limit in time. All files lie in a temporary folder that goes afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from compressors.interface import Context, PressbenchError, Unsupported
from compressors.peers.scripts import run as runner
from compressors.skeleton import skeleton

LONGEST = 500
"""Characters of a peer's last line that are shown."""
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
"""No look-up that could hang or differ from day to day, and the CPU, where ours compress as well."""


class Files:
    """Tensors of the safetensors files in a folder, by name, read when they are asked for."""

    def __init__(self, peer: str, *paths: Path) -> None:
        self.peer = peer
        self._of: dict[str, Any] = {}
        for path in paths:
            try:
                file = safe_open(path, "pt")
            except (OSError, SafetensorError) as error:
                raise PressbenchError(f"{peer}: {path.name} cannot be read: {' '.join(str(error).split())}") from None
            self._of |= dict.fromkeys(file.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._of:
            raise PressbenchError(f"{self.peer}: the peer saved no {name}")
        values: Tensor = self._of[name].get_tensor(name)
        return values

    def bytes_of(self, layer: str) -> int:
        """Bytes of all that is saved of a layer but its bias."""
        names = [n for n in self._of if n.startswith(f"{layer}.") and n != f"{layer}.bias"]
        return sum(values.numel() * values.element_size() for values in map(self.__getitem__, names))


class Returned:
    """What came back. saved: the peer's own files. values: what the peer decodes them to. seconds: what its
    quantization took, without the start of the interpreter, imports and saving."""

    def __init__(self, peer: str, folder: Path) -> None:
        self.saved = Files(peer, *sorted((folder / runner.SAVED).glob("*.safetensors")))
        self.values = Files(peer, folder / runner.VALUES)
        self.seconds = float(json.loads((folder / runner.REPORT).read_text(encoding="utf-8"))["seconds"])


@contextlib.contextmanager
def handed_over(
    peer: str, python: Path, script: str, model: nn.Module, context: Context, layers: list[str],
    options: Mapping[str, Any], seconds: float,
) -> Iterator[Returned]:  # fmt: skip
    """Run `script` on the dense `model` and yield what it left, which is gone afterwards.

    layers: the linear layers to quantize. options: what the script is told of bits and the like. seconds: how long it
    may take. Raises PressbenchError, one line, where it fails, and Unsupported where the model has not the shapes of
    its configuration, by which a peer reads it.
    """
    _check_shapes(peer, model, context)
    with tempfile.TemporaryDirectory(prefix="pressbench-peer-") as name:
        folder = Path(name)
        _write(folder, model, context, layers, options)
        _run(peer, [str(python), "-I", str(runner.__file__), script, str(folder)], folder, context, seconds)
        yield Returned(peer, folder)


def _check_shapes(peer: str, model: nn.Module, context: Context) -> None:
    usual = skeleton(context.model.config, device="meta").state_dict()
    have = model.state_dict()
    if {n: v.shape for n, v in usual.items()} != {n: v.shape for n, v in have.items()}:
        raise Unsupported(f"{peer}: is given a model as its configuration has it, and a step before changed its shapes")


def _write(
    folder: Path, model: nn.Module, context: Context, layers: list[str], options: Mapping[str, Any]
) -> None:  # fmt: skip
    dense: Any = model
    dense.save_pretrained(folder / runner.MODEL)
    path = folder / runner.MODEL / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:  # where transformers before 5 looks for it
        path.write_text(json.dumps({**config, "rope_theta": rope["rope_theta"]}), encoding="utf-8")
    if context.calibration is not None:
        inputs = {name: values.contiguous() for name, values in context.calibration.inputs.items()}
        save_file(inputs, folder / runner.CALIBRATION)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    job = {
        "layers": layers, "others": [name for name in linears if name not in layers], "options": dict(options),
        "threads": context.hardware.threads, "seed": context.seed, "parent": os.getpid(),
    }  # fmt: skip
    (folder / runner.JOB).write_text(json.dumps(job), encoding="utf-8")


def _run(peer: str, command: list[str], folder: Path, context: Context, seconds: float) -> None:
    threads = {name: str(context.hardware.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    there = {"HF_HOME": str(folder / "hub"), "TMPDIR": str(folder), "HOME": str(folder)}
    environment = {**os.environ, **OFFLINE, **threads, **there}
    out = folder / "printed"
    with out.open("wb") as file:
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise PressbenchError(f"{peer}: {command[0]} does not start: {error.strerror}") from None
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise PressbenchError(f"{peer}: its quantizer had not ended after {seconds:g} s, stopped") from None
        finally:  # what it started ends with it, also where we are interrupted
            _end(process)
    if code:
        raise PressbenchError(f"{peer}: its quantizer {_how(code)}: {_last_line(out)}")
    for name in (runner.VALUES, runner.REPORT):
        if not (folder / name).is_file():
            raise PressbenchError(f"{peer}: its quantizer left no {name}: {_last_line(out)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else "failed"


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    told = [" ".join(line.split()) for line in lines if line.strip()]
    return told[-1][-LONGEST:] if told else "it said nothing"
