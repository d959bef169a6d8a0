"""Runs one peer's script in the peer's own environment: `python -I run.py SCRIPT FOLDER`.

FOLDER holds `job.json`, the model as transformers saves it in `model`, and `calibration.safetensors` where there is
one. The script's `quantize(job)` saves what the peer makes in `saved`, by the peer's own saving, and returns what it
decodes that to by itself, layer -> (rows, columns) float32. Left here: `values.safetensors` with these, and
`report.json` with the seconds that the peer's quantization took. What goes wrong ends with one line on stderr. It ends
with the process that started it, however that ended, and FOLDER goes then.

Isolated (-I), as a script has the name of the package that it imports and would else be imported in its place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

JOB, REPORT, VALUES, CALIBRATION = "job.json", "report.json", "values.safetensors", "calibration.safetensors"
MODEL, SAVED, ANSWER = "model", "saved", "answer of the dense model"
LOOK = 1.0
"""Seconds between looks at whether whoever started this is still there."""


class Job:
    """What a script is asked for. layers: the linear layers to quantize; others: those to leave as they are;
    options: bits, group size and the like, by the peer's own compressor."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / JOB).read_text(encoding="utf-8"))
        self.folder, self.seconds = folder, 0.0
        self.layers: list[str] = told["layers"]
        self.others: list[str] = told["others"]
        self.options: dict[str, Any] = told["options"]
        self.threads, self.seed, self.parent = int(told["threads"]), int(told["seed"]), int(told["parent"])
        self.model, self.saved = str(folder / MODEL), folder / SAVED

    def dense(self, **more: Any) -> Any:
        """The model, by the class that its configuration names, in eval mode."""
        import torch
        import transformers

        config = json.loads((self.folder / MODEL / "config.json").read_text(encoding="utf-8"))
        cls = getattr(transformers, config["architectures"][0])
        kind = "dtype" if int(transformers.__version__.partition(".")[0]) >= 5 else "torch_dtype"
        # What the suite has just written there, as safetensors; nothing else is read, no code of a model's own run.
        safely = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
        return cls.from_pretrained(self.model, **safely, **{kind: torch.float32}, **more).eval()

    def calibration(self) -> list[dict[str, Any]]:
        """The examples, one by one, without padding: name -> (1, positions) int64."""
        data = self._handed_over()
        mask = data.get("attention_mask")
        lengths = [data["input_ids"].shape[1]] * len(data["input_ids"]) if mask is None else mask.sum(1).tolist()
        return [
            {name: values[at : at + 1, : int(length)].contiguous() for name, values in data.items()}
            for at, length in enumerate(lengths)
        ]

    def padded(self, size: int) -> list[dict[str, Any]]:
        """The examples `size` at a time, padded on the right as they were handed over: name -> (size, positions) int64,
        an attention mask among them."""
        import torch

        data = self._handed_over()
        data.setdefault("attention_mask", torch.ones_like(data["input_ids"]))
        parts = {name: values.split(size) for name, values in data.items()}
        return [dict(zip(parts, batch, strict=True)) for batch in zip(*parts.values(), strict=True)]

    def _handed_over(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.folder / CALIBRATION)

    def answer(self, model: Any) -> Any:
        """What the dense model answers to the first example: whoever reads another model from the folder shows it."""
        import torch

        with torch.inference_mode():
            return model(**self.calibration()[0]).logits.float().clone()

    def save(self, tensors: Mapping[str, Any], metadata: dict[str, str] | None = None) -> None:
        """Leave these as what the peer saved, where it has no saving of its own that writes safetensors."""
        from safetensors.torch import save_file

        self.saved.mkdir()
        whole = {name: values.detach().contiguous() for name, values in tensors.items()}
        save_file(whole, self.saved / "model.safetensors", metadata)

    @contextlib.contextmanager
    def clock(self) -> Iterator[None]:
        """Within it the seconds count."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started


def _end_with(parent: int, folder: Path) -> None:
    """Once `parent` is gone: remove the folder, end this process and all that it started."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    shutil.rmtree(folder, ignore_errors=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main(script: str, folder: Path) -> None:
    """Run the script on the job in `folder`."""
    job = Job(folder)
    if sys.platform != "win32":  # where a process has no parent to be asked for
        threading.Thread(target=_end_with, args=(job.parent, folder), daemon=True).start()
    spec = importlib.util.spec_from_file_location("peer_script", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    values: Mapping[str, Any] = module.quantize(job)
    save_file({name: value.detach().float().contiguous() for name, value in values.items()}, folder / VALUES)
    (folder / REPORT).write_text(json.dumps({"seconds": job.seconds}), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}"[:500], file=sys.stderr)
        sys.exit(1)
