"""SmolLM2 as published: its perplexity by the suite beside a float64 computation that shares none of its code, and
what a method says whose grid the published weights lie on."""

from __future__ import annotations

import copy
import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from torch import nn

from benchmarks.cache import Cache
from benchmarks.measure import stages
from benchmarks.zoo import find_model
from benchmarks.zoo.assets import smollm2
from benchmarks.zoo.dense import write_examples
from compressors import artifact, surgery
from compressors.interface import Context, Hardware, Unsupported, no_progress
from compressors.quantization.weight_only import WeightOnly
from compressors.runtimes.controls import OpenvinoFp32

sys.path.append(str(Path(__file__).parent))
from real_assets import cache_with

pytestmark = pytest.mark.real
MODEL = find_model("smollm2-bbc")
CPU = Hardware("cpu", "cpu-generic", threads=1)
DOCUMENTS = 4


@pytest.fixture(scope="module")
def cache() -> Cache:
    return cache_with(MODEL)


@pytest.fixture(scope="module")
def published(cache: Cache) -> nn.Module:
    return MODEL.train(None, cache, CPU, no_progress)  # type: ignore[arg-type]


Scored = tuple[datasets.Dataset, Mapping[str, np.ndarray]]
"""Documents, and what the suite keeps of the published model's answers to them."""


@pytest.fixture(scope="module")
def scored(published: nn.Module, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    folder = tmp_path_factory.mktemp("smollm2")
    documents = MODEL.task.load(cache)["test"].select(range(DOCUMENTS))
    write_examples(MODEL.encode(documents, cache), folder / "test.safetensors")
    artifact.save(published, folder / "artifact", MODEL.spec())
    state: stages.State = {}
    stages.load(state, folder / "artifact", CPU)
    found = stages.answer(state, MODEL.task.quality, folder / "test.safetensors", 2, progress=no_progress)
    return documents, found


@pytest.fixture(scope="module")
def tokenizer(cache: Cache) -> Any:
    return smollm2.tokenizer(cache)


def test_perplexity_is_that_of_a_float64_computation_to_four_digits(
    published: nn.Module, scored: Scored, tokenizer: Any
) -> None:
    documents, found = scored
    double = transformers.LlamaForCausalLM(transformers.LlamaConfig(**MODEL.config())).double().eval()
    double.load_state_dict(published.state_dict())
    for row, text in enumerate(documents["text"]):
        ids = torch.tensor([tokenizer(text)["input_ids"][:128]])
        with torch.inference_mode():
            likely = double(input_ids=ids).logits[0, :-1].log_softmax(-1)
        wanted = -float(likely.gather(1, ids[0, 1:, None]).mean())
        assert found["tokens"][row] == ids.shape[1] - 1
        assert math.exp(found["nll"][row] / found["tokens"][row]) == pytest.approx(math.exp(wanted), rel=1e-4)
        assert 5 < math.exp(wanted) < 100


def test_perplexity_is_that_of_lm_evaluation_harness(published: nn.Module, scored: Scored, tokenizer: Any) -> None:
    """Its own scoring of tokens, given the first one; `pip install lm-eval` brings it."""
    harness = pytest.importorskip("lm_eval.models.huggingface")
    documents, found = scored
    ids = [tokenizer(text)["input_ids"][:128] for text in documents["text"]]
    theirs = harness.HFLM(pretrained=published, tokenizer=tokenizer, batch_size=2, device="cpu")
    requests = [((f"{number}", ""), text[:1], text[1:]) for number, text in enumerate(ids)]
    likely = [value for value, _ in theirs._loglikelihood_tokens(requests, disable_tqdm=True)]
    assert (-found["nll"]).tolist() == pytest.approx(likely, rel=1e-5)


def test_the_published_grid_is_found_in_the_weights(published: nn.Module) -> None:
    method = WeightOnly(bits=4, group_size=32)
    context = Context(MODEL.spec(), CPU, dense=lambda: published)
    with pytest.raises(Unsupported, match="106 of 134 million weights lie on a 4-bit grid in groups of 32 already"):
        method.compress(published, context)


def test_openvino_writes_the_words_of_torch(published: nn.Module, cache: Cache, tmp_path: Path) -> None:
    """48 greedy tokens after a real text, in fp32, and the same again after the cache was put back: of the first three
    layers and the last three, as exporting all thirty takes a minute."""
    six = copy.deepcopy(published)
    surgery.keep_layers(six, [*range(3), *range(27, 30)])
    spec = dataclasses.replace(MODEL.spec(), config={**MODEL.config(), "num_hidden_layers": 6})
    dense = artifact.save(six, tmp_path / "dense", spec)
    made = OpenvinoFp32().compress(dense.model(), Context(spec, CPU, dense=dense.model))
    graph = artifact.save(made.model, tmp_path / "graph", spec, runtime_name=made.runtime, options=made.options)
    documents = MODEL.task.load(cache)["test"].select(range(1))
    prompt = MODEL.encode(documents, cache).inputs["input_ids"].numpy()
    wanted, found = dense.generator(threads=1), graph.generator(threads=1)
    first = wanted.prefill(prompt)
    assert np.array_equal(found.prefill(prompt), first)
    tokens = wanted.decode(first, 48)
    assert np.array_equal(found.decode(first, 48), tokens)
    assert np.array_equal(found.decode(first, 48), tokens)
    assert len(set(tokens[0].tolist())) > 20
    assert graph.disk_bytes < 1.01 * dense.disk_bytes
