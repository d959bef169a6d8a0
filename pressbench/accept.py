"""`pressbench accept`: a run's results become the baseline of its machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pressbench.parameters import Baselines, Runs
from pressbench.places import BASELINES, find_run
from results.store.quality import quality_in
from results.store.record import HEADLINE


def accept(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run: its id, the beginning or end of it, or its file.")],
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="CASE", help="Cases or patterns, as 'int8-*'. Default: all.")
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever reviews the change.")] = "",
    anew: Annotated[
        bool, typer.Option("--anew", help="Let a speed that did not change take the place of what is accepted.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and write nothing.")] = False,
    runs: Runs = None,
    baselines: Baselines = BASELINES,
) -> None:
    """Make a run's results the baseline of its machine. Targets are not touched by it. A speed that is no other than
    the accepted one is added to it: the mean of several runs shows a smaller slow-down."""
    from benchmarks.regression import comparison
    from benchmarks.regression.outcome import UNCHANGED
    from benchmarks.regression.speed import detectable
    from results.history import acceptance, baseline_file
    from results.history.history import History
    from results.store.machine import fingerprint_of
    from results.store.store import now, read_run

    stored = read_run(find_run(runs, run))
    fingerprint, _ = fingerprint_of(stored)
    before = baseline_file.load(baselines, fingerprint) if fingerprint else None
    known, taus = comparison.Reference(before, History({}, ())), comparison.taus(stored)

    def same(record: Any) -> bool:
        found = comparison.compare(record, known, taus.get(record.hardware, 0.0))
        return not anew and found is not None and found.outcome == UNCHANGED

    after, changes, refused = acceptance.propose(stored, before, cases or [], when=now()[:10], reason=reason, same=same)
    console = Console()
    tau = {(r.measure, r.case): taus.get(r.hardware, 0.0) for r in stored.cases}
    seen = {c.key: detectable(c.after, tau[c.key]) for c in changes if c.after.speeds()}
    if changes:
        console.print(_acceptance(changes, seen))
        for line in (*comparison.tau_lines(stored), *_coarse(seen)):
            console.print(Text(line))
    for record, why in refused:
        console.print(Text(f"not accepted: {record.measure} of {record.case}: {why}", style="dim"))
    results = f"{len(changes)} result{'s' * (len(changes) != 1)}"
    if not changes and refused:
        console.print("nothing was accepted: see above")
    elif not changes:
        console.print("nothing to accept: no result differs from what is accepted")
    elif dry_run:
        console.print(f"{results} would be accepted; nothing was written")
    else:
        path = baseline_file.save(after, baselines)
        console.print(Text(f"{results} accepted in {path}: commit it, so that the change is reviewed"))


COARSE = 0.20
"""A baseline that only shows slow-downs larger than this is warned of."""


def _coarse(seen: dict[tuple[str, str], tuple[float, int | None]]) -> list[str]:
    """A warning for speeds against which only a large slow-down shows, by what would mend it."""
    coarse: dict[int | None, list[str]] = {}
    for (_, case), (least, more) in seen.items():
        if least > COARSE:
            coarse.setdefault(more, []).append(case)
    lines = []
    for more, names in sorted(coarse.items(), key=lambda item: (item[0] is None, item[0])):
        named = f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        mend = (
            f"{more} more accepted run{'s' * (more != 1)} would bring it to 10%" if more
            else "no number of runs brings it to 10% on a machine as noisy: qualify it in a quieter hour"
        )  # fmt: skip
        lines.append(f"warning: a slow-down below {COARSE:.0%} would not be seen for {named}: {mend}")
    return lines


def _acceptance(changes: list[Any], seen: dict[tuple[str, str], tuple[float, int | None]]) -> Table:
    table = Table(box=None, pad_edge=False)
    headings = {"measure": "left", "case": "left", "accepted": "right", "now": "right", "runs": "right"}
    for heading, justify in {**headings, "detects": "right"}.items():
        table.add_column(heading, header_style="dim", overflow="fold", justify=justify)  # type: ignore[arg-type]
    for change in changes:
        measure, case = change.key
        values = change.after.values
        name = quality_in(values).value if measure == "accuracy" else HEADLINE[measure]
        old = change.before.value(name) if change.before else None
        new = change.after.value(name)
        runs = str(len(change.after.speeds()) or 1)
        detects = f"{seen[change.key][0]:.0%}" if change.key in seen else "–"
        numbers = ("–" if value is None else f"{value:.4g}" for value in (old, new))
        table.add_row(measure, Text(case), *numbers, runs, detects)
    return table
