"""The checks that every compressor must pass, ours and anyone's.

In a test of your own package:

    import pytest
    from compressors import conformance
    from my_package import MyCompressor

    @pytest.mark.parametrize("check", conformance.checks(MyCompressor()), ids=str)
    def test_conformance(check):
        check()

They run on a tiny BERT, a tiny ViT and a tiny Llama with made-up data (`tiny_specs.py`), in seconds. A model that the
compressor declares unsupported must come with a reason; at least one must be supported.
Does not check: accuracy, speed, or anything about a real model. The suite's cases do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compressors import artifact, registry
from compressors.artifact import Artifact
from compressors.build import build_step, find, run_step, save_step, step_entry
from compressors.interface import (
    Compressor,
    Context,
    Examples,
    Hardware,
    ModelSpec,
    PressbenchError,
)
from compressors.runtimes.base import runtime
from compressors.skeleton import skeleton
from compressors.tiny_specs import TINY_SPECS, tiny_examples
from compressors.witness import witness


class ConformanceError(AssertionError):
    """A compressor breaks the contract; the message says how."""


# -- subjects ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """A tiny model with data, as an artifact on disk."""

    spec: ModelSpec
    dense: Artifact
    examples: Examples

    def context(self, *steps: Compressor, seed: int = 0) -> Context:
        """What the suite would hand to these compressors."""
        needs = {need for step in steps for need in step.needs}
        return Context(
            model=self.spec,
            hardware=HARDWARE,
            dense=self.dense.model,
            seed=seed,
            calibration=self.examples[:16] if "calibration" in needs else None,
            training=self.examples if "training" in needs else None,
        )


HARDWARE = Hardware("cpu", "cpu-generic", frozenset({"bf16"}), threads=1)


@functools.cache
def subject(kind: str) -> Subject:
    """The tiny model of that kind ("bert", "vit", "llama"), its artifact in a folder that goes with the process."""
    spec = TINY_SPECS[kind]
    torch.manual_seed(11)
    model = skeleton(spec.config)
    with torch.no_grad():
        for parameter in model.parameters():
            # transformers starts out so small that every logit is nearly zero and nothing shows
            if parameter.ndim > 1:
                parameter.mul_(4)
    examples = tiny_examples(spec)
    logits = None
    if examples.labels is not None and examples.labels.dim() == 1:
        with torch.inference_mode():
            logits = model(**examples.inputs).logits.clone()
    dense = artifact.save(model, _folder() / f"{kind}-dense", spec)
    return Subject(spec, dense, Examples(examples.inputs, examples.labels, logits))


@functools.cache
def _keeper() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pressbench-conformance-")


def _folder() -> Path:
    return Path(tempfile.mkdtemp(dir=_keeper().name))


# -- checks --------------------------------------------------------------------------------------


@functools.cache
def _made(steps: tuple[Compressor, ...], kind: str) -> Artifact:
    """The artifact of a recipe, each beginning of one made once."""
    if not steps:
        return subject(kind).dense
    torch.set_num_threads(HARDWARE.threads)  # sums in another order are other weights
    context = subject(kind).context(*steps)
    return build_step(steps[-1], _made(steps[:-1], kind), context, _folder())


@functools.cache
def _again(steps: tuple[Compressor, ...], kind: str) -> tuple[np.ndarray, Artifact]:
    """The last step once more, from another random state: its answers in memory, then the artifact."""
    source, context = _made(steps[:-1], kind), subject(kind).context(*steps)
    torch.set_num_threads(HARDWARE.threads)
    torch.manual_seed(1001)  # the state before must not matter
    result, entry = run_step(steps[-1], source, context)
    forward = runtime(result.runtime).attach(result.model, _exact(result.options), device="cpu", threads=1)
    return forward(_inputs(kind)), save_step(result, entry, source, context, _folder())


def _inputs(kind: str) -> dict[str, np.ndarray]:
    return {name: values.numpy() for name, values in subject(kind).examples.inputs.items()}


def _exact(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same in fp32 where a precision is chosen: OpenVINO may fuse the rotary embeddings of a graph that was read
    back and not those of the one in memory, which at bf16 are rounded at other places."""
    return {**options, **({"precision": "fp32"} if "precision" in options else {})}


def _outputs(made: Artifact, kind: str) -> np.ndarray:
    return made.load(threads=1)(_inputs(kind))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def reload_gives_the_same_outputs(compressor: Compressor, kind: str) -> None:
    """The last step's result answers the same in memory and after saving and loading, in fp32."""
    before, made = _again(compressor.steps, kind)
    exact = {**made.manifest, "options": _exact(made.manifest["options"])}
    after = _outputs(dataclasses.replace(made, manifest=exact), kind)
    _require(bool(np.isfinite(after).all()), f"{compressor.name}: the reloaded artifact answers NaN or infinity")
    worst = float(np.abs(before - after).max())
    limit = 1e-5 * max(1.0, float(np.abs(before).max()))
    _require(worst <= limit, f"{compressor.name}: outputs differ by {worst:.3g} after reloading")


def same_seed_gives_the_same_artifact(compressor: Compressor, kind: str) -> None:
    """Two runs of the last step with one seed give the same weights or, for a format whose writer
    numbers its nodes anew each time, bit-identical answers."""
    first, (_, second) = _made(compressor.steps, kind), _again(compressor.steps, kind)
    if first.digest != second.digest:
        torch_too = first.manifest["runtime"] == "torch"
        _require(not torch_too, f"{compressor.name}: two runs with the same seed gave different weights")
        same = np.array_equal(_outputs(first, kind), _outputs(second, kind))
        _require(same, f"{compressor.name}: two runs with the same seed give different answers")


def what_is_kept_changes_nothing(compressor: Compressor, kind: str) -> None:
    """What the suite keeps of `find` gives the artifact that looking anew gives, and looking leaves the model alone."""
    *before, last = compressor.steps
    if last.finds_by is None:
        return
    _require(set(last.finds_by) <= set(last.parameters), f"{last.name}.finds_by names what is no parameter")
    source, context = _made(tuple(before), kind), subject(kind).context(*compressor.steps)
    torch.set_num_threads(HARDWARE.threads)
    kept = dataclasses.replace(context, found=find(last, source, context))
    made = build_step(last, source, kept, _folder())
    same = made.digest == _made(compressor.steps, kind).digest
    _require(same, f"{last.name}: what `find` found before gives another artifact than looking anew")


def effect_is_witnessed(compressor: Compressor, kind: str) -> None:
    """What it claims to change did change: a compressor that does nothing fails here."""
    few = {name: values[:8] for name, values in _inputs(kind).items()}
    _, fault = witness(subject(kind).dense, _made(compressor.steps, kind), compressor.effect, few)
    _require(fault is None, f"{compressor.name}: {compressor.effect} effect not witnessed: {fault}")


def size_claimed_is_size_on_disk(compressor: Compressor, kind: str) -> None:
    """Every file in the folder is listed with its real size, also once the artifact has been loaded."""
    made = _made(compressor.steps, kind)
    with contextlib.suppress(Exception):  # whether it loads is another check's to tell
        made.load(threads=1)
    listed = {made.directory / name: facts["bytes"] for name, facts in made.manifest["files"].items()}
    listed[made.directory / artifact.MANIFEST] = (made.directory / artifact.MANIFEST).stat().st_size
    on_disk = {p: p.stat().st_size for p in made.directory.rglob("*") if p.is_file()}
    _require(listed == on_disk, f"{compressor.name}: the manifest does not list what is on disk")
    _require(made.disk_bytes == sum(on_disk.values()), f"{compressor.name}: the size claimed is not the size on disk")


def parameters_survive_json(compressor: Compressor, kind: str) -> None:
    """The recipe in an artifact rebuilds the very same compressor."""
    _require(dataclasses.is_dataclass(compressor), f"{compressor.name} must be a frozen dataclass")
    for step in (compressor, *compressor.steps):
        try:
            entry = json.loads(json.dumps(step_entry(step), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ConformanceError(f"{step.name}: its parameters are no JSON values: {error}") from None
        cls = type(step)
        frozen = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["parameters"].items()}
        _require(cls(**frozen) == step, f"{step.name}: its parameters do not survive JSON: {entry['parameters']}")


def unsupported_is_a_reason(compressor: Compressor, kind: str) -> None:
    """`supports` answers None or one line of text, also for a model without attention or vocabulary."""
    odd = ModelSpec("no-transformer", {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}, {})
    for spec in (*TINY_SPECS.values(), odd):
        try:
            reason = compressor.supports(spec, HARDWARE)
        except Exception as error:
            raise ConformanceError(f"{compressor.name}.supports raised for {spec.name}: {error!r}") from error
        plain = reason is None or (isinstance(reason, str) and bool(reason.strip()) and "\n" not in reason)
        _require(plain, f"{compressor.name}.supports({spec.name}) must be None or one line, not {reason!r}")


CHECKS: tuple[Callable[[Compressor, str], None], ...] = (
    unsupported_is_a_reason,
    parameters_survive_json,
    reload_gives_the_same_outputs,
    same_seed_gives_the_same_artifact,
    what_is_kept_changes_nothing,
    effect_is_witnessed,
    size_claimed_is_size_on_disk,
)


@dataclass(frozen=True)
class Check:
    """One check of one compressor on one tiny model; call it. Its text is a readable test id."""

    check: Callable[[Compressor, str], None]
    compressor: Compressor
    kind: str
    label: str

    def __call__(self) -> None:
        self.check(self.compressor, self.kind)

    def __str__(self) -> str:
        return f"{self.label}-{self.kind}-{self.check.__name__}"


def checks(compressor: Compressor, label: str | None = None, hardware: Hardware = HARDWARE) -> list[Check]:
    """Every check on every tiny model that the compressor supports on `hardware`. All run on the CPU: a method for
    another device is checked there by what its layers answer, where they can.

    Raises ConformanceError where it supports none of them."""
    name = label or compressor.name
    registry.register(type(compressor))  # loading goes by name; a class under test may have no entry point yet
    supported = [kind for kind, spec in TINY_SPECS.items() if _supports(compressor, spec, hardware)]
    if not supported:
        raise ConformanceError(f"{name} supports none of a tiny BERT, ViT and Llama; there is nothing to check it on")
    return list(_checks(compressor, supported, name))


def _supports(compressor: Compressor, spec: ModelSpec, hardware: Hardware) -> bool:
    try:
        return not registry.unsupported_reason(compressor, spec, hardware)
    except PressbenchError:  # `unsupported_is_a_reason` tells
        return True


def _checks(compressor: Compressor, kinds: list[str], label: str) -> Iterator[Check]:
    for kind in kinds:
        for check in CHECKS:
            yield Check(check, compressor, kind, label)
