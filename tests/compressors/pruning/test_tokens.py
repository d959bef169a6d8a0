"""Merged tokens: what becomes of them, that padding does not matter, and that the work really is less."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_architectures import make

from compressors import registry, surgery
from compressors.build import build
from compressors.conformance import HARDWARE, Subject, subject
from compressors.interface import Context, ModelSpec, Unsupported
from compressors.pruning.tokens import PruneTokens, merged, merged_mask
from compressors.runtimes.torch import TorchRuntime


@pytest.mark.parametrize("tokens", [2, 5, 8, 17])
def test_pairs_become_their_mean_without_padding(tokens: int) -> None:
    states = torch.randn(3, tokens, 4, generator=torch.Generator().manual_seed(tokens))
    real = torch.arange(tokens)[None] < torch.tensor([tokens, max(2, tokens - 2), 2])[:, None]
    found, whole = merged(states, real), merged(states, None)
    for row in range(3):
        for mask, got in ((real[row], found[row]), (torch.ones(tokens), whole[row])):
            want = [states[row, 0]]
            for start in range(1, tokens, 2):
                pair = [states[row, i] for i in range(start, min(start + 2, tokens)) if mask[i]]
                want.append(torch.stack(pair).mean(0) if pair else torch.zeros(4))
            torch.testing.assert_close(got, torch.stack(want))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_a_pair_may_look_and_be_looked_at_where_one_of_it_may(dtype: torch.dtype) -> None:
    may = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]).bool()
    wide = may[:, None, None, :] & torch.ones(1, 1, 6, 1).bool()
    want = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]).bool()  # the first, then of 2, 2 and 1
    for mask, shape in ((may[:, None, None, :], (2, 1, 1, 4)), (wide, (2, 1, 4, 4))):
        given = mask if dtype == torch.bool else torch.where(mask, 0.0, torch.finfo(dtype).min)
        found = merged_mask(given)
        assert found is not None and found.dtype == dtype and found.shape == shape
        assert torch.equal(found[:, 0, 0] if dtype == torch.bool else found[:, 0, 0] == 0, want)
    assert merged_mask(None) is None


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "electra", "vit", "deit"])
def test_padding_does_not_matter_and_the_work_is_less(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    compressor = PruneTokens(after=(1, 2), recovery_epochs=0)
    context = Context(made.spec, HARDWARE, made.dense.model, calibration=made.examples[:4], training=made.examples[:4])
    found = build([compressor], made.dense, context, tmp_path / "made")
    if "input_ids" in made.examples.inputs:
        short = {n: v[:3, :7] for n, v in made.examples.inputs.items()}
        short["attention_mask"] = torch.ones_like(short["input_ids"])
        long = {n: torch.nn.functional.pad(v, (0, 6), value=0) for n, v in short.items()}
        forward = found.load(threads=1)
        ends = [forward({n: np.ascontiguousarray(v.numpy()) for n, v in given.items()}) for given in (short, long)]
        np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)
    inputs = {n: np.ascontiguousarray(v[:2].numpy()) for n, v in made.examples.inputs.items()}
    runtime = TorchRuntime()
    before = runtime.executed(made.dense.directory, made.dense.manifest, inputs)
    after = runtime.executed(found.directory, found.manifest, inputs)
    assert before is not None and after is not None and after.total < 0.8 * before.total


def test_recovery_learns_it(tiny: Subject) -> None:
    def distance(epochs: float) -> float:
        compressor = PruneTokens(recovery_epochs=epochs, learning_rate=1e-3)
        model = compressor.compress(tiny.dense.model(), tiny.context(compressor)).model
        with torch.inference_mode():
            return float((model(**tiny.examples.inputs).logits - tiny.examples.dense_logits).norm())

    assert distance(3) < 0.8 * distance(0)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("llama-classifier", "told where tokens stand (rotary)"),
        ("modernbert", "told where tokens stand (rotary)"),
        ("mpnet", "told where tokens stand (relative)"),
        ("deberta", "told where tokens stand (rel_embeddings)"),
        ("bart-classifier", "it has a decoder"),
        ("t5", "it has a decoder"),
        ("albert", "it has 1 layer: after 1 none is left to gain"),
        ("bert-embedder", "its answers are the states of all tokens"),
        ("swin", "stages of different widths"),
        ("bert-words", "read from more than the first token"),
        ("gpt2", "predicts a token at every place"),
        ("gpt2-classifier", "read from more than the first token"),
        ("opt", "predicts a token at every place"),
    ],
)
def test_where_none_can_be_merged_it_says_so(name: str, told: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    compressor = PruneTokens(recovery_epochs=0)
    reason = registry.unsupported_reason(compressor, made.spec, HARDWARE)
    if reason is None:
        context = Context(made.spec, HARDWARE, made.dense.model, calibration=made.examples[:8])
        with pytest.raises(Unsupported) as found:
            compressor.compress(made.dense.model(), context)
        reason = str(found.value)
    assert told in reason and "\n" not in reason


@pytest.mark.parametrize("after", [(), (2, 1), (1, 1), (0,)])
def test_layers_in_another_order_are_refused(after: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be layers in ascending order, counted from 1"):
        PruneTokens(after=after)


def test_after_the_last_layer_nothing_is_gained() -> None:
    spec: ModelSpec = dataclasses.replace(subject("bert").spec)
    assert "after 4 none is left" in str(registry.unsupported_reason(PruneTokens(after=(4,)), spec, HARDWARE))
    assert surgery.structure_reason(spec, surgery.layer_list) is None
