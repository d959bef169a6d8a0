"""What a kind of task is: which head and columns it wants, how rows become examples, how answers are scored.

One file each in `kinds`, which declares `KIND`; adding one edits nothing else.
"""

from __future__ import annotations

import abc
import functools
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.quality.scoring import Quality
from benchmarks.zoo.own.checkpoint import Checkpoint
from benchmarks.zoo.own.declaration import Declaration
from benchmarks.zoo.own.table import Table
from benchmarks.zoo.owners_run import OwnersRun
from benchmarks.zoo.workload import Workload
from compressors.interface import Examples, InputSpec, PressbenchError
from compressors.registry import nearest

Row = dict[str, Any]
"""A row in the words of its kind, JSON and bytes only. `place` says where it is from; `label` a class, if any."""


@dataclass(frozen=True)
class Fitted:
    """How rows become inputs. settings: what `encode` needs, JSON. inputs: what the model is fed. notes: what a person
    should know."""

    settings: Mapping[str, Any]
    inputs: Mapping[str, InputSpec]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """Rows as a kind reads them. labels: names of the classes, where there are classes. notes: as in Fitted."""

    rows: Sequence[Row]
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


class Kind(abc.ABC):
    """One kind of task. Stateless."""

    name: ClassVar[str]
    heads: ClassVar[tuple[str, ...]]
    """How the names of the classes of transformers end that have the head."""
    roles: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    bound: ClassVar[str] = "accuracy_drop"
    """The key of targets that states what may be lost, as its quality has it."""
    distinct: ClassVar[tuple[str, ...]]
    """Keys of a row in which no two rows may be the same: a text on both sides of a split would test memory."""
    test_examples: ClassVar[int] = 1000
    training_examples: ClassVar[int] = 2000
    """At most, unless the user says how many."""
    fewest_tested: ClassVar[int] = 10
    """Examples without which nothing can be said of quality."""
    evaluation_batch: ClassVar[int] = 16
    flip_examples: ClassVar[int] = 64
    also: ClassVar[tuple[str, ...]] = ()
    """As in Model."""

    @abc.abstractmethod
    def read(self, table: Table, columns: Mapping[str, str], model: Checkpoint, said: Declaration) -> Read:
        """The rows in the words of this kind. Raises DataError for the first one that is not as it should be."""

    @abc.abstractmethod
    def fit(self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, said: Declaration) -> Fitted:
        """How the rows of `train` and `test` become inputs. Raises ModelError or DataError where they cannot."""

    @abc.abstractmethod
    def encode(self, rows: Mapping[str, Sequence[Any]], folder: Path, settings: Mapping[str, Any]) -> Examples:
        """rows: by column. folder: of the model's small files. settings: as `fit` gave them."""

    @abc.abstractmethod
    def quality(self, settings: Mapping[str, Any], folder: Path) -> Quality:
        """How answers are scored."""

    @abc.abstractmethod
    def workloads(self, settings: Mapping[str, Any]) -> tuple[tuple[Workload, ...], tuple[Workload, ...]]:
        """Those of every tier, the usual one first, and those of the nightly one, unless the user says which."""

    def fit_beside(
        self, rows: Mapping[str, Sequence[Row]], model: Checkpoint, dense: Checkpoint, tokens: int
    ) -> Fitted | None:
        """As `fit`, for a model that reads as much of each text as `dense` reads in so many tokens, by a tokenizer of
        its own, and is scored by the texts; None where numbers are by token. Raises ModelError or DataError."""
        return None

    def settled(self, model: Checkpoint) -> Checkpoint:
        """The model, with what its folder leaves open or contradicts settled, and a note of it."""
        return model

    def owners_run(
        self, rows: Mapping[str, Sequence[Any]], whole: Path, model: Checkpoint, settings: Mapping[str, Any]
    ) -> OwnersRun | None:
        """Rows of the test split as the model's owner runs it, see `benchmarks.zoo.owners_run`. whole: the folder with
        its weights."""
        return None

    def arrange(self, rows: Sequence[Row], model: Checkpoint, said: Declaration) -> Sequence[Row]:
        """The rows of one split as examples: one each, unless a kind makes something else of them."""
        return rows

    def in_order(self, said: Declaration) -> bool:
        """Whether rows belong together as they stand, and must not be shuffled."""
        return False

    def fits(self, architecture: str) -> bool:
        """Whether a class of transformers has the head."""
        return architecture.endswith(self.heads)

    def claims(self, model: Checkpoint) -> bool:
        """Whether a model is of this kind where nobody says which: it has the head, and its configuration nothing
        against it."""
        return self.fits(model.architecture)

    def expects(self, table: Table, model: Checkpoint, said: Declaration) -> None:
        """Raises DataError for a table that is plainly another kind's, before its columns are looked for."""
        return None

    def memory_workload(self, settings: Mapping[str, Any]) -> Workload | None:
        """As in Model."""
        return None

    def shown(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a person is shown of a row, as `benchmarks.quality.shown` says."""
        return {"text": row["text"]} if "text" in row else {}


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every kind by name."""
    from benchmarks.zoo.own import kinds as package

    modules = (importlib.import_module(f"{package.__name__}.{i.name}") for i in pkgutil.iter_modules(package.__path__))
    return {module.KIND.name: module.KIND for module in modules}


def find_kind(task: str | None, model: Checkpoint) -> Kind:
    """The kind that the user named, else the one kind whose head the model has. Raises PressbenchError."""
    known = kinds()
    if task is None:
        fitting = [kind for kind in known.values() if kind.claims(model)]
        if len(fitting) == 1:
            return fitting[0]
        found = f"{model.said} is {model.architecture}"
        if not fitting:
            raise PressbenchError(f"{found}, whose task is not scored here; those that are: {', '.join(known)}")
        named = [kind.name for kind in fitting]
        raise PressbenchError(f"{found}, which does {' or '.join(named)}: say which, task = {'|'.join(named)}")
    if task not in known:
        raise PressbenchError(f"unknown task {task!r}{nearest(task, known)}")
    if not known[task].fits(model.architecture):
        wanted = " or ".join(f"…{ending}" for ending in known[task].heads)
        raise PressbenchError(
            f"{model.said}: {model.architecture} has no head for {task}, which takes {wanted}; fine-tune one for the "
            "task and name that"
        )
    return known[task]
