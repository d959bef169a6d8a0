"""Prefill and decode with a cache against transformers' own generation, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compressors import conformance
from compressors.interface import Unsupported
from compressors.pruning.layers import PruneLayers, block_influence
from compressors.runtimes.generation import TorchGenerator
from compressors.surgery import get, layer_list


def test_greedy_tokens_are_those_of_transformers_and_can_be_asked_for_again() -> None:
    dense = conformance.subject("llama").dense
    prompts = np.random.default_rng(0).integers(1, 600, (3, 10))
    generator = dense.generator()
    first = generator.prefill(prompts)
    found = generator.decode(first, 12)
    model = dense.model()
    with torch.inference_mode():
        wanted = model.generate(
            torch.from_numpy(prompts), attention_mask=torch.ones(3, 10, dtype=torch.int64), max_new_tokens=13,
            do_sample=False, use_cache=False, pad_token_id=0, eos_token_id=None,
        )[:, 10:].numpy()  # fmt: skip
    assert np.array_equal(np.column_stack([first, found]), wanted)
    assert np.array_equal(generator.decode(first, 12), found)  # the cache was put back
    assert not np.array_equal(generator.decode((first + 1) % 600, 12), found)  # and what is asked for matters


def test_a_model_without_words_to_write_says_so() -> None:
    with pytest.raises(Unsupported, match="BertForSequenceClassification generates no text"):
        conformance.subject("bert").dense.generator()


def test_a_model_with_fewer_layers_generates_as_it_would_without_a_cache() -> None:
    """The cache is indexed by layer: numbers left from before would be out of its range, or leave holes."""
    tiny = conformance.subject("llama")
    method = PruneLayers(removed=0.5, recovery_epochs=0)
    model = method.compress(tiny.dense.model(), tiny.context(method)).model
    generator, prompts = TorchGenerator(model, "cpu"), np.random.default_rng(1).integers(1, 600, (2, 7))
    first = generator.prefill(prompts)
    found = np.column_stack([first, generator.decode(first, 5)])
    ids = torch.from_numpy(prompts)
    with torch.inference_mode():
        for column in range(found.shape[1]):
            following = model(input_ids=ids).logits[:, -1].argmax(-1)
            assert following.tolist() == found[:, column].tolist()
            ids = torch.cat([ids, following[:, None]], 1)


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_a_layer_that_does_nothing_is_the_first_to_go(kind: str) -> None:
    tiny = conformance.subject(kind)
    method = PruneLayers(removed=0.25, recovery_epochs=0)
    model = tiny.dense.model()
    idle = get(model, layer_list(model))[1]
    idle.forward = lambda *args, **given: args[0] if args else given["hidden_states"]
    influence = block_influence(model, tiny.context(method))
    assert influence.argmin() == 1 and influence[1] == pytest.approx(0, abs=1e-5)
    assert float(influence.sum()) > 0.01
