"""The dense controls on a language model: do they answer as fp32 does, and what does reading a prompt take?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmarks.gpu_check.check import Findings, NotHere, Setting
from benchmarks.gpu_check.clock import device_seconds, suite_seconds
from benchmarks.gpu_check.models import TYPES, LastLogits, language_model, prompts
from compressors.runtimes.compiled import compiler_reason
from compressors.runtimes.controls import bf16_reason
from compressors.runtimes.torch import TorchRuntime

KEPT = 4
"""The last positions of a prompt whose logits are fetched: all of them would take longer than to make them."""
BOUNDS = {"fp32": 1e-3, "bf16": 0.05}
"""The most that logits may be away from those of eager fp32, of their length: other orders of sums, and 16 layers of
numbers with 8 binary digits."""


def check_control(setting: Setting, found: Findings, kind: str, compiled: bool) -> None:
    """One of them: "fp32" or "bf16", in eager torch or compiled."""
    config, device = setting.shapes.models["1B"], setting.device
    reason = (compiler_reason(setting.hardware) if compiled else None) or (
        bf16_reason(setting.hardware) if kind == "bf16" and setting.cuda else None
    )
    if reason:
        raise NotHere(reason)
    ids = prompts(config, 1, setting.shapes.prompt)
    found.step("eager fp32")
    eager = _forward(setting, "fp32", False)
    wanted = eager({"input_ids": ids})
    dense = suite_seconds(lambda: eager({"input_ids": ids}), device)
    found.add("eager fp32: prefill", dense, "s")
    found.step(f"{'compiled' if compiled else 'eager'} {kind}")
    began = time.perf_counter()
    other = _forward(setting, kind, compiled)
    answer = other({"input_ids": ids})
    found.add("to its first answer", time.perf_counter() - began, "s")
    error = float(np.linalg.norm(answer - wanted) / np.linalg.norm(wanted))
    found.at_most("logits away from eager fp32", error, BOUNDS[kind])
    found.add("same likeliest token", float((answer.argmax(-1) == wanted.argmax(-1)).mean()), "of positions")
    own = suite_seconds(lambda: other({"input_ids": ids}), device)
    found.add("prefill", own, "s")
    found.add("over eager fp32", dense / own, "x")
    if not compiled:
        found.add("prefill, on the device alone", _alone(setting, kind, ids), "s")


def _forward(setting: Setting, kind: str, compiled: bool) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    model = LastLogits(language_model(setting.shapes.models["1B"], setting.device, TYPES[kind]), KEPT).eval()
    threads = setting.hardware.threads
    return TorchRuntime().attach(model, {"compile": compiled}, device=setting.device, threads=threads)


def _alone(setting: Setting, kind: str, ids: np.ndarray) -> float:
    model = LastLogits(language_model(setting.shapes.models["1B"], setting.device, TYPES[kind]), KEPT).eval()
    given = torch.from_numpy(ids).to(setting.device)
    with torch.inference_mode():
        return device_seconds(lambda: model(given), setting.device, 5)
