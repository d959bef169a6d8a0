"""On a CPU every check that a CPU can do really runs, on tiny shapes; those that need CUDA say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.gpu_check.checks import checks
from benchmarks.gpu_check.command import check_all

NEED_CUDA = {
    "detection", "state before", "clocks", "flush", "kernel 2:4", "graph 1B", "graph 4 layers of 7B", "memory",
    "energy", "state after",
}  # fmt: skip
TIMED = {"planted delay", "two alike"}
"""What their verdicts are hangs on what else this machine does."""
LEFT_OUT = {"control compiled bf16"}
"""It compiles as the one in fp32 does, which takes seconds."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("checked")
    code = check_all("cpu:1", True, 300.0, folder, [one for one in checks() if one.name not in LEFT_OUT])
    return code, json.loads((folder / "gpu_check.json").read_text()), (folder / "gpu_check.md").read_text()


def test_every_check_ran_or_says_that_it_needs_cuda(run: tuple[int, dict[str, Any], str]) -> None:
    code, data, _ = run
    found = {one["name"]: one for one in data["checks"]}
    assert set(found) == {one.name for one in checks()} - LEFT_OUT
    for name, one in found.items():
        if name in NEED_CUDA:
            assert one["kind"] == "not here" and "needs CUDA" in one["reason"], one
        elif name not in TIMED:
            assert one["kind"] == "held" or "torch.compile needs" in one["reason"], one
            assert one["numbers"] or one["kind"] == "not here"
    failed = {name for name, one in found.items() if one["kind"] == "failed"}
    assert failed <= TIMED and code == bool(failed)
    for name in TIMED:
        assert {n["name"]: n["value"] for n in found[name]["numbers"]}["pairs"] > 0, found[name]


def test_what_can_be_seen_without_cuda_is_measured(run: tuple[int, dict[str, Any], str]) -> None:
    _, data, _ = run
    numbers = {one["name"]: {n["name"]: n["value"] for n in one["numbers"]} for one in data["checks"]}
    assert numbers["generate 1B"]["fp32: tokens of plain passes"] == 5
    assert numbers["graph 1B"]["fp32, not captured: tokens of plain passes"] == 5
    assert numbers["memory"]["weights held"] == numbers["memory"]["weights by arithmetic"] > 0
    assert numbers["two alike"]["tau"] >= 0
    assert numbers["ceilings"]["bandwidth_gb_s"] > 0
    assert all(n["name"] and n["unit"] is not None for one in data["checks"] for n in one["numbers"])


def test_the_page_says_what_was_not_here(run: tuple[int, dict[str, Any], str]) -> None:
    _, data, text = run
    absent = text.split("## Not here")[1].split("## Numbers")[0]
    assert all(f"- {name}: " in absent for name in NEED_CUDA)
    assert "tiny shapes" in text
    assert data["versions"]["torch"] and data["fingerprint"]["hash"]
    assert "host" not in data["fingerprint"]["noted"]
