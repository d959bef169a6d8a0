"""Does what is allocated come to what weights and cache come to by arithmetic, and what does NVML see of it?"""

from __future__ import annotations

import torch

from benchmarks.gpu_check.check import Findings, Setting
from benchmarks.gpu_check.models import TYPES, arithmetic_bytes, cache_bytes, language_model, prompts
from benchmarks.hardware.nvml import opened
from compressors.runtimes.generation import TorchGenerator

SHARE, SLACK = 0.02, 96 * 2**20
"""How much more than arithmetic may be held: a share, and what blocks are rounded up by and products work in (cuBLAS
takes 32 MiB on a large GPU)."""
PASSING = 8
"""Arrays as wide as the intermediate layer that a pass over all prompts may hold at once beside weights and cache."""


def check_memory(setting: Setting, found: Findings) -> None:
    """Weights, a prompt read, some tokens made, in bf16."""
    shapes, config = setting.shapes, setting.shapes.models["1B"]
    dtype = TYPES["bf16"]
    weights = arithmetic_bytes(config, dtype.itemsize)
    cache = cache_bytes(config, shapes.batch * (shapes.long + shapes.new), dtype.itemsize)
    found.add("weights by arithmetic", weights, "bytes")
    found.add("cache by arithmetic", cache, "bytes")
    before = _used(setting) if setting.cuda else 0
    model = language_model(config, setting.device, dtype)
    held = sum(p.nbytes for p in model.parameters())
    found.add("weights held", held, "bytes")
    found.hold(held == weights, f"the weights are {held:,} bytes, {weights:,} by arithmetic")
    if setting.cuda:
        torch.cuda.empty_cache()  # weights were made in fp32
        torch.cuda.reset_peak_memory_stats(setting.device)
    generator = TorchGenerator(model, setting.device)
    first = generator.prefill(prompts(config, shapes.batch, shapes.long))
    cached = generator.bytes_cached()
    read = cache_bytes(config, shapes.batch * shapes.long, dtype.itemsize)
    found.add("cache held after the prompts", cached, "bytes")
    found.hold(cached == read, f"the cache is {cached:,} bytes, {read:,} by arithmetic")
    generator.decode(first, shapes.new)
    setting.needs_cuda("weights and cache are what arithmetic says")
    now, peak = torch.cuda.memory_allocated(setting.device), torch.cuda.max_memory_allocated(setting.device)
    passing = PASSING * shapes.batch * shapes.long * int(config["intermediate_size"]) * dtype.itemsize
    expected = weights + cache
    found.add("allocated", now, "bytes")
    found.add("peak", peak, "bytes")
    found.add("peak over weights and cache", peak / expected, "x")
    most = (1 + SHARE) * expected + SLACK
    found.hold(expected <= peak, f"the peak, {peak:,} bytes, is less than weights and cache, {expected:,}")
    found.hold(peak <= most + passing, f"the peak, {peak:,} bytes, is more than {most + passing:,.0f}")
    found.hold(now <= most, f"{now:,} bytes are held, weights and cache are {expected:,}")
    after = _used(setting)
    found.add("more used by NVML", after - before, "bytes")
    reserved = torch.cuda.memory_reserved(setting.device)
    found.add("reserved by torch", reserved, "bytes")
    found.hold(
        after - before >= expected, f"NVML sees {after - before:,} bytes more, weights and cache are {expected:,}"
    )


def _used(setting: Setting) -> int:
    with opened(setting.hardware) as (nvml, handle):
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
