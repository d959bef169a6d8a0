"""All checks, in the order in which they run: what others are held against first, what takes long last."""

from __future__ import annotations

from functools import partial

from benchmarks.gpu_check.check import Check
from benchmarks.gpu_check.controls import check_control
from benchmarks.gpu_check.energy import check_energy
from benchmarks.gpu_check.generating import check_generator, check_graph
from benchmarks.gpu_check.kernels import check_kernel
from benchmarks.gpu_check.machine import check_ceilings, check_detection, check_state
from benchmarks.gpu_check.memory import check_memory
from benchmarks.gpu_check.paired import check_alike, check_delay
from benchmarks.gpu_check.products import PRODUCTS
from benchmarks.gpu_check.shapes import LARGE
from benchmarks.gpu_check.timing import check_clocks, check_flush

CEILINGS = "ceilings"
"""What this one finds is given to those after it."""
FOUND = "Is the device found, with a class, and are driver, power limit and clocks in its fingerprint?"
STATE = "Can throttling and other processes be read, and is there neither?"
REACHED = "What do products in each type and memory bandwidth reach?"
CLOCKS = "Do CUDA events and the suite's clock agree on a large product?"
FLUSH = "Does emptying the L2 cache slow a small product, and does the suite empty it?"
KERNEL = "Is the product right on the shapes of a 7B layer, and how fast is it against bf16?"
TOKENS = "Are the tokens those of plain full passes, and what do they take?"
GRAPH = "Does a CUDA graph with a static cache make the same tokens, and how fast?"
MEMORY = "Is what is allocated what weights and cache come to, and does NVML see it?"
ENERGY = "How many joules does a token take, by NVML's counter?"
DELAY = "Does the speed test find a delay of 5 % on this device?"
ALIKE = "Are two alike not told apart, and how far do ratios move of themselves?"
CONTROL = "Does it answer as eager fp32 does, and how fast does it read a prompt?"


def checks() -> list[Check]:
    """Every one of them."""
    return [
        Check("detection", FOUND, check_detection),
        Check("state before", STATE, check_state, 20.0, alone=False),
        Check(CEILINGS, REACHED, check_ceilings),
        Check("clocks", CLOCKS, check_clocks),
        Check("flush", FLUSH, check_flush),
        *(Check(f"kernel {name}", KERNEL, partial(check_kernel, name=name)) for name in PRODUCTS),
        *(Check(f"generate {name}", TOKENS, partial(check_generator, name=name)) for name in LARGE.models),
        *(Check(f"graph {name}", GRAPH, partial(check_graph, name=name)) for name in LARGE.models),
        Check("memory", MEMORY, check_memory),
        Check("energy", ENERGY, check_energy),
        Check("planted delay", DELAY, check_delay, 90.0, alone=False),
        Check("two alike", ALIKE, check_alike, 120.0, alone=False),
        Check("control bf16", CONTROL, partial(check_control, kind="bf16", compiled=False)),
        Check("control compiled fp32", CONTROL, partial(check_control, kind="fp32", compiled=True), 120.0),
        Check("control compiled bf16", CONTROL, partial(check_control, kind="bf16", compiled=True), 120.0),
        Check("state after", STATE, check_state, 20.0, alone=False),
    ]
