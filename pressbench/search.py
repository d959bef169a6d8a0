"""`pressbench search`: the parameters of a recipe, looked for."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from benchmarks.search.study import Search
    from benchmarks.search.trials import Bench

SEARCHES = Path("results") / "searches"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def search(
    recipes: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE",
            help="Recipes as --compressor takes them, with values left open: LOW..HIGH, LOW..HIGH/STEP or A|B|C. "
            "Several are alternatives.",
        ),
    ],
    model: Annotated[str, typer.Option(metavar="NAME|DIR", help="The model, as pytest benchmarks takes it.")],
    data: Annotated[str | None, typer.Option(metavar="FILE", help="Data for a model of one's own.")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="What that model is for.")] = None,
    test_data: Annotated[str | None, typer.Option(metavar="FILE", help="What its quality is measured on.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SETTING", help="Any other key of a zoo file, as KEY=VALUE; may repeat."),
    ] = None,
    zoo: Annotated[str | None, typer.Option(metavar="FILE", help="A file with models of one's own.")] = None,
    hardware: Annotated[str, typer.Option(metavar="NAME", help="A device or a class of device.")] = "cpu",
    within: Annotated[
        str | None, typer.Option(metavar="LOSS", help="The most that may be lost, by its whole interval, as 1pt or 5%.")
    ] = None,
    size: Annotated[float | None, typer.Option(metavar="X", help="Of the dense model's bytes, at most.")] = None,
    speed: Annotated[
        float | None, typer.Option(metavar="X", help="Times as fast as dense torch fp32, at least.")
    ] = None,
    goal: Annotated[
        list[str] | None,
        typer.Option(metavar="speed|size|loss", help="What is sought; several give a front. Default: speed."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, metavar="N", help="How many trials there are to be in all.")] = 20,
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="How they are proposed: tpe, nsga2, grid or random.")
    ] = "tpe",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the search; one of this name is gone on with. Default: the model's."),
    ] = None,
    searches: Annotated[Path, typer.Option(metavar="DIR", help="The folder that searches are kept in.")] = SEARCHES,
    cache: Annotated[str | None, typer.Option(metavar="DIR", help="The cache, as of pytest benchmarks.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the proposals and of every method.")] = 0,
    stage_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="The longest that one stage may take.")
    ] = 7200.0,
    no_qualify: Annotated[
        bool, typer.Option("--no-qualify", help="Start no short qualification of the machine.")
    ] = False,
) -> None:
    """Look for the parameters of a recipe: the fastest or smallest model that loses no more than it may.

    Each trial is made, weighed, scored and, where it keeps its bounds, timed. Killed or finished, the same command
    goes on where it was; more --trials add to it."""
    from compressors.interface import PressbenchError

    if importlib.util.find_spec("optuna") is None:
        from compressors import install

        raise PressbenchError(f"a search needs Optuna: {install.command(['optuna'])}")
    from benchmarks.matrix.matrix import Matrix
    from benchmarks.matrix.within import bounds_of_run
    from benchmarks.run.run import Run
    from benchmarks.search.space import parse_space
    from benchmarks.search.study import GOALS, SAMPLERS, Search
    from benchmarks.search.trials import Bench, Wanted
    from pressbench import __version__

    goals = list(dict.fromkeys(goal or ["speed"]))
    if unknown := [one for one in goals if one not in GOALS]:
        raise PressbenchError(f"--goal {unknown[0]}: must be {', '.join(GOALS)}")
    if sampler not in SAMPLERS:
        raise PressbenchError(f"--sampler {sampler}: must be {', '.join(SAMPLERS)}")
    if within is None and "loss" not in goals:
        raise PressbenchError(
            "--within: without a bound the fastest model is the one that knows nothing; say 1pt or 5%"
        )
    for option, value in (("--size", size), ("--speed", speed)):
        if value is not None and not value > 0:
            raise PressbenchError(f"{option} {value:g}: must be above 0")
    space = parse_space(recipes)
    if sampler == "grid":
        space.grid()
    of_model = {"model": [model], "data": data, "task": task, "test-data": test_data, "set": set_, "zoo": zoo}
    given = of_model | {
        "hardware": [hardware], "within": [within] if within else None, "cache": cache, "seed": seed,
        "stage-limit": stage_limit, "no-qualify": no_qualify, "compressor": ["dense"],
    }  # fmt: skip
    called = name or f"{model.strip('/').rpartition('/')[2]}"
    if not NAME.fullmatch(called):
        raise PressbenchError(f"--name {called}: a name is made of letters, digits, '.', '_' and '-'")
    folder = searches / called
    options = _options({**given, "results": str(folder)})
    selected = Matrix(options)
    one, device = selected.models[0], selected.hardware[0]
    bound = bounds_of_run([within], [one])[one.name] if within else None
    quality = one.task.quality
    if bound is not None and quality.one_by_one and (why := quality.resolves(one.task.test_examples // 2, bound)):
        raise PressbenchError(f"--within {within}: by half of the test examples, which choose: {why}")
    wanted = Wanted(bound, size, speed, timed=speed is not None or "speed" in goals)
    identity = {
        "model": model, "data": data, "hardware": hardware, "seed": seed,
        "wanted": {k: v for k, v in dataclasses.asdict(wanted).items() if k != "timed"},
    }  # fmt: skip
    kept = Search(folder / "trials.db", space, goals, sampler, seed, identity)
    before = kept.run
    run = Run(options, selected, (), pressbench=__version__)
    run.stages.outlook = None  # how many cases there will be depends on what they give
    try:
        bench = Bench(run, one, device, wanted)
        if before:
            bench.take_over(folder / f"{before}.jsonl")
        kept.run = run.session.run
        _go(kept, bench, trials)
        run.writer.finish({kind: round(seconds, 1) for kind, seconds in run.stages.seconds.items()})
        _tell(kept, bench, [part for key, value in of_model.items() for part in _said(key, value)], folder)
    finally:
        run.session.close()
        run.writer.close()


def _options(given: dict[str, Any]) -> Callable[[str], Any]:
    """An option's value by its name, as `--tier`: what is given, else as pytest benchmarks has it."""
    from benchmarks.matrix.options import add_options

    usual: dict[str, Any] = {}

    def look(name: str, **how: Any) -> None:
        usual[name] = how.get("default", False if how.get("action") == "store_true" else None)

    add_options(look)
    known = usual | {f"--{name}": value for name, value in given.items() if value is not None}
    return known.__getitem__


def _go(kept: Search, bench: Bench, count: int) -> None:
    from benchmarks.search import telling

    console, unit = bench.run.stages.console, _unit(bench)
    if done := len(kept.trials()):
        console.print(f"pressbench: {kept.file}: {done} trials are there", markup=False, soft_wrap=True)
    bench.dense()

    def told(number: int, found: Any) -> None:
        at = f"{len(kept.trials())} of {count}: "
        console.print(f"  {at}{telling.line(number, found, unit)}", markup=False, soft_wrap=True)

    kept.go(count, lambda number, recipe: bench.measure(recipe), told)


def _unit(bench: Bench) -> str:
    return "%" if bench.model.task.quality.bound == "perplexity_rise" else "points"


def _tell(kept: Search, bench: Bench, model: Sequence[str], folder: Path) -> None:
    """The front, the best of it judged anew, and what to do with it; then the page."""
    from rich.console import Console

    from benchmarks.search import telling
    from compressors.interface import PressbenchError

    console, unit, wanted = Console(highlight=False), _unit(bench), bench.wanted
    front = kept.front()
    page = _page(bench, folder)
    if not front:
        nearest = kept.nearest()
        if nearest is None:
            failed = [found for _, found in kept.trials() if found.failed]
            why = f"; of {failed[0].recipe}: {failed[0].failed}" if failed else ""
            raise PressbenchError(f"no trial has a result{why}")
        raise PressbenchError(telling.missed(nearest, wanted, unit))
    confirmed = {one.recipe: bench.confirm(one.recipe) for one in front[: telling.MOST]}
    halves = telling.HALVES if bench.model.task.quality.one_by_one else telling.WHOLE
    console.print(telling.front_table(front, confirmed, unit))
    for line in telling.recipes(front):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"{len(kept.trials())} trials, {telling.bounds(wanted, unit)}. {halves}", markup=False)
    best = next((one for one in front if confirmed[one.recipe].verdict in ("pass", "measured")), None)
    if best is None:
        console.print(
            "None of them is confirmed by the other half: the front is what luck chose; more trials, or more data."
        )
    else:
        for line in (
            f"chosen: {best.recipe}",
            telling.use(best.recipe, model),
            f"zoo.toml: {telling.in_zoo(best.recipe)}",
        ):
            console.print(line, markup=False, soft_wrap=True)
    console.print(f"{page}" if page else "", markup=False, soft_wrap=True)


def _page(bench: Bench, folder: Path) -> str:
    """Draw the report on all trials; what it says of where it is, or why there is none."""
    from results.report.page import render
    from results.report.write import write
    from results.store.store import ResultsError, read_run

    try:
        write(render(read_run(bench.run.writer.path)), folder / "search.html")
    except ResultsError as error:
        return f"no page: {error}"
    return f"page: {folder / 'search.html'}"


def _said(key: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [part for one in values if one for part in (f"--{key}", str(one))]
