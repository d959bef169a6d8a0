"""The only file that knows pytest's hooks: options, parametrization, fixtures, outcomes, summary."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import os
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol  # what plugins that repeat tests use

from benchmarks.matrix.options import add_options
from benchmarks.measure import forkserver

if TYPE_CHECKING:  # the rest of pytest must not wait for torch
    from benchmarks.matrix.matrix import Matrix
    from benchmarks.run.run import Run

ROOT = Path(__file__).parent
MATRIX = ROOT / "benchmarks"
SPEED = "test_speed.py::test_speed["
STATUS = {  # verdict -> (category in the summary line, letter, word)
    "measured": ("measured", "m", "MEASURED"),
    "inconclusive": ("inconclusive", "?", "INCONCLUSIVE"),
    "unqualified": ("unqualified", "q", "UNQUALIFIED"),
    "unsupported": ("unsupported", "u", "UNSUPPORTED"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser.getgroup("pressbench").addoption)


def pytest_configure(config: pytest.Config) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    config.stash[RUN] = None
    config.stash[RECORDS] = 0
    config.stash[UNWRITTEN] = []
    config.stash[CASES] = []
    config.pluginmanager.register(AnswerLast(), "pressbench-answer")
    if _asks_for_cases(config) and not config.getoption("collectonly") and not config.getoption("--help"):
        forkserver.begin()


TRACEBACK: pytest.StashKey[str] = pytest.StashKey()
RUN: pytest.StashKey[Any] = pytest.StashKey()
RECORDS: pytest.StashKey[int] = pytest.StashKey()
UNWRITTEN: pytest.StashKey[list[str]] = pytest.StashKey()
CASES: pytest.StashKey[list[Any]] = pytest.StashKey()


# -- the matrix ------------------------------------------------------------------------------------


@functools.cache
def matrix(config: pytest.Config) -> Matrix:
    """What the options select. Raises UsageError in one line for anything unknown."""
    from benchmarks.matrix.matrix import Matrix
    from compressors.interface import PressbenchError

    try:
        return Matrix(config.getoption)
    except PressbenchError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """A mistake in the options or the targets ends the run here, in one line: while a file is being
    collected it would be a traceback for each file."""
    if _asks_for_cases(session.config):
        matrix(session.config)


def _asks_for_cases(config: pytest.Config) -> bool:
    """Whether cases of the matrix are among what the command names."""
    start = config.invocation_params.dir
    paths = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return any(path == MATRIX or MATRIX in path.parents or path in MATRIX.parents for path in paths)


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
    config.stash[CASES] = cases = [item.callspec.params["case"] for item in items if _is_case(item)]
    if not cases:
        return []
    from benchmarks.matrix.matrix import unresolvable
    from benchmarks.zoo.own.told import told

    found, width = unresolvable(cases), config.get_terminal_writer().fullwidth - 1
    away = matrix(config).out_of_reach
    lines = [line for model in matrix(config).own for line in told(model, width)]
    for name, one in ((name, one) for found in matrix(config).artifacts.values() for name, one in found.items()):
        lines += [f"{name}: {one.said}: {one.told[0]}", *(f"  {line}" for line in one.told[1:])]
    lines += [f"pressbench: all cases of {name} are unsupported: {why}" for name, why in away.items()]
    return lines + [f"pressbench: {count} accuracy cases will be unsupported: {why}" for why, count in found.items()]


def _broken() -> list[str]:
    from compressors import registry

    return [f"pressbench: plugin {p.name} could not be used: {p.reason}" for p in registry.broken_plugins()]


# -- the run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The run that this pytest session is, begun when the first case needs it."""
    from benchmarks.run.run import Run
    from pressbench import __version__
    from results.store.store import ResultsError

    config = request.config
    cases = [item.callspec.params["case"] for item in request.session.items if _is_case(item)]
    capture = config.pluginmanager.getplugin("capturemanager")
    uncaptured = capture.global_and_fixture_disabled if capture else contextlib.nullcontext
    try:
        if hasattr(config, "workerinput"):
            if config.getoption("--resume") is not None:
                raise ResultsError("--resume goes on with one run in one process: leave out -n")
            if config.getoption("--cluster"):
                raise ResultsError("--cluster spreads one run by itself: leave out -n")
        run = config.stash[RUN]  # a suspect's turn may come after the fixture's end
        if run is None:
            run = Run(config.getoption, matrix(config), cases, pressbench=__version__, uncaptured=uncaptured)
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
    from benchmarks.matrix.expectations import declared
    from benchmarks.run import failure
    from benchmarks.run.exit_codes import NOT_STORED
    from benchmarks.run.reproduction import reproduction
    from results.store.store import ResultsError

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
        if record.verdict in ("unsupported", "inconclusive", "unqualified"):
            pytest.skip(f"{record.verdict}: {record.reason}")
        if status == "unexpected pass":
            warnings.warn(f"{request.node.nodeid}: {declared(record)}; take it out", stacklevel=1)
        elif status == "expected":
            pytest.xfail(f"{record.reason}; {declared(record)}")
        if record.verdict not in ("pass", "measured"):
            again = reproduction(_from_here(request.node), request.config.getoption)
            request.node.stash[TRACEBACK] = failure.own_traceback(record)
            excuse = declared(record) if status else ""
            # Not an assert: pytest would print this file and the whole record before the reason.
            pytest.fail(failure.message(record, again, excuse), pytrace=False)

    return finish


def _from_here(item: pytest.Item) -> str:
    """The id of a test as it is named in the folder that pytest was started in."""
    file = os.path.relpath(item.path, item.config.invocation_params.dir)
    return "::".join([Path(file).as_posix(), *item.nodeid.split("::")[1:]])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """The traceback of a method's own code, below the message: pytest shows such a section of a failure only."""
    report = yield
    if report.when == "call" and report.failed and (trace := item.stash.get(TRACEBACK, "")):
        report.sections.append(("traceback in the worker", trace))
    return report


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
        from benchmarks.run.exit_codes import NOT_STORED, exit_code
        from results.store.store import ResultsError

        try:
            end = run.finish()
        except ResultsError as error:
            session.config.stash[UNWRITTEN].append(str(error))
            session.exitstatus = NOT_STORED
        else:
            required, strict = session.config.getoption("--require"), session.config.getini("strict")
            unresolved = run.unresolved if session.config.getoption("--fail-unresolved") else 0
            if exitstatus == pytest.ExitCode.OK and (code := exit_code(end, required, strict, unresolved)):
                session.exitstatus = code
    run.writer.close()


@pytest.hookimpl(tryfirst=True)  # before pytest-benchmark's
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if terminalreporter.verbosity < 0 and matrix.cache_info().currsize:  # there was no header to say so
        for line in _broken():
            terminalreporter.write_line(line)
    run = config.stash[RUN]
    if run is None or not config.stash[RECORDS]:
        return
    from benchmarks.run.summary import summary

    text, after = summary(
        run,
        matrix(config).existing,
        cases=config.stash[CASES],
        required=config.getoption("--require"),
        done=config.stash[RECORDS],
        unwritten=config.stash[UNWRITTEN],
        width=terminalreporter._tw.fullwidth,
        colour=terminalreporter._tw.hasmarkup,
    )
    terminalreporter.section("pressbench")
    terminalreporter.write(text)
    for line in after:
        terminalreporter.write_line(line)
    _beside_ours(terminalreporter, config)


def _beside_ours(terminalreporter: Any, config: pytest.Config) -> None:
    """pytest-benchmark's table says other ratios than the paired ones: it is drawn where something of it is asked for
    alone, and says of itself what it is. Its files and comparisons are made all the same."""
    timed = getattr(config, "_benchmarksession", None)
    if timed is None or not timed.benchmarks:
        return
    # All but the first are drawn with the table, or are nothing without it.
    asked = ("benchmark_table", "benchmark_verbose", "benchmark_histogram", "benchmark_compare", "benchmark_cprofile")
    others = [one for one in timed.benchmarks if not one.fullname.rpartition("/")[2].startswith(SPEED)]
    if not others and not any(config.getoption(name, None) for name in asked):
        timed.quiet = True
    elif not timed.quiet:
        terminalreporter.write_line(
            "pytest-benchmark's table: its rows were not taken side by side, so that a ratio of two of them is no "
            "speed-up; the one above is"
        )


class AnswerLast:
    """The answer of the run, below all else that is told at its end."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
        try:
            return (yield)
        finally:
            run = config.stash[RUN]
            if run is not None and config.stash[RECORDS]:
                from benchmarks.run.summary import answer

                width, colour = terminalreporter._tw.fullwidth, terminalreporter._tw.hasmarkup
                if text := answer(run, config.getoption, width=width, colour=colour):
                    terminalreporter.section("answer")
                    terminalreporter.write(text)
