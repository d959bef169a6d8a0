"""docs/trust.md from stored samples. The numbers are computed here, never typed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.trust.decisions import (
    MARGIN,
    NIGHT_TO_NIGHT,
    PERCENTS,
    SAME_MINUTE,
    OurRow,
    Rate,
    RivalRow,
    Tally,
    recorded,
    simulated,
    stored_rounds,
    tally,
)
from benchmarks.trust.nights import BLOCK, simulate
from benchmarks.trust.rivals import ASV_SAMPLES, INSTALL, rivals
from benchmarks.trust.samples import BATCH, LONGEST, PAIRS, Session
from benchmarks.verdicts import Verdict

NIGHTS = 2000
BUDGETS = (PAIRS, 80, LONGEST)
LIMIT_ALARMS = 0.01
LIMIT_THEIRS = 0.10
LIMIT_FOUND = 0.95
AT_FIVE = ":5%`"


def page(session: Session, *, nights: int = NIGHTS) -> str:
    """The page, complete."""
    rules = rivals()
    real = tally(recorded(session), rules)
    drawn = simulate(session.of(0), nights=nights, pairs=max(BUDGETS), seed=session.seed)
    dreamt = tally(simulated(drawn), rules, BUDGETS)
    parts = [
        _introduction(session),
        _goal(real, dreamt, nights),
        _real(session, real),
        _nights(session, dreamt, nights),
    ]
    return "\n\n".join([*parts, _time(real), AGAINST_ACCEPTED, _limits(session), _again()]) + "\n"


# -- parts -----------------------------------------------------------------------------------------


def _introduction(session: Session) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in session.versions.items())
    return f"""# Against what people use today

Written by `make trust` from samples measured on {session.date}: {session.cpu}, {session.cores} cores,
{session.threads} thread a process, {session.system};
{versions}.

A change of speed is judged by our rule, by pytest-benchmark's `--benchmark-compare-fail` and by asv's `compare`, each
by its own code, on the same samples. The model is the architecture of `vit-digits` with random weights, batch {BATCH}.
Every process runs on the same CPU. A sample is a slot of 20 forward passes (50 for the slow-down of 2 %), in the
median {_milliseconds(session)} ms long. A slow-down is real work, exact by construction: 1, 2 or 4 more passes in each
slot of 20 for 5, 10 or 20 %, 1 more in 50 for 2 %.

**Ours.** The old and the new version run in two fresh processes, slots in pairs, the order within each pair drawn by a
coin. The sequential test of "the new version is at least 1/{MARGIN} as fast" at 1 % a side stops when it has decided,
or after {LONGEST} pairs, a speed case's own default; every recording has {PAIRS} pairs, and more only where it
needs them. **The alarm is its `fail`.** `pass` says that the new version is not
{100 * MARGIN - 100:.0f} % slower. `inconclusive` says that the evidence decides neither way: no alarm, no all-clear.
A slow-down of less than the margin is allowed, and one exactly at it should seldom alarm either.

**The others** are given all {PAIRS} slots a side, in two settings. *Same minute*: both sides of one interleaved run,
which flatters them: pytest-benchmark has no such mode, in asv it is an option (`--interleave-rounds`). *Night to
night*, their normal use: the stored result of an earlier process against today's. Slots stand for pytest-benchmark's
rounds and asv's samples; `min`, `mean` and `median` are taken over slots. Ours beside *same minute* shows what the test
adds to interleaving, beside *night to night* what both do. All rules were chosen before anything was measured."""


def _goal(real: Tally, dreamt: Tally, nights: int) -> str:
    alarms, found = dreamt.ours[-1].rate(0), dreamt.ours[-1].rate(10)
    real_alarms, real_found = real.ours[-1].rate(0), real.ours[-1].rate(10)
    theirs = [r for r in dreamt.rivals if r.setting == NIGHT_TO_NIGHT and r.rule.endswith(AT_FIVE)]
    real_theirs = [r for r in real.rivals if r.setting == NIGHT_TO_NIGHT and r.rule.endswith(AT_FIVE)]
    seconds = [statistics.fmean(real.ours[-1].seconds[p]) for p in (0, 10)]
    one_side, both = (_seconds_of(real, setting, 0) for setting in (NIGHT_TO_NIGHT, SAME_MINUTE))
    lines = [
        ("at most 1 % false alarms", f"{_of(real_alarms)}; {_of(alarms)}",
         _met(max(real_alarms.share, alarms.share) <= LIMIT_ALARMS)),
        ("where pytest-benchmark at 5 %, night to night, has 10 % or more",
         f"{_each(real_theirs)}; {_each(theirs)}",
         _met_by(theirs)),
        ("at least 95 % of slow-downs of 10 % found", f"{_of(real_found)}; {_of(found)}",
         _met(min(real_found.share, found.share) >= LIMIT_FOUND)),
        ("in no more measuring time",
         f"{seconds[0]:.2f} s a decision on unchanged code, {seconds[1]:.2f} s at 10 %; the others {both:.2f} s "
         f"for both sides, {one_side:.2f} s where one was stored",
         _met(max(seconds) <= one_side, max(seconds) <= both)),
    ]  # fmt: skip
    rows = "\n".join(f"| {asked} | {measured} | {met} |" for asked, measured, met in lines)
    return f"""## The goal

| asked | measured: real pairs; {nights:,} simulated nights | met |
|---|---|---|
{rows}

{_as_good(real, "real pairs")}

{_as_good(dreamt, "simulated nights")}"""


def _as_good(found: Tally, where: str) -> str:
    """Which of the others kept the limit of false alarms, too, and found at least as much as ours."""
    ours = found.ours[-1].rate(10).share
    good = [
        f"{r.rule}, {r.setting} ({_percent(r.rates[0].share)} false alarms, {_percent(r.rates[10].share)} found)"
        for r in found.rivals
        if r.rates and r.rates[0].share <= LIMIT_ALARMS and r.rates[10].share >= ours
    ]
    which = "; ".join(good) if good else "none"
    return (
        f"On the {where}, others with at most {100 * LIMIT_ALARMS:.0f} % false alarms that found at least as many "
        f"slow-downs of 10 % as ours, up to {LONGEST} pairs ({_percent(ours)}): {which}."
    )


def _real(session: Session, real: Tally) -> str:
    counts = ", ".join(f"{len(session.of(p))} at {p} %" if p else f"{len(session.of(p))} unchanged" for p in PERCENTS)
    gap = session.seconds / (1 + max(r.round for r in session.recordings)) * stored_rounds(session)
    return f"""## Real pairs of fresh processes

{len(session.recordings)} pairs in {session.seconds / 60:.0f} minutes, in an order drawn by lot: {counts}. Night to
night is here a gap of about {gap:.0f} seconds. Alarms, with
exact 95 % intervals (Clopper and Pearson), in %:

{_rates(real)}

Our verdicts:

{_verdicts(real.ours)}"""


def _nights(session: Session, dreamt: Tally, nights: int) -> str:
    return f"""## Simulated nights

{nights:,} nights drawn from the {len(session.of(0))} unchanged pairs of processes (seed {session.seed}): a night is
one of them, its noise drawn in blocks of {BLOCK} consecutive pairs; the stored result is drawn from another. Slow-downs
multiply the new version's times. The intervals are of the drawing alone: no draw knows more than the pairs recorded.
What one of them deviates from a ratio of 1, by chance or by a shift of its processes, counts as true when it is drawn
again: at the margin itself, 5 %, ours may therefore alarm here more often than its 1 %, the more so the more pairs.

{_rates(dreamt)}

Our verdicts, also with more pairs:

{_verdicts(dreamt.ours)}"""


def _time(real: Tally) -> str:
    ours = real.ours[-1]
    lines = []
    for percent in (0, 10):
        taken, pairs = ours.seconds[percent], ours.pairs[percent]
        lines.append(
            f"| ours, {_condition(percent)} | {statistics.fmean(taken):.2f} | {max(taken):.2f} "
            f"| {statistics.median(pairs):g} pairs in the median |"
        )
    for setting, slots in (
        (SAME_MINUTE, f"{PAIRS} slots a side"),
        (NIGHT_TO_NIGHT, f"{PAIRS} slots; the stored side paid"),
    ):
        lines.append(f"| the others, {setting}, unchanged | {_seconds_of(real, setting, 0):.2f} | | {slots} |")
        few = _seconds_of(real, setting, 0, few=True)
        lines.append(f"| asv with its default of {ASV_SAMPLES} samples, {setting} | {few:.2f} | | |")
    rows = "\n".join(lines)
    return f"""## Measuring time a decision

| | mean, s | longest, s | |
|---|---|---|---|
{rows}

Ours is by the clock from the first slot to the last, untimed passes and both sides included; the others' is only what
their slots timed. pytest-benchmark's default is 1 s a side. Starting processes and loading is in none of them; ours
starts two where a nightly run of the others starts one."""


AGAINST_ACCEPTED = """## Night after night, against accepted runs

What nights of the suite find of a slow-down, by its size, how many runs were accepted, and how far runs of the machine
lie apart (τ); [the table and the rule](statistics.md) are on another page. With one accepted run and τ = 11 % a machine
sees little but says so: what is not settled is `inconclusive`, never "not slower".

![Share of nights that find a slow-down, by its size, the accepted runs and τ](images/power.svg)

The same with noise as it was recorded on a machine whose other processor was busy most of the time, replayed and
stretched to each τ; false alarms stayed at 0 of 4,500 nights, also there ([that session](trust-busy.md)):

![The same on replayed noise of a busy machine](images/power-live.svg)"""


def _limits(session: Session) -> str:
    return f"""## What this does not show

- One machine, one day, one small model on {session.threads} thread. Real nights lie further apart than these minutes;
  where the machine drifts, that is to the disadvantage of whoever compares with a stored result.
- {len(session.of(0))} pairs cannot show a rate of 1 %: see the intervals. The simulated nights can, as far as these
  pairs stand for others.
- Ours needs the old version at hand, and time for it. The others need only its stored numbers.
- Below its margin ours is silent by intention: a 2 % slow-down is not found, and one of 5 % only by its error rate.
  Slow creep is a matter of [the comparison with an anchor](baselines.md).
- A first session, on 2026-11-22, left the choice between two CPUs to the scheduler. Old and new could then sit on CPUs
  of different speed: the median ratio of one unchanged pair of processes was 1.59. Ours raised 3 false alarms in 54 and
  found 11 of 36 slow-downs of 10 %; in the same minute pytest-benchmark's `median:5%` raised 10 in 54 and found 25 of
  36. After that all processes were held to one CPU, with the rules as they were, and everything was measured anew.
  Where old and new do not share their CPUs, our error rate does not hold.
- Our rule is taken without a qualification of the machine: it allows nothing for shifts of a whole process (τ = 0, see
  [the statistics](statistics.md)).
- Processes are forked from one that has imported the libraries: they have memory and threads of their own, but the
  same addresses of code.
- pytest-benchmark by itself times rounds of one call here, asv samples of about 10 ms in two processes. Slots of many
  calls are steadier than single calls for `mean`, less extreme for `min`."""


def _again() -> str:
    return f"""## Run it again

    make trust                                                    # about twelve minutes, on a machine left alone
    python -m benchmarks.trust --from results/trust/SESSION.json  # the page from stored samples

Without make: `{INSTALL}`, then `python -m benchmarks.trust`.
Each run leaves all its samples and its page in `results/trust`;
`--write-docs` writes this page, `docs/trust.md`, instead."""


# -- tables ----------------------------------------------------------------------------------------


def _rates(found: Tally) -> str:
    lines = [
        "| rule | setting | " + " | ".join(_condition(p) for p in PERCENTS) + " |",
        "|---|---|" + "---|" * len(PERCENTS),
    ]
    for row in found.ours:
        label = f"**ours**, up to {row.budget} pairs"
        lines.append(f"| {label} | {SAME_MINUTE} | " + " | ".join(_cell(row.rate(p)) for p in PERCENTS) + " |")
    for rival in found.rivals:
        cells = " | ".join(_cell(rival.rates.get(p, Rate())) for p in PERCENTS)
        lines.append(f"| {rival.rule} | {rival.setting} | {cells} |")
    return "\n".join(lines)


def _verdicts(rows: Sequence[OurRow]) -> str:
    lines = ["| up to | | pass | fail | inconclusive | pairs, median |", "|---|---|---|---|---|---|"]
    for row in rows:
        for percent, counts in row.verdicts.items():
            cells = " | ".join(f"{counts[v]:,}" for v in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE))
            median = statistics.median(row.pairs[percent])
            lines.append(f"| {row.budget} pairs | {_condition(percent)} | {cells} | {median:g} |")
    return "\n".join(lines)


# -- words -----------------------------------------------------------------------------------------


def _condition(percent: int) -> str:
    return f"{percent} % slower" if percent else "unchanged"


def _percent(share: float) -> str:
    """Whole per cents from 10 on; one digit below, where it tells."""
    if math.isnan(share):
        return "–"
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1f} %" if value >= 0.095 else f"{value:.2f} %"


def _cell(rate: Rate) -> str:
    if not rate.decisions:
        return "–"
    low, high = rate.interval
    return f"{_percent(rate.share)} [{100 * low:.1f}, {100 * high:.1f}] of {rate.decisions:,}"


def _of(rate: Rate) -> str:
    return f"{rate.alarms:,} of {rate.decisions:,} ({_percent(rate.share)})"


def _field(row: RivalRow) -> str:
    return row.rule.split("`")[1].split(":")[0]


def _each(rows: Sequence[RivalRow]) -> str:
    return ", ".join(f"{_field(row)} {_percent(row.rates[0].share)}" for row in rows)


def _met(met: bool, partly: bool = False) -> str:
    return "yes" if met else "only against both sides" if partly else "**no**"


def _met_by(rows: Sequence[RivalRow]) -> str:
    over = [_field(row) for row in rows if row.rates[0].share >= LIMIT_THEIRS]
    if len(over) == len(rows):
        return "yes"
    return f"by {', '.join(over)} only" if over else "**no**: they had fewer"


def _seconds_of(found: Tally, setting: str, percent: int, *, few: bool = False) -> float:
    """Mean timed seconds a decision of the rules that look at all slots, or at asv's few."""
    rows = [r for r in found.rivals if r.setting == setting and r.rule.endswith(" samples") == few]
    taken = [s for row in rows for s in row.seconds.get(percent, [])]
    return statistics.fmean(taken) if taken else math.nan


def _milliseconds(session: Session) -> str:
    return f"{1000 * statistics.median(s for r in session.of(0) for s in r.old):.0f}"
