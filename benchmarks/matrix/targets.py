"""`baselines/targets.toml`: what each case must reach, validated on load.

    [minilm-bbc.int8-openvino]
    accuracy_drop = 0.02                  # at most, as a fraction of examples, paired; of a language model
                                          # perplexity_rise, as a fraction of the dense model's perplexity; of
                                          # generated text score_drop, 0.01 being one point of chrF or ROUGE-L
    worst_class_drop = 0.10               # at most, of the class that lost most, as a fraction of its examples
    agreement = 0.95                      # with the dense model's answers, at least, as a fraction of them
    ece_rise = 0.02                       # of the expected calibration error, at most
    size = 0.27                           # of the dense model's bytes on disk, at most
    speed = { cpu-amx = 2.5, cpu-vnni = 2.5 }   # against dense torch fp32, at least, by hardware class, on
                                          # the model's usual workload; on another one by its name:
    speed.decode-1x128-16 = { cpu-amx = 3.2 }

A file with no table at all is an error; an empty one, `[minilm-bbc]`, says that nothing is promised on purpose.

Targets may lie in several files: those in the folder `targets.d` beside `targets.toml` are read with it, so that a
method brings its own. A case is stated once.

An unknown key, a model or compressor that does not exist, or a speed target on a method that claims no
faster kernel is an error that names file and key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pydantic

from benchmarks.hardware import is_class
from benchmarks.toml_file import read_toml
from benchmarks.zoo.model import Model
from compressors.interface import Compressor, PressbenchError
from compressors.registry import nearest

Fraction = Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]
Ratio = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


_TAGS = ("<class>", "<workload>")
_Speed = Annotated[
    Annotated[Ratio, pydantic.Tag(_TAGS[0])] | Annotated[Mapping[str, Ratio], pydantic.Tag(_TAGS[1])],
    pydantic.Discriminator(lambda value: _TAGS[isinstance(value, Mapping)]),
]
"""A speed-up on a class of hardware, or of a workload: those by class."""


class Target(pydantic.BaseModel):
    """The contract of one compressor on one model; None where nothing is claimed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    accuracy_drop: Fraction | None = None
    perplexity_rise: Ratio | None = None
    score_drop: Fraction | None = None
    agreement: Fraction | None = None
    worst_class_drop: Fraction | None = None
    ece_rise: Fraction | None = None
    size: Ratio | None = None
    speed: Mapping[str, _Speed] = {}

    def speed_on(self, hardware_class: str, workload: str | None) -> float | None:
        """The speed-up stated for a class of hardware on a workload, None being the usual one."""
        stated: object = self.speed if workload is None else self.speed.get(workload)
        found = stated.get(hardware_class) if isinstance(stated, Mapping) else None
        return None if found is None or isinstance(found, Mapping) else float(found)

    def tightened(self, key: str, bound: float) -> Target:
        """With at most `bound` for one of QUALITY: what is stated stays where it is tighter."""
        stated: float | None = getattr(self, key)
        return self if stated is not None and stated <= bound else self.model_copy(update={key: bound})


class TargetsError(PressbenchError):
    """A mistake in targets.toml: file and key."""


Targets = Mapping[str, Mapping[str, Target]]
"""model -> compressor id -> target."""


QUALITY = {"accuracy_drop", "perplexity_rise", "score_drop"}
BESIDE = {"agreement", "worst_class_drop", "ece_rise"}
"""What may be stated beside the average, where a task has it."""
"""The keys of which each model has one: how its task is scored decides which."""


@dataclass(frozen=True)
class Stated:
    """What can be stated of a model. quality: which of QUALITY; workloads: the names of all but the usual one."""

    quality: str
    workloads: tuple[str, ...] = ()
    more: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: Model) -> Stated:
        """What targets may state of one model."""
        quality, workloads = model.task.quality, model.workloads_of("full")[1:]
        return cls(quality.bound, tuple(w.name for w in workloads), quality.more_bounds)


def target_files(path: Path) -> list[Path]:
    """The file, and those in the folder beside it: of `targets.toml` the folder `targets.d`."""
    return [path, *sorted((path.parent / f"{path.stem}.d").glob("*.toml"))]


def load_targets(
    path: Path, models: Mapping[str, Stated], compressors: Mapping[str, Compressor], elsewhere: Mapping[str, str] = {}
) -> Targets:
    """Read and check the files. models: the known names; compressors: every variant of every tier by id; elsewhere:
    models whose targets another file states, and which."""
    found: dict[str, dict[str, Target]] = {}
    stated: dict[tuple[str, str], Path] = {}
    for file in target_files(path):
        data = read_toml(file, str(file), TargetsError)
        if not data:  # as good as no file, which is refused too: every claim would pass unjudged
            raise TargetsError(
                f"{file}: nothing is promised there: state a [MODEL.COMPRESSOR], or an empty [MODEL] to judge by no "
                "target"
            )
        for model, cases in parse_targets(str(file), data, models, compressors).items():
            if model in elsewhere:
                raise TargetsError(f"{file}: [{model}]: {elsewhere[model]} states targets of it too; keep one of them")
            for name, target in cases.items():
                if other := stated.get((model, name)):
                    raise TargetsError(f"{file}: [{model}.{name}]: {other} states it too; keep one of them")
                stated[model, name] = file
                found.setdefault(model, {})[name] = target
    return found


def parse_targets(
    path: str,
    data: Mapping[str, object],
    models: Mapping[str, Stated],
    compressors: Mapping[str, Compressor],
    within: str = "",
) -> Targets:
    """Check tables of targets by model. path: the file that they are from; within: what stands between the names of
    model and compressor there; for messages."""
    found: dict[str, dict[str, Target]] = {}
    for model, cases in data.items():
        if model not in models:
            raise TargetsError(f"{path}: [{model}]: unknown model{nearest(model, models)}")
        if not isinstance(cases, dict):
            raise TargetsError(f"{path}: {model} must be a table of compressors")
        for name, values in cases.items():
            where = f"{path}: [{model}{within}.{name}]"
            if name not in compressors:
                raise TargetsError(f"{where}: no such case{nearest(name, compressors)}")
            target = _target(where, values)
            for key in sorted(QUALITY & target.model_fields_set - {models[model].quality}):
                raise TargetsError(f"{where} {key}: {model} is judged by {models[model].quality}; state that")
            for key in sorted(BESIDE & target.model_fields_set - models[model].more):
                raise TargetsError(
                    f"{where} {key}: not judged for the task of {model}{nearest(key, models[model].more)}"
                )
            for key in (key for key, stated in target.speed.items() if isinstance(stated, Mapping)):
                if key not in models[model].workloads:
                    raise TargetsError(f"{where} speed.{key}: no such workload{nearest(key, models[model].workloads)}")
            effect = compressors[name].effect
            if target.speed and effect not in ("kernel", None):  # None: files that were given claim nothing
                raise TargetsError(
                    f"{where} speed: the effect of {name} is {effect!r}; only 'kernel' may claim a speed"
                )
            found.setdefault(model, {})[name] = target
    return found


def _target(where: str, values: object) -> Target:
    try:
        target = Target.model_validate(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in _TAGS) or "the table"
        known = f"; known keys: {', '.join(Target.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise TargetsError(f"{where} {key}: {first['msg']}, got {first['input']!r}{known}") from None
    for key, stated in target.speed.items():
        for path in [f"{key}.{inner}" for inner in stated] if isinstance(stated, Mapping) else [key]:
            if not is_class(path.rpartition(".")[2]):
                raise TargetsError(f"{where} speed.{path}: not a hardware class; classes look like cpu-vnni, cuda-sm90")
    return target
