"""What all scores of weights keep: shares, patterns, what stays out; and what does not fit one is said in one line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))
from pruned_models import ALONE, pruned

from compressors import conformance, registry
from compressors.build import find
from compressors.conformance import Subject, subject
from compressors.interface import Examples, PressbenchError, Unsupported
from compressors.pruning.fisher import PruneFisher
from compressors.pruning.gradient import PruneGradient
from compressors.pruning.magnitude import PruneMagnitude
from compressors.pruning.movement import PruneMovement
from compressors.pruning.random import PruneRandom
from compressors.pruning.regularized import PruneRegularized
from compressors.pruning.sparsegpt import PruneSparsegpt
from compressors.pruning.threshold import PruneThreshold
from compressors.pruning.wanda import PruneWanda
from compressors.pruning.weights import PruneWeights, covered, cubic
from compressors.registry import unsupported_reason

SCORES = [PruneRandom, PruneMagnitude, PruneGradient, PruneFisher, PruneWanda, PruneSparsegpt, PruneRegularized]


# -- what all of them keep -------------------------------------------------------------------------


@pytest.mark.parametrize("score", [s for s in SCORES if s is not PruneRegularized], ids=lambda cls: cls.name)
def test_the_share_is_exact_and_what_stays_out_stays(score: type[PruneWeights], tiny: Subject) -> None:
    compressor = score(sparsity=0.6, embeddings=False, **ALONE)
    before = tiny.dense.model()
    result = compressor.compress(tiny.dense.model(), tiny.context(compressor))
    weights = covered(result.model, embeddings=False)
    for name, weight in weights.items():
        rows = round(0.6 * weight.shape[1]) * weight.shape[0]
        want = rows if compressor.scope == "row" else round(0.6 * weight.numel())
        assert int((weight == 0).sum()) == want, name
    assert result.structure["sparsity"] == pytest.approx(0.6, abs=0.02)
    names = {f"{name}.weight" for name in weights}
    for name, value in before.state_dict().items():
        assert (name in names) != torch.equal(result.model.state_dict()[name], value), name


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "4x4"])
@pytest.mark.parametrize("score", SCORES, ids=lambda cls: cls.name)
def test_every_pattern_of_every_score(score: type[PruneWeights], pattern: str, tiny_bert: Subject) -> None:
    scope = "layer" if "x" in pattern else score().scope
    if score is PruneSparsegpt and "x" in pattern:
        with pytest.raises(ValueError, match="chooses column by column"):
            score(pattern=pattern, scope=scope)
        return
    compressor = score(pattern=pattern, scope=scope, embeddings=False, **ALONE)
    for name, weight in covered(pruned(tiny_bert, compressor), embeddings=False).items():
        zeros = weight == 0
        if "x" in pattern:
            blocks = zeros.unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).sum((1, 3))
            assert set(blocks.flatten().tolist()) == {0, 16}, name
        else:
            gone, group = map(int, pattern.split(":"))
            assert (zeros.reshape(-1, group).sum(1) == gone).all(), name


@pytest.mark.parametrize("score", [PruneMagnitude, PruneWanda, PruneFisher], ids=lambda cls: cls.name)
def test_gradual_ends_at_its_share_and_held_it_while_it_trained(score: type[PruneWeights], tiny_bert: Subject) -> None:
    compressor = score(sparsity=0.7, schedule="gradual", recovery_epochs=0.6, learning_rate=1e-3, embeddings=False)
    dense = covered(tiny_bert.dense.model(), embeddings=False)
    for name, weight in covered(pruned(tiny_bert, compressor), embeddings=False).items():
        assert int((weight == 0).sum()) / weight.numel() == pytest.approx(0.7, abs=0.01), name
        assert not torch.equal(weight[weight != 0], dense[name][weight != 0])


def test_the_ramp_is_cubic() -> None:
    assert [cubic(0.8, x) for x in (0, 0.5, 1, 1.4)] == pytest.approx([0, 0.7, 0.8, 0.8])


# -- what does not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PruneWanda(embeddings=True), "embeddings = True: a table that is looked up in multiplies nothing"),
        (lambda: PruneWanda(scope="global"), "scope = 'global': goes block by block"),
        (lambda: PruneSparsegpt(schedule="gradual"), "schedule = 'gradual': what is left is changed at once too"),
        (lambda: PruneSparsegpt(pattern="3:5", sparsity=0.6), "pattern = '3:5': 5 must divide the 128 inputs"),
        (lambda: PruneSparsegpt(damping=0), "damping = 0: must be above 0"),
        (lambda: PruneFisher(schedule="slowly"), "schedule = 'slowly': must be one of at-once, gradual"),
        (lambda: PruneFisher(schedule="gradual", recovery_epochs=0), "schedule = 'gradual': prunes while it recovers"),
        (lambda: PruneRandom(schedule="gradual", pattern="2:4"), "schedule = 'gradual': 2:4 is all or nothing"),
        (lambda: PruneMovement(schedule="at-once"), "schedule = 'at-once': the scores are learnt on the way"),
        (lambda: PruneRegularized(penalty="l0"), "penalty = 'l0': must be one of l1, l2"),
        (lambda: PruneRegularized(pull=0), "pull = 0: must be above 0, at most 2"),
        (lambda: PruneRegularized(schedule="gradual"), "schedule = 'gradual': the penalty is what prunes"),
        (lambda: PruneThreshold(threshold=0), "threshold = 0: must be above 0"),
        (lambda: PruneThreshold(relative="share"), "relative = 'share': must be one of deviation, absolute"),
    ],
)
def test_what_does_not_fit_is_one_line(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError) as found:
        make()
    assert str(found.value).startswith(told) and "\n" not in str(found.value)


@pytest.mark.parametrize("score", [PruneGradient, PruneFisher], ids=lambda cls: cls.name)
def test_a_score_without_labels_says_so(score: type[PruneWeights], tiny_bert: Subject) -> None:
    embedding = dataclasses.replace(tiny_bert.spec, output="last_hidden_state")
    assert "needs labels and a loss" in str(unsupported_reason(score(), embedding, conformance.HARDWARE))
    context = tiny_bert.context(score())
    blind = dataclasses.replace(context, calibration=Examples(tiny_bert.examples.inputs))
    with pytest.raises(Unsupported, match="no labels"):
        score(**ALONE).compress(tiny_bert.dense.model(), blind)


def test_a_block_that_does_not_divide_is_unsupported_before_any_work() -> None:
    reason = unsupported_reason(PruneMagnitude(pattern="5x4"), subject("bert").spec, conformance.HARDWARE)
    assert reason and reason.endswith("is 64 x 64: pattern '5x4' does not divide it")


def test_what_a_score_of_ones_own_depends_on_is_part_of_what_is_kept() -> None:
    """The fault: a subclass with a field of its own shared what its first value had found."""

    @dataclass(frozen=True)
    class Powered(PruneGradient):
        power: float = 1.0

    assert Powered(power=1.0).finds_by != Powered(power=3.0).finds_by
    assert Powered(sparsity=0.3).finds_by == Powered(sparsity=0.7).finds_by
    assert Powered(schedule="gradual", recovery_epochs=1.0).finds_by is None


def test_a_model_of_another_runtime_is_refused_before_anything_is_looked_for(
    tiny_bert: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PruneGradient, "takes", "onnxruntime")
    with pytest.raises(PressbenchError, match="prune-gradient takes a onnxruntime model and cannot follow the dense"):
        find(PruneGradient(), tiny_bert.dense, tiny_bert.context(PruneGradient()))


@pytest.mark.parametrize("label", ["prune-regularized", "prune-group-lasso"])
def test_a_pull_that_would_be_rounded_away_is_refused(label: str, tiny_bert: Subject) -> None:
    compressor = registry.build(label)
    model = tiny_bert.dense.model().bfloat16()
    with pytest.raises(Unsupported, match=f"{label}: its weights are torch.bfloat16, which a small pull does not move"):
        compressor.compress(model, tiny_bert.context(compressor))
