"""The only file that knows pytest's hooks: options, parametrization, fixtures, outcomes, summary."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import functools
import io
import math
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol  # what plugins that repeat tests use

ROOT = Path(__file__).parent
MATRIX = ROOT / "benchmarks"
TARGETS = ROOT / "baselines" / "targets.toml"
ACCEPTED = ROOT / "baselines" / "accepted"
EXPECTED = ROOT / "baselines" / "expected.toml"
TOO_FEW, UNDECIDED = 10, 11
"""Exit codes beside pytest's own 0 to 5: fewer cases executed than --require, and with pytest's --strict a
verdict that was inconclusive or unqualified. A failure, 1, goes before both."""
NOT_STORED = 74
"""Exit code of a run that ended because the disk took no more results: EX_IOERR of sysexits.h."""
SPACING = 60.0
"""Seconds between two measurements of a suspect: docs/statistics.md says what they are worth."""
STATUS = {  # verdict -> (category in the summary line, letter, word)
    "measured": ("measured", "m", "MEASURED"),
    "inconclusive": ("inconclusive", "?", "INCONCLUSIVE"),
    "unqualified": ("unqualified", "q", "UNQUALIFIED"),
    "unsupported": ("unsupported", "u", "UNSUPPORTED"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pressbench")
    group.addoption("--model", action="append", metavar="NAME", help="models to run (default: all); may be repeated")
    group.addoption(
        "--compressor",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="compressors to run (default: all of the tier); with parameters, one of your own making; may be repeated",
    )
    group.addoption(
        "--hardware", action="append", metavar="NAME", help="devices to run on (default: cpu); a class works too"
    )
    group.addoption("--tier", default="quick", metavar="quick|nightly|full", help="how much to run (default: quick)")
    group.addoption("--targets", default=str(TARGETS), metavar="FILE", help="the contract")
    group.addoption(
        "--baselines", default=str(ACCEPTED), metavar="DIR", help="accepted results, by fingerprint (pressbench accept)"
    )
    group.addoption("--expected", default=str(EXPECTED), metavar="FILE", help="declared failures, with their dates")
    group.addoption("--require", type=int, default=0, metavar="N", help="exit with 10 where fewer cases are executed")
    group.addoption(
        "--results", default=str(ROOT / "results" / "runs"), metavar="DIR", help="where records are written"
    )
    group.addoption(
        "--cache", default=None, metavar="DIR", help="the cache (default: $PRESSBENCH_CACHE or your user cache)"
    )
    group.addoption("--seed", type=int, default=0, help="seed of compressors and of the order of pairs")
    group.addoption(
        "--stage-limit", type=float, default=900.0, metavar="SECONDS", help="longest that one stage may take"
    )
    group.addoption(
        "--memory-limit", metavar="SIZE", help="most memory that one worker may take, as 4GiB (default: 90 %% of it)"
    )
    group.addoption(
        "--resume", nargs="?", const="", metavar="RUN", help="go on with an interrupted run (default: the latest)"
    )
    group.addoption(
        "--qualifications",
        default=str(ROOT / "results" / "qualifications"),
        metavar="DIR",
        help="where qualifications of machines are kept",
    )
    group.addoption("--no-qualify", action="store_true", help="start no short qualification of the machine")
    group.addoption(
        "--tau", type=_deviation, metavar="X", help="the machine's own deviation of ln speed-up, 0.02 for 2 %%"
    )
    group.addoption(
        "--rerun-after",
        type=_seconds,
        default=SPACING,
        metavar="SECONDS",
        help=f"least time between two measurements of a suspected regression (default: {SPACING:g})",
    )
    group.addoption(
        "--unqualified-ok",
        action="store_true",
        help="judge speed under whatever conditions it was timed; records say so",
    )


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


def pytest_configure(config: pytest.Config) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    config.stash[RUN] = None
    config.stash[RECORDS] = 0
    config.stash[UNWRITTEN] = []


RUN: pytest.StashKey[Any] = pytest.StashKey()
RECORDS: pytest.StashKey[int] = pytest.StashKey()
UNWRITTEN: pytest.StashKey[list[str]] = pytest.StashKey()
MATRIX_CASES: pytest.StashKey[list[str]] = pytest.StashKey()


# -- the matrix ------------------------------------------------------------------------------------


class Matrix:
    """What the options select, checked once. Raises UsageError in one line for anything unknown."""

    def __init__(self, config: pytest.Config) -> None:
        from benchmarks import zoo
        from benchmarks.cases import MEASURES, expand
        from benchmarks.expectations import load_expectations
        from benchmarks.hardware import select
        from benchmarks.measure.memory import default_limit, parse_size
        from benchmarks.selection import parse_compressors
        from benchmarks.targets import load_targets
        from compressors import registry
        from compressors.interface import PressbenchError

        self.tier = str(config.getoption("--tier"))
        tiers = ("quick", "nightly", "full")
        try:
            if self.tier not in tiers:
                raise PressbenchError(f"unknown tier {self.tier!r}{registry.nearest(self.tier, tiers)}")
            every = registry.variants("full")
            self.targets = load_targets(Path(config.getoption("--targets")), set(zoo.known_models()), every)
            self.models = [zoo.find_model(name) for name in config.getoption("--model") or zoo.known_models()]
            self.hardware = [select(name) for name in config.getoption("--hardware") or ["cpu"]]
            limit = config.getoption("--memory-limit")
            self.memory_limit = parse_size("--memory-limit", limit) if limit else default_limit()
            self.compressors = parse_compressors(config.getoption("--compressor"), self.tier)
            self.cases = {
                measure: expand(measure, self.compressors, self.models, self.hardware, self.targets, self.tier)
                for measure in MEASURES
            }
            everywhere = {
                (measure, case.id)
                for measure in MEASURES
                for case in expand(measure, every, list(zoo.known_models().values()), self.hardware, {}, "full")
            }
            self.existing = everywhere | {(measure, c.id) for measure, cases in self.cases.items() for c in cases}
            self.expectations = load_expectations(Path(config.getoption("--expected")), self.existing)
        except PressbenchError as error:
            raise pytest.UsageError(str(error)) from None


@functools.cache
def matrix(config: pytest.Config) -> Matrix:
    return Matrix(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A mistake in the options or the targets ends the run here, in one line: while a file is being
    collected it would be a traceback for each file."""
    start = session.config.invocation_params.dir
    paths = [(start / argument.partition("::")[0]).resolve() for argument in session.config.args]
    if any(path == MATRIX or MATRIX in path.parents or path in MATRIX.parents for path in paths):
        matrix(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames or MATRIX not in Path(metafunc.definition.path).parents:
        return
    selected = matrix(metafunc.config).cases
    cases = selected[next(name for name in selected if metafunc.definition.get_closest_marker(name))]
    metafunc.parametrize("case", cases, ids=[case.id for case in cases])


def pytest_report_header(config: pytest.Config) -> list[str]:
    return _broken()


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """The margins that a test set cannot resolve, told before anything is measured."""
    from benchmarks import verdicts

    found: dict[str, int] = collections.Counter()
    for item in items:
        case = item.callspec.params["case"] if isinstance(item, pytest.Function) and _is_case(item) else None
        margin = case.target.accuracy_drop if case is not None and case.measure == "accuracy" else None
        if case is not None and margin and (reason := verdicts.resolves(case.model.task.test_examples, margin)):
            found[f"{case.model.name}: {reason}"] += 1
    return [f"pressbench: {count} accuracy cases will be unsupported: {why}" for why, count in found.items()]


def _broken() -> list[str]:
    from compressors import registry

    return [f"pressbench: plugin {p.name} could not be used: {p.reason}" for p in registry.broken_plugins()]


# -- the run ---------------------------------------------------------------------------------------


class Run:
    """The session and the file its records go to, made when the first case needs them."""

    def __init__(self, config: pytest.Config, expected: list[str]) -> None:
        from benchmarks.cache import Cache, default_root, hash_files
        from benchmarks.comparison import reference
        from benchmarks.confirmation import Suspects
        from benchmarks.measure.speed import Budget
        from benchmarks.progress import Stages
        from benchmarks.resume import check_same, finished
        from benchmarks.session import Session
        from benchmarks.settings import BUDGETS, Settings
        from pressbench import __version__
        from results.record import RunHeader
        from results.store import RunWriter, new_run_id, now

        capture = config.pluginmanager.getplugin("capturemanager")
        uncaptured = capture.global_and_fixture_disabled if capture else contextlib.nullcontext
        root = config.getoption("--cache")
        interrupted = _interrupted(config)
        identity = interrupted.header.run if interrupted else new_run_id()
        self.stages = Stages(sys.__stderr__, uncaptured)
        settings = Settings(
            tier=config.getoption("--tier"),
            seed=config.getoption("--seed"),
            stage_seconds=config.getoption("--stage-limit"),
            budget=BUDGETS.get(config.getoption("--tier"), Budget()),
            tau=config.getoption("--tau"),
            qualifications=Path(config.getoption("--qualifications")),
            qualify=not config.getoption("--no-qualify"),
            unqualified_ok=config.getoption("--unqualified-ok"),
            memory_limit=matrix(config).memory_limit,
        )
        self.session = Session(
            identity, Cache(Path(root) if root else default_root(), self._say), settings, self.stages
        )
        selected = matrix(config)
        device = selected.hardware[0]
        print_ = self.session.prepared.fingerprint(device)
        machine = {"name": print_["key"]["cpu"]["brand_raw"], "threads": device.threads, **print_}
        if "gpu" in print_["key"]:
            machine["gpu"] = print_["key"]["gpu"]["name"]
        options = {
            name: config.getoption(f"--{name}") for name in ("model", "compressor", "hardware", "tier", "seed", "tau")
        }
        ((_, options["targets_sha256"]),) = hash_files([config.getoption("--targets")])
        header = RunHeader(
            run=identity,
            started=now(),
            pressbench=__version__,
            options=options,
            machine=machine,
            expected=tuple(expected),
        )
        if interrupted:
            check_same(interrupted.header, header)
            self.writer = RunWriter.resume(interrupted)
            self.session.finished = finished(interrupted)
            count = len(self.session.finished)
            self._say(f"pressbench: resuming run {identity}: {count} of {len(expected)} cases are finished")
        else:
            self.writer = RunWriter(Path(config.getoption("--results")), header)
        self.reference = reference(
            Path(config.getoption("--baselines")), Path(config.getoption("--results")), print_, identity
        )
        self.compared: dict[tuple[str, str], Any] = {}
        self.suspects = Suspects(config.getoption("--rerun-after"), self._pause)

    def speed(self, case: Any) -> Any:
        """The record of a speed case beside its history. A suspected regression waits for its next turn at the
        end of the run: its record is the first one, and its test is not over."""
        from benchmarks.comparison import Comparison, undecided

        again = functools.partial(self.session.speed_again, case)
        record, reruns = self.suspects.turn(case.id, lambda: self.session.speed(case), again)
        beside = self.beside_history(record, reruns)
        if beside.comparison and undecided(Comparison.from_json(beside.comparison), reruns):
            if not reruns:
                self._say(f"pressbench: {case.id}: suspected regression, measured again at the end of the run")
            self.suspects.put_off(case.id, record)
        else:
            self.suspects.settle(case.id)
        return beside

    def beside_history(self, record: Any, reruns: Any = ()) -> Any:
        """The record with what became of it against the accepted baseline and earlier runs: a regression makes
        it a failure, whatever its target says. reruns: the same case, measured again in fresh processes."""
        from benchmarks.comparison import REGRESSION, Comparison, compare

        if self.is_stored(record):  # it was compared then
            if record.comparison:
                self.compared[record.measure, record.case] = Comparison.from_json(record.comparison)
            return record
        found = compare(record, self.reference, float(record.evidence.get("tau") or 0.0), reruns)
        if found is None:
            return record
        self.compared[record.measure, record.case] = found
        record = dataclasses.replace(record, comparison=found.to_json())
        if found.outcome != REGRESSION:
            return record
        reason = f"regression: {found.reason}"
        return dataclasses.replace(record, verdict="fail", reason=f"{reason}; by its target alone: {record.verdict}")

    def is_stored(self, record: Any) -> bool:
        """Whether it was stored before the run was resumed."""
        return self.session.finished.get((record.case, record.measure)) is record

    def waits(self, record: Any) -> bool:
        """Whether it is a suspect's, which is to be measured again."""
        return record.measure == "speed" and self.suspects.waits(record.case)

    def keep(self, record: Any) -> None:
        """Store a record, unless it is stored already; a suspect's at its first turn, for a run that is killed
        before the last."""
        if not self.is_stored(record) and not (self.waits(record) and self.suspects.turns(record.case)):
            self.writer.write(record)

    def _pause(self, case: str, seconds: float) -> None:
        with self.stages("wait", f"{case}: before it is measured again"):
            time.sleep(seconds)

    def _say(self, line: str) -> None:
        with self.stages._uncaptured():
            self.stages.console.print(line, markup=False)


def _interrupted(config: pytest.Config) -> Any:
    """The stored run that --resume names; None without the option. Raises ResultsError."""
    from results.store import ResultsError, read_run, resolve_run, resumable

    wanted, folder = config.getoption("--resume"), Path(config.getoption("--results"))
    if wanted is None:
        return None
    if hasattr(config, "workerinput"):
        raise ResultsError("--resume goes on with one run in one process: leave out -n")
    return read_run(resolve_run(folder, wanted)) if wanted else resumable(folder)


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The run that this pytest session is."""
    from results.store import ResultsError

    config = request.config
    expected = [item.callspec.params["case"].id for item in request.session.items if _is_case(item)]
    try:
        run = config.stash[RUN] or Run(config, expected)  # a suspect's turn may come after the fixture's end
    except ResultsError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    config.stash[RUN] = run
    yield run
    run.session.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """A suspect goes to the end of the queue until it is decided: others come between its turns, and only the last
    is reported."""
    if not _is_case(item) or not item.get_closest_marker("speed"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    run, case = item.config.stash[RUN], item.callspec.params["case"]  # type: ignore[attr-defined]
    if run and run.suspects.waits(case.id) and all(report.passed for report in reports):
        item.session.items.append(item)  # pytest's loop takes what is added while it runs
    else:
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_case(item: pytest.Item) -> bool:
    """Whether it is one of the matrix: other tests may have a parameter of that name."""
    mine = isinstance(item, pytest.Function) and MATRIX in item.path.parents
    return mine and hasattr(item, "callspec") and "case" in item.callspec.params


@pytest.fixture
def settle(bench: Run, request: pytest.FixtureRequest) -> Any:
    """Store a record and turn its verdict into the outcome of the test."""
    from results.store import ResultsError

    def finish(record: Any) -> None:
        expectation = matrix(request.config).expectations.get((record.measure, record.case))
        status = expectation.status(record, datetime.date.today()) if expectation else None
        if bench.is_stored(record):
            status = record.expected.get("status") if record.expected else None
        elif expectation and status:
            record = dataclasses.replace(record, expected=expectation.to_json(status))
        try:
            bench.keep(record)
        except ResultsError as error:  # nothing more can be stored: measuring on would be for nothing
            pytest.exit(str(error), returncode=NOT_STORED)
        if bench.waits(record):
            return
        request.config.stash[RECORDS] += 1
        request.node.user_properties.append(("verdict", record.verdict))
        request.node.user_properties.append(("reason", record.reason))
        again = f'pytest "{request.node.nodeid}"{_options(request.config)}'
        message = f"{record.measure} of {record.case}: {record.reason}; to reproduce: {again}"
        if record.verdict in ("unsupported", "inconclusive", "unqualified"):
            pytest.skip(f"{record.verdict}: {record.reason}")
        if status == "unexpected pass":
            warnings.warn(f"{request.node.nodeid}: {_declared(record)}; take it out", stacklevel=1)
        elif status == "expected":
            pytest.xfail(f"{record.reason}; {_declared(record)}")
        elif status:
            message = f"{_declared(record)}: {message}"
        assert record.verdict in ("pass", "measured"), message

    return finish


def _declared(record: Any) -> str:
    what = record.expected
    told = {
        "unexpected pass": "passes although its failure is declared",
        "expected": "a declared failure",
        "worse": "worse than its declared failure allows",
        "expired": "its declaration as a failure has expired",
    }
    return f"{told[what['status']]} ({what['reason']}, up to {what['bound']:g}, until {what['expires']})"


def _options(config: pytest.Config) -> str:
    parts = [
        f" --{name} {shlex.quote(value)}"
        for name in ("model", "compressor", "hardware")
        for value in config.getoption(f"--{name}") or []
    ]
    usual = {"tier": "quick", "targets": str(TARGETS), "seed": 0, "tau": None}
    parts += [f" --{name}" for name in ("no-qualify", "unqualified-ok") if config.getoption(f"--{name}")]
    parts += [
        f" --{name} {shlex.quote(str(config.getoption(name)))}"
        for name, value in usual.items()
        if config.getoption(name) != value
    ]
    return "".join(parts)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> Any:
    if getattr(report, "when", None) != "call":
        return None
    properties = dict(getattr(report, "user_properties", ()))
    return STATUS.get(str(properties.get("verdict"))) if report.outcome != "failed" else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    run = session.config.stash[RUN]
    if run is None:
        return
    run.session.close()
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        from results.store import ResultsError

        try:
            end = run.writer.finish({kind: round(seconds, 1) for kind, seconds in run.stages.seconds.items()})
        except ResultsError as error:
            session.config.stash[UNWRITTEN].append(str(error))
            session.exitstatus = NOT_STORED
        else:
            undecided = end.counts.get("inconclusive", 0) + end.counts.get("unqualified", 0)
            if exitstatus == pytest.ExitCode.OK and end.executed < session.config.getoption("--require"):
                session.exitstatus = TOO_FEW
            elif exitstatus == pytest.ExitCode.OK and undecided and session.config.getini("strict"):
                session.exitstatus = UNDECIDED
    run.writer.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if terminalreporter.verbosity < 0 and matrix.cache_info().currsize:  # there was no header to say so
        for line in _broken():
            terminalreporter.write_line(line)
    run = config.stash[RUN]
    if run is None or not config.stash[RECORDS]:
        return
    from rich.console import Console

    from results.store import read_run
    from results.table import print_terminal, render

    stored = read_run(run.writer.path)
    markdown = run.writer.path.with_suffix(".md")
    try:
        markdown.write_text(render(stored, "markdown"), encoding="utf-8")
    except OSError as error:
        config.stash[UNWRITTEN].append(f"{_shown(markdown)}: cannot be written: {error.strerror}")
    width = max(80, terminalreporter._tw.fullwidth)
    text = io.StringIO()
    print_terminal(stored, Console(file=text, width=width, force_terminal=terminalreporter._tw.hasmarkup))
    terminalreporter.section("pressbench")
    terminalreporter.write(text.getvalue())
    for line in _history_lines(run, config):
        terminalreporter.write_line(line)
    for line in config.stash[UNWRITTEN]:
        terminalreporter.write_line(f"pressbench: {line}")
    terminalreporter.write_line(f"records: {_shown(run.writer.path)}   table: {_shown(markdown)}")


def _history_lines(run: Run, config: pytest.Config) -> list[str]:
    """What changed since the baseline, and why the run ends with a code of its own, a line each."""
    known = run.reference
    lines = [f"baseline: {known.note}"] if known.note else []
    counts = collections.Counter(found.outcome for found in run.compared.values())
    if not known.note or counts.keys() - {"new"}:
        lines.append("compared: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    for outcome in ("regression", "suspect", "environment", "noise", "improved"):
        lines += [
            f"  {outcome}: {measure} of {case}: {found.reason}"
            for (measure, case), found in run.compared.items()
            if found.outcome == outcome
        ]
    if known.baseline:
        gone = sorted(set(known.baseline.cases) - matrix(config).existing)
        lines += [f"  vanished: {measure} of {case}" for measure, case in gone]
        new = [key for key in run.compared if key not in known.baseline.cases]
        lines += [f"  new: {measure} of {case}" for measure, case in new]
    required, done = config.getoption("--require"), config.stash[RECORDS]
    if done < required:
        lines.append(f"required: {required} cases, executed {done}")
    return lines


def _shown(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return path.resolve().relative_to(Path.cwd()).as_posix()
    return str(path)
