"""Information of a unit with the label: against scikit-learn on the same numbers, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.feature_selection import mutual_info_classif

from compressors.conformance import Subject
from compressors.interface import Examples, Unsupported
from compressors.pruning.information import PruneInformation, activations, mutual_information
from compressors.registry import unsupported_reason
from compressors.units import blocks


def test_it_agrees_with_scikit_learn_on_the_same_numbers() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (600,), generator=generator)
    strength = torch.linspace(0, 3, 25)
    values = labels[:, None] * strength + torch.randn(600, 25, generator=generator)
    ours = mutual_information(values, labels)
    theirs = torch.from_numpy(mutual_info_classif(values.numpy(), labels.numpy(), random_state=0)).float()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.98
    assert float((ours - theirs).abs().max()) < 0.2  # bins of an eighth see a little less


def test_a_unit_that_says_all_and_one_that_says_nothing() -> None:
    labels = torch.arange(4).repeat(100)
    values = torch.stack(
        [labels.float(), torch.zeros(400), torch.rand(400, generator=torch.Generator().manual_seed(1))], 1
    )
    told = mutual_information(values, labels)
    assert float(told[0]) == pytest.approx(math.log(4), abs=0.02)
    assert told[1:].tolist() == pytest.approx([0, 0], abs=0.02)


def test_what_an_example_says_is_a_mean_over_its_real_positions(tiny_bert: Subject) -> None:
    model = tiny_bert.dense.model()
    compressor = PruneInformation()
    context = tiny_bert.context(compressor)
    found = activations(model, context, batch_size=5)
    block = blocks(model)[1]
    seen: list[torch.Tensor] = []
    layer = model.get_submodule(block.feed_forward.contract)
    layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    calibration = context.require_calibration()
    for i in range(3):
        one = calibration[i : i + 1]
        with torch.inference_mode():
            model(**one.inputs)
        real = one.inputs["attention_mask"][0].bool()
        torch.testing.assert_close(
            found[block.feed_forward.contract][i], seen[-1][0][real].mean(0), rtol=0.05, atol=0.02
        )
    assert found[block.attention.output].shape == (len(calibration), block.attention.heads)


def test_without_a_label_for_each_example_it_says_so(tiny_bert: Subject) -> None:
    from dataclasses import replace

    from compressors.conformance import HARDWARE, subject

    compressor = PruneInformation(recovery_epochs=0)
    blind = replace(tiny_bert.context(compressor), calibration=Examples(tiny_bert.examples.inputs))
    with pytest.raises(Unsupported, match="no label for each example"):
        compressor.compress(tiny_bert.dense.model(), blind)
    llama = subject("llama")
    with pytest.raises(Unsupported, match="no label for each example"):
        compressor.compress(llama.dense.model(), llama.context(compressor))
    embedder = replace(tiny_bert.spec, output="last_hidden_state")
    assert "needs labels" in str(unsupported_reason(compressor, embedder, HARDWARE))
