"""The options of the suite, and where it looks and writes without them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TARGETS = ROOT / "baselines" / "targets.toml"
ACCEPTED = ROOT / "baselines" / "accepted"
EXPECTED = ROOT / "baselines" / "expected.toml"
SPACING = 60.0
"""Seconds between two measurements of a suspect: docs/statistics.md says what they are worth."""


def add_options(add: Callable[..., None]) -> None:
    """add: takes an option as `ArgumentParser.add_argument` does."""
    add(
        "--model",
        action="append",
        metavar="NAME|DIR",
        help="models to run (default: those of the zoo file, else all built-in ones); may be repeated; with --data one "
        "of your own, a folder or a hub model",
    )
    add(
        "--data",
        metavar="FILE|DIR|NAME",
        help="data for the one model of --model: a file, as reviews.csv, a folder, or a data set of the hub",
    )
    add("--task", metavar="NAME", help="what that model is for, as text-classification (default: by its head)")
    add("--test-data", metavar="FILE", help="what quality is measured on (default: a split of --data)")
    add(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        help="any other key of a zoo file, as columns.text=review; may be repeated",
    )
    add("--zoo", metavar="FILE", help="models and data of your own (default: zoo.toml in this folder, if there is one)")
    add(
        "--allow-pickle",
        action="store_true",
        help="read weights that are there as pickle only, a format that can run code, by torch's unpickler of weights",
    )
    add(
        "--compressor",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="compressors to run, as int8-openvino, quantize-weights:bits=6 or, for a chain, A+B (default: all of the "
        "tier); may be repeated",
    )
    add(
        "--artifact",
        action="append",
        metavar="[NAME=]PATH",
        help="a model that was compressed elsewhere, to be held against the one of --model: a folder of transformers, "
        "an ONNX file, an OpenVINO graph; in the place of the tier's methods, if --compressor names none; may be "
        "repeated",
    )
    add(
        "--against",
        metavar="NAME",
        help="a compressor or artifact of this run, as the int8 of last month: what all others lose against it is "
        "told beside what they lose against the dense model, and judged by the same bound; so are speed and size over "
        "its, which are not judged",
    )
    add(
        "--hardware",
        action="append",
        metavar="NAME",
        help="devices, or classes of device, to run on, as cpu or cpu-vnni, or cpu:1 for one thread of it (default: "
        "cpu); may be repeated",
    )
    add(
        "--cluster",
        metavar="ADDRESS",
        help="measure on the nodes of a Ray cluster: auto, HOST:PORT of its head, or local:N for N nodes on this "
        "machine; --hardware names their classes then",
    )
    add(
        "--cluster-cache",
        metavar="URL",
        help="where nodes leave what they have made for others: a folder that all have mounted, or any URL of fsspec",
    )
    add("--tier", default="quick", metavar="quick|nightly|full", help="how much to run (default: quick)")
    add(
        "--sweep",
        action="store_true",
        help="run each compressor over the strengths that it declares, as sparsity 0.3 to 0.9, for a curve of each "
        "(see pressbench plot)",
    )
    add(
        "--targets",
        default=str(TARGETS),
        metavar="FILE",
        help="what each case must reach, with the files of targets.d beside it (default: baselines/targets.toml)",
    )
    add(
        "--within",
        action="append",
        metavar="1pt|5%",
        help="most that any method may lose of quality in this run: points of its score, or %% of a language model's "
        "perplexity; where a target states a bound, the tighter one holds; may be given in both",
    )
    add(
        "--baselines",
        default=str(ACCEPTED),
        metavar="DIR",
        help="accepted results, a file a machine, see pressbench accept (default: baselines/accepted)",
    )
    add(
        "--expected", default=str(EXPECTED), metavar="FILE", help="declared failures (default: baselines/expected.toml)"
    )
    add("--require", type=int, default=0, metavar="N", help="exit with 10 where fewer cases are executed (default: 0)")
    add(
        "--results",
        default=str(ROOT / "results" / "runs"),
        metavar="DIR",
        help="where records are written; pressbench table finds them there (default: results/runs)",
    )
    add("--cache", default=None, metavar="DIR", help="the cache (default: $PRESSBENCH_CACHE or your user cache)")
    add("--seed", type=int, default=0, metavar="N", help="seed of compressors and of the order of pairs (default: 0)")
    add(
        "--stage-limit",
        type=float,
        default=None,
        metavar="SECONDS",
        help="longest that one stage may take (default: 900; 7200 above the quick tier)",
    )
    add("--memory-limit", metavar="SIZE", help="most memory that one worker may take, as 4GiB (default: 90 %% of it)")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on with an interrupted run, by its id (default: the latest)",
    )
    add(
        "--qualifications",
        default=str(ROOT / "results" / "qualifications"),
        metavar="DIR",
        help="where qualifications of machines are kept (default: results/qualifications)",
    )
    add("--no-qualify", action="store_true", help="start no short qualification of the machine")
    add("--tau", type=_deviation, metavar="X", help="the machine's own deviation of ln speed-up, as 0.02 for 2 %%")
    add(
        "--rerun-after",
        type=_seconds,
        default=SPACING,
        metavar="SECONDS",
        help=f"least time between two measurements of a suspected regression (default: {SPACING:g})",
    )
    add(
        "--fail-unresolved",
        action="store_true",
        help="exit with 13 where a case is slower than accepted, and neither a regression nor ruled out",
    )
    add(
        "--benchmark-table",
        action="store_true",
        help="show pytest-benchmark's own table too: seconds of each by itself, not taken side by side with dense",
    )
    add(
        "--unqualified-ok",
        action="store_true",
        help="judge speed under whatever conditions it was timed; records say so",
    )


OF_A_RUN = ("require", "resume", "fail-unresolved")
"""Options that are about a whole run: they mean nothing where one case of it is run again."""


def given(option: Callable[[str], Any]) -> dict[str, Any]:
    """Name -> value of the options that are not as they are where nobody names them, without those of `OF_A_RUN`.
    option: an option's value by its name, as `--tier`."""
    found: dict[str, Any] = {}

    def look(name: str, **how: Any) -> None:
        value, usual = option(name), how.get("default", False if how.get("action") == "store_true" else None)
        if value != usual and value != [] and name.removeprefix("--") not in OF_A_RUN:
            found[name.removeprefix("--")] = value

    add_options(look)
    return found


def _deviation(text: str) -> float:
    value = float(text)
    if not 0 <= value < 10:
        raise argparse.ArgumentTypeError(f"a deviation of ln speed-up is at least 0, like 0.02 for 2 %, got {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"a time is a number of seconds, at least 0, got {text}")
    return value
