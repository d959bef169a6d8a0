"""What a peer's script is given and leaves: the part of `run.py` that every script stands on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compressors.peers.scripts import run
from compressors.peers.scripts.run import Job

IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0], [11, 12, 13, 0], [14, 15, 16, 17], [18, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])


def job(folder: Path, mask: bool = True) -> Job:
    told = {"layers": ["a"], "others": [], "options": {}, "threads": 1, "seed": 0, "parent": 1}
    (folder / "job.json").write_text(json.dumps(told))
    save_file({"input_ids": IDS, **({"attention_mask": MASK} if mask else {})}, folder / "calibration.safetensors")
    return Job(folder)


def test_examples_one_by_one_have_no_padding(tmp_path: Path) -> None:
    found = job(tmp_path).calibration()
    assert [one["input_ids"].tolist() for one in found] == [
        [[5, 6, 7, 8]], [[9, 10]], [[11, 12, 13]], [[14, 15, 16, 17]], [[18]]
    ]  # fmt: skip
    assert all(bool(one["attention_mask"].all()) for one in found)


@pytest.mark.parametrize("mask", [True, False])
def test_examples_in_batches_are_all_there_with_a_mask(tmp_path: Path, mask: bool) -> None:
    found = job(tmp_path, mask).padded(2)
    assert [tuple(one["input_ids"].shape) for one in found] == [(2, 4), (2, 4), (1, 4)]
    assert torch.equal(torch.cat([one["input_ids"] for one in found]), IDS)
    expected = MASK if mask else torch.ones_like(IDS)
    assert torch.equal(torch.cat([one["attention_mask"] for one in found]), expected)


def test_what_is_saved_is_as_it_was(tmp_path: Path) -> None:
    turned = torch.arange(6.0).view(2, 3).T
    job(tmp_path).save({"a.scale": turned.requires_grad_(), "a.codes": turned[:, 0].int()}, {"a": "told"})
    found = load_file(tmp_path / "saved/model.safetensors")
    assert found["a.scale"].tolist() == [[0, 3], [1, 4], [2, 5]] and found["a.codes"].tolist() == [0, 1, 2]
    with safe_open(tmp_path / "saved/model.safetensors", "pt") as file:
        assert file.metadata()["a"] == "told"


HANGS = """
import os, subprocess, time
from pathlib import Path

def quantize(job):
    child = subprocess.Popen(["sleep", "600"])
    Path(NOTE + ".new").write_text(f"{os.getpid()} {child.pid}")
    os.rename(NOTE + ".new", NOTE)
    time.sleep(600)
"""
STARTS = """
import json, os, subprocess, sys
job, *command = sys.argv[1:]
json.dump({"layers": [], "others": [], "options": {}, "threads": 1, "seed": 0, "parent": os.getpid()}, open(job, "w"))
subprocess.Popen(command, start_new_session=True).wait()
"""


def test_it_ends_with_whoever_started_it_and_leaves_nothing(tmp_path: Path) -> None:
    folder, note, script = tmp_path / "job", tmp_path / "pids", tmp_path / "script.py"
    folder.mkdir()
    script.write_text(f"NOTE = {str(note)!r}\n{HANGS}")
    peer = [sys.executable, "-I", str(run.__file__), str(script), str(folder)]
    parent = subprocess.Popen([sys.executable, "-c", STARTS, str(folder / "job.json"), *peer])
    _until(note.exists, "it does not begin")
    pids = [int(pid) for pid in note.read_text().split()]
    time.sleep(3 * run.LOOK)
    assert all(map(_runs, pids)) and folder.is_dir(), "it ended while its parent was there"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _until(lambda: not any(map(_runs, pids)) and not folder.exists(), f"of {pids} some go on")


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _until(held: Callable[[], bool], otherwise: str) -> None:
    for _ in range(600):
        if held():
            return
        time.sleep(0.1)
    pytest.fail(otherwise)
