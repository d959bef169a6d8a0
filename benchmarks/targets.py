"""`baselines/targets.toml`: what each case must reach, validated on load.

    [minilm-bbc.int8-openvino]
    accuracy_drop = 0.02                  # at most, as a fraction of examples, paired
    size = 0.27                           # of the dense model's bytes on disk, at most
    speed = { cpu-amx = 2.5, cpu-vnni = 2.5 }   # against dense torch fp32, at least, by hardware class

A file with no table at all is an error; an empty one, `[minilm-bbc]`, says that nothing is promised on purpose.

An unknown key, a model or compressor that does not exist, or a speed target on a method that claims no
faster kernel is an error that names file and key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pydantic

from benchmarks.hardware import is_class
from compressors.interface import Compressor, PressbenchError
from compressors.registry import nearest

Fraction = Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]
Ratio = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class Target(pydantic.BaseModel):
    """The contract of one compressor on one model; None where nothing is claimed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    accuracy_drop: Fraction | None = None
    size: Ratio | None = None
    speed: Mapping[str, Ratio] = {}


class TargetsError(PressbenchError):
    """A mistake in targets.toml: file and key."""


Targets = Mapping[str, Mapping[str, Target]]
"""model -> compressor id -> target."""


def load_targets(path: Path, models: set[str], compressors: Mapping[str, Compressor]) -> Targets:
    """Read and check the file. models: the known names; compressors: every variant of every tier by id."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TargetsError(f"{path}: not found") from None
    except OSError as error:
        raise TargetsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TargetsError(f"{path}: {error}") from None
    if not data:  # as good as no file, which is refused too: every claim would pass unjudged
        raise TargetsError(
            f"{path}: nothing is promised there: state a [MODEL.COMPRESSOR], or an empty [MODEL] to judge by no target"
        )
    found: dict[str, dict[str, Target]] = {}
    for model, cases in data.items():
        if model not in models:
            raise TargetsError(f"{path}: [{model}]: unknown model{nearest(model, models)}")
        if not isinstance(cases, dict):
            raise TargetsError(f"{path}: {model} must be a table of compressors")
        for name, values in cases.items():
            where = f"{path}: [{model}.{name}]"
            if name not in compressors:
                raise TargetsError(f"{where}: no such case{nearest(name, compressors)}")
            target = _target(where, values)
            effect = compressors[name].effect
            if target.speed and effect != "kernel":
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
        key = ".".join(str(part) for part in first["loc"]) or "the table"
        known = f"; known keys: {', '.join(Target.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise TargetsError(f"{where} {key}: {first['msg']}, got {first['input']!r}{known}") from None
    for hardware_class in target.speed:
        if not is_class(hardware_class):
            raise TargetsError(
                f"{where} speed.{hardware_class}: not a hardware class; classes look like cpu-vnni, cuda-sm90"
            )
    return target
