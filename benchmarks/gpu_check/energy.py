"""Joules a token, by NVML's counter of all energy since the driver was loaded."""

from __future__ import annotations

import time

from benchmarks.gpu_check.check import Findings, NotHere, Setting
from benchmarks.gpu_check.models import TYPES, language_model, prompts
from benchmarks.gpu_check.static_cache import StaticDecoder
from benchmarks.hardware.nvml import opened
from compressors.interface import PressbenchError
from compressors.runtimes.generation import TorchGenerator


def check_energy(setting: Setting, found: Findings) -> None:
    """Some seconds of decoding by the generator and by a CUDA graph, and as long doing nothing."""
    setting.needs_cuda()
    shapes, config = setting.shapes, setting.shapes.models["1B"]
    joules(setting)  # before anything is made: it says whether there is a counter
    model = language_model(config, setting.device, TYPES["bf16"])
    ids = prompts(config, 1, shapes.prompt)
    found.step("idle")
    started = joules(setting)
    time.sleep(shapes.seconds / 2)
    idle = (joules(setting) - started) / (shapes.seconds / 2)
    found.add("idle", idle, "W")
    generator = TorchGenerator(model, setting.device)
    first = generator.prefill(ids)
    decoder = StaticDecoder(model, setting.device, shapes.prompt + shapes.new + 1)
    decoder.capture(ids)

    def captured() -> None:
        decoder.prefill(ids)
        decoder.decode(shapes.new)

    for label, call in (("generator", lambda: generator.decode(first, shapes.new)), ("CUDA graph", captured)):
        found.step(label)
        call()
        before, began, tokens = joules(setting), time.perf_counter(), 0
        while time.perf_counter() < began + shapes.seconds:
            call()
            tokens += shapes.new
        spent, seconds = joules(setting) - before, time.perf_counter() - began
        if spent <= 0:
            raise NotHere("NVML's counter of energy does not move")
        found.add(f"{label}: a token", spent / tokens, "J")
        found.add(f"{label}: power", spent / seconds, "W")
        found.add(f"{label}: tokens", tokens)


def joules(setting: Setting) -> float:
    """The counter now. Raises NotHere where the device has none."""
    try:
        with opened(setting.hardware) as (nvml, handle):
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except PressbenchError as error:
        raise NotHere(str(error)) from None
