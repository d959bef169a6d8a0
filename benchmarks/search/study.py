"""A search: trials proposed by Optuna (Akiba et al. 2019), measured here, kept in a file that survives a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import TrialState

from benchmarks.search.space import Space
from benchmarks.search.trials import Trial
from compressors.interface import PressbenchError

GOALS: Mapping[str, tuple[Literal["maximize", "minimize"], str]] = {
    "speed": ("maximize", "speed"),
    "size": ("minimize", "size"),
    "loss": ("minimize", "lost"),
}
"""What may be sought -> the direction, and which number of a trial it is."""
SAMPLERS = ("tpe", "nsga2", "grid", "random")
IDENTITY, RUN, FOUND = "searched", "run", "found"
STARTUP = 8
"""Trials at random before TPE has something to go by."""


class Search:
    """Trials in a file. identity: all that decides what a trial's numbers mean; a file of another one is refused.

    Raises PressbenchError for a file that is none of a search, or one of another search."""

    def __init__(
        self, file: Path, space: Space, goals: Sequence[str], sampler: str, seed: int, identity: Mapping[str, Any]
    ) -> None:
        self.file, self.space, self.goals, self.grid = file, space, tuple(goals), sampler == "grid"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        file.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(json.dumps({"space": space.texts, "goals": list(goals), **identity}))
        try:
            self.study: Study = optuna.create_study(
                storage=f"sqlite:///{file}",
                study_name="search",
                directions=[GOALS[goal][0] for goal in goals],
                sampler=_sampler(sampler, seed),
                load_if_exists=True,
            )
        except Exception as error:  # of SQLAlchemy, of Optuna, by what is wrong with the file
            raise PressbenchError(f"{file}: no database of a search: {' '.join(str(error).split())[:120]}") from None
        stored = self.study.user_attrs.get(IDENTITY)
        if stored is None:
            if self.study.trials:
                raise PressbenchError(f"{file}: Optuna's, but of no search of pressbench; take another name")
            self.study.set_user_attr(IDENTITY, known)
        elif stored != known:
            other = next(key for key in {**stored, **known} if stored.get(key) != known.get(key))
            was, now = (json.dumps(side.get(other)) for side in (stored, known))
            raise PressbenchError(
                f"{file}: holds another search: its {other} is {was}, here it is {now}; take another --name, or delete "
                "it"
            )
        self._take_up()
        if self.grid:
            for values in space.grid():
                self.study.enqueue_trial(values, skip_if_exists=True)

    @property
    def run(self) -> str | None:
        """The id of the run that its records are in."""
        return self.study.user_attrs.get(RUN)

    @run.setter
    def run(self, identity: str) -> None:
        self.study.set_user_attr(RUN, identity)

    def _take_up(self) -> None:
        """What was under way when the process ended is proposed again."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.system_attrs.get("fixed_params") or trial.params)

    def trials(self) -> list[tuple[int, Trial]]:
        """Number and outcome of each that has one, in order."""
        every = self.study.get_trials(deepcopy=False)
        return [(t.number, Trial.from_json(t.user_attrs[FOUND])) for t in every if FOUND in t.user_attrs]

    def waiting(self) -> int:
        """How many are proposed already."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def go(self, count: int, measure: Callable[[int, str], Trial], done: Callable[[int, Trial], None]) -> None:
        """Measure until there are `count` trials; of a grid no more than it has. measure: (number, recipe) -> outcome.
        done: told of each."""
        every, waiting = [found for _, found in self.trials()], self.waiting()
        before = {found.recipe: found for found in every}
        while len(every) < count and (not self.grid or waiting):
            trial, waiting = self.study.ask(), waiting - 1
            recipe = self.space.ask(trial)
            found = before.get(recipe) or measure(trial.number, recipe)
            before[recipe] = found
            every.append(found)
            trial.set_user_attr(FOUND, found.to_json())
            if found.failed:
                self.study.tell(trial, state=TrialState.FAIL)
            else:
                for name in ("size", "quality", "speed"):
                    trial.set_constraint(name, float(found.beyond.get(name, 0.0)))
                self.study.tell(trial, [_value(found, goal) for goal in self.goals])
            done(trial.number, found)

    def front(self) -> list[Trial]:
        """Those that keep what was wanted and that no other beats in every goal, the best in the first goal first."""
        kept = {found.recipe: found for _, found in self.trials() if found.kept}
        best = [one for one in kept.values() if not any(self._beats(other, one) for other in kept.values())]
        return sorted(best, key=lambda one: self._cost(one))

    def nearest(self) -> Trial | None:
        """Of those that do not keep it the one that misses by least, in sum; None where none has a result."""
        missed = [found for _, found in self.trials() if found.beyond]
        # A trial that fell at the first hurdle has not been asked at the others: those that came further are nearer.
        return min(
            missed, key=lambda one: (one.speed is None, one.lost is None, sum(one.beyond.values())), default=None
        )

    def _cost(self, one: Trial) -> tuple[float, ...]:
        return tuple((-1 if GOALS[goal][0] == "maximize" else 1) * _value(one, goal) for goal in self.goals)

    def _beats(self, one: Trial, other: Trial) -> bool:
        mine, its = self._cost(one), self._cost(other)
        return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))


def _value(found: Trial, goal: str) -> float:
    """The number sought; of what was not measured, as something before it was beyond its bound, the worst there is:
    samplers look at it only where nothing keeps the bounds."""
    value = getattr(found, GOALS[goal][1])
    if value is not None:
        return float(value)
    return 0.0 if GOALS[goal][0] == "maximize" else 1e9


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True, group=True)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=STARTUP)
    return RandomSampler(seed=seed)  # of a grid nothing is sampled: all of it is proposed
