"""A qualification for a terminal: what was detected, one line a criterion, ceilings, and the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.history.qualification import Criterion, History, Qualification
from results.store.strict_json import Number
from results.store.text import shown

_MARKS = {"met": ("✓", "green"), "missed": ("✗", "bold red"), "unknown": ("·", "dim")}
_ASCII = {"✓": "ok", "✗": "no", "·": "-"}
_CEILINGS = {
    "fp32_gflop_s": ("fp32", "GFLOP/s"),
    "bf16_gflop_s": ("bf16", "GFLOP/s"),
    "int8_gop_s": ("int8", "GOP/s"),
    "bandwidth_gb_s": ("memory bandwidth", "GB/s"),
}


def print_qualification(found: Qualification, history: History, console: Console) -> None:
    """Print it, 80 columns or narrower for every line that is not one long name."""

    def say(line: str, style: str = "") -> None:
        console.print(Text(shown(line), style=style), soft_wrap=True)

    key = found.machine.get("key", {})
    cpu = key.get("cpu", {}).get("brand_raw") or "unknown CPU"
    gpu = key.get("gpu", {}).get("name")
    say(f"{found.hardware}: {found.hardware_class}, {gpu or cpu}", "bold")
    say(f"features {' '.join(found.noted.get('features', [])) or 'none'}; {found.noted.get('threads')} threads")
    say(f"fingerprint {found.fingerprint[:16]}; {len(history.qualifications)} qualifications stored")
    console.print(_table(found.criteria, console))
    if found.ceilings:
        say(f"ceilings: {', '.join(' '.join(part) for part in ceilings(found.ceilings))}")
    probes = ", ".join(f"{_probe(name)} {value:.3g}" for name, value in found.probes.items())
    say(f"probes, medians: {probes}")
    missed = [criterion for criterion in found.criteria if criterion.outcome == "missed"]
    quick = ", quick" if found.quick else ""
    say(f"tau {found.tau:.2%}: speed targets are widened by the factor {math.exp(2.326 * found.tau):.3f}")
    if found.qualified:
        say(f"qualified ({found.seconds:.0f} s{quick})", "bold green")
    else:
        why = "; ".join(f"{c.name}: {c.found} ({c.bound})" for c in missed)
        say(f"not qualified ({found.seconds:.0f} s{quick}): {why}", "bold red")
    for number, reason in history.damaged:
        say(f"{history.path} line {number} could not be read: {reason}", "yellow")


def ceilings(found: Mapping[str, Number | None]) -> list[tuple[str, str]]:
    """(what, how much) of each, for a person."""
    parts = []
    for name, value in found.items():
        what, unit = _CEILINGS.get(name, (name, ""))
        parts.append((what, "not available" if value is None else f"{value:.4g} {unit}".rstrip()))
    return parts


def _table(criteria: tuple[Criterion, ...], console: Console) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "criterion", "found", "bound"):
        table.add_column(heading, header_style="dim", no_wrap=True)
    plain = not console.encoding.lower().startswith("utf")
    for criterion in criteria:
        mark, style = _MARKS[criterion.outcome]
        cells = (criterion.name, criterion.found, criterion.bound)
        table.add_row(Text(_ASCII[mark] if plain else mark, style=style), *(Text(shown(cell)) for cell in cells))
    return table


def _probe(name: str) -> str:
    return {"bandwidth_gb_s": "bandwidth GB/s", "matmul_gflop_s": "matrix product GFLOP/s"}.get(name, name)
