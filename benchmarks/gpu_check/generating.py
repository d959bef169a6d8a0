"""Reading and writing by this project's generator, and writing by a CUDA graph: the same tokens, and their seconds."""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.gpu_check.check import Findings, NotHere, Setting
from benchmarks.gpu_check.clock import SLOTS, slot_seconds
from benchmarks.gpu_check.models import TYPES, gaps, language_model, prompts
from benchmarks.gpu_check.static_cache import StaticDecoder
from benchmarks.measure.flush import flush_for
from benchmarks.measure.timing import Reading, Writing
from benchmarks.zoo.workload import decode, prefill
from compressors.runtimes.generation import TorchGenerator

GAP = {"fp32": 1e-3, "bf16": 0.1}
"""How far a token may be from the likeliest one of a plain pass, in standard deviations of the logits: what comes of
other orders of sums. Random weights leave many tokens near each other; a wrong one is some deviations away."""


def check_generator(setting: Setting, found: Findings, name: str) -> None:
    """Prefill and decode of one model, in fp32 and in bf16."""
    shapes, config = setting.shapes, setting.shapes.models[name]
    ids = prompts(config, 1, shapes.prompt)
    texts = {"input_ids": prompts(config, 8, shapes.prompt + 1)}
    for kind, dtype in TYPES.items():
        found.step(f"{kind}: tokens")
        model = language_model(config, setting.device, dtype)
        generator = TorchGenerator(model, setting.device)
        first = generator.prefill(ids)
        tokens = np.concatenate([first, generator.decode(first, shapes.new)[0]])
        _same(setting, found, kind, model, ids, tokens)
        again = generator.decode(first, shapes.new)[0]
        found.hold(bool((again == tokens[1:]).all()), f"{kind}: asked again it makes other tokens")
        found.step(f"{kind}: seconds")
        read = slot_seconds(Reading(generator.prefill, texts, prefill(1, shapes.prompt)), setting.device)
        found.add(f"{kind}: prefill of {shapes.prompt} tokens", read, "s")
        written = slot_seconds(Writing(generator, texts, decode(1, shapes.prompt, shapes.new)), setting.device)
        found.add(f"{kind}: a token", written / shapes.new, "s")
        _floor(setting, found, f"{kind}: a token", generator.bytes_read(), written / shapes.new)


def check_graph(setting: Setting, found: Findings, name: str) -> None:
    """Decode of one model in steps of a fixed shape, as a CUDA graph where there is CUDA."""
    shapes, config = setting.shapes, setting.shapes.models[name]
    ids = prompts(config, 1, shapes.prompt)
    for kind, dtype in TYPES.items():
        model = language_model(config, setting.device, dtype)
        decoder = StaticDecoder(model, setting.device, shapes.prompt + shapes.new + 1)
        found.step(f"{kind}: step by step")
        tokens = np.concatenate([[decoder.prefill(ids)], decoder.decode(shapes.new)])
        _same(setting, found, f"{kind}, not captured", model, ids, tokens)
        found.add(f"{kind}, not captured: a token", _seconds(setting, decoder, ids), "s")
        if setting.cuda:
            found.step(f"{kind}: captured")
            decoder.capture(ids)
            captured = np.concatenate([[decoder.prefill(ids)], decoder.decode(shapes.new)])
            _same(setting, found, f"{kind}, captured", model, ids, captured)
            found.add(f"{kind}: captured as not", int((captured == tokens).sum()), f"of {len(tokens)} tokens")
            seconds = _seconds(setting, decoder, ids)
            found.add(f"{kind}, captured: a token", seconds, "s")
            read = TorchGenerator(model, setting.device)
            read.prefill(ids)
            _floor(setting, found, f"{kind}, captured: a token", read.bytes_read(), seconds)
    if not setting.cuda:
        raise NotHere("needs CUDA; the step that would be captured made the right tokens")


def _same(
    setting: Setting, found: Findings, label: str, model: object, ids: np.ndarray, tokens: np.ndarray
) -> None:  # fmt: skip
    """Are these the tokens of plain passes over all before each of them?"""
    away = gaps(model, ids, tokens, setting.device)
    found.add(f"{label}: tokens of plain passes", int((away == 0).sum()), f"of {len(tokens)}")
    found.at_most(f"{label}: furthest from the likeliest", float(away.max()), GAP[label[:4]], "deviations")


def _seconds(setting: Setting, decoder: StaticDecoder, ids: np.ndarray) -> float:
    """A token, the median over a few texts, each from a cache that was emptied, as the suite times decoding."""
    flush, count = flush_for(setting.device), setting.shapes.new
    found = []
    for _ in range(SLOTS):
        decoder.prefill(ids)
        if flush:
            flush()
        started = time.perf_counter()
        decoder.decode(count)
        found.append((time.perf_counter() - started) / count)
    return statistics.median(found)


def _floor(setting: Setting, found: Findings, label: str, bytes_read: int, seconds: float) -> None:
    """What reading weights and cache takes at the measured bandwidth, as a share of a token."""
    if bandwidth := setting.ceilings.get("bandwidth_gb_s"):
        found.add(f"{label}: floor", bytes_read / 1e9 / bandwidth / seconds)
