"""Encoders with a decoder that generate under the clock: with caches as without, so many tokens, and checked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parent.parent / "quality"))
from tiny_translators import END, INPUTS, KINDS, PAD, config, forward_of, sources, spec, translator

from benchmarks.matrix.cases import Case
from benchmarks.matrix.targets import Target
from benchmarks.measure import stages, timing
from benchmarks.measure.written import start_of
from benchmarks.run.checks import check_tokens
from benchmarks.run.lanes import no_generator
from benchmarks.zoo.dense import write_examples
from benchmarks.zoo.own.text_to_text import TextToText
from benchmarks.zoo.workload import Workload, decode, generate, parse_workload
from compressors import artifact, registry
from compressors.artifact import Artifact
from compressors.interface import Hardware, PressbenchError, Unsupported
from compressors.runtimes.base import runtime_classes
from compressors.runtimes.writing import TorchWriter
from compressors.skeleton import skeleton
from compressors.tiny_specs import TINY_SPECS

CPU = Hardware("cpu", "cpu-generic", threads=1)
LENGTH, NEW = 9, 11


def drawn(kind: str) -> np.ndarray:
    return np.random.default_rng(1).integers(3, 60, (4, LENGTH))


def varied(kind: str) -> Any:
    """The model, made to say more than one word over and over where none is forbidden."""
    model: Any = translator(kind)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "shared" in name or "embed_tokens" in name:
                weight *= 0.3
            elif "encoder_attn" in name or "EncDecAttention" in name:
                weight *= 2
    return model


def by_passes(model: Any, kind: str, ids: np.ndarray, new: int) -> np.ndarray:
    """Greedily, by passes over the whole of what was written so far: nothing is cached, nothing ends a text."""
    forward, said = forward_of(model), np.full((len(ids), 1), PAD[kind])
    for _ in range(new):
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "decoder_input_ids": said}
        said = np.concatenate([said, forward(inputs)[:, -1:].argmax(-1)], 1)
    return said[:, 1:]


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Artifact, Path]:
    """(kind, the model saved, inputs of the test split)."""
    kind = request.param
    write_examples(sources(kind), tmp_path / "inputs.safetensors")
    return kind, artifact.save(translator(kind), tmp_path / "model", spec(kind)), tmp_path / "inputs.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_with_caches_it_writes_what_passes_over_the_whole_do(kind: str, dtype: torch.dtype) -> None:
    model = varied(kind).to(dtype)
    found = TorchWriter(model, "cpu").write(drawn(kind), PAD[kind], 25)
    assert found.shape == (4, 25) and found.dtype == np.int64
    np.testing.assert_array_equal(found, by_passes(model, kind, drawn(kind), 25))
    assert len({tuple(row) for row in found.tolist()}) == 4, "each text is of its own source"
    assert len(set(found.ravel().tolist())) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_is_read_once_and_a_token_too(kind: str) -> None:
    model: Any = translator(kind)
    seen: list[tuple[str, tuple[int, ...]]] = []

    def noted(name: str) -> Callable[..., None]:
        return lambda module, args, given: seen.append((name, tuple(given["input_ids"].shape)))

    for name in ("encoder", "decoder"):
        getattr(model, f"get_{name}")().register_forward_pre_hook(noted(name), with_kwargs=True)
    TorchWriter(model, "cpu").write(drawn(kind), PAD[kind], 5)
    assert seen == [("encoder", (4, LENGTH)), *[("decoder", (4, 1))] * 5]


def test_a_token_that_ends_a_text_is_one_like_any_other() -> None:
    model: Any = translator("t5")
    with torch.no_grad():
        model.lm_head.weight[END] *= 3
    found = TorchWriter(model, "cpu").write(drawn("t5"), PAD["t5"], 20)
    assert (found == END).any() and found.shape == (4, 20)
    np.testing.assert_array_equal(found, by_passes(model, "t5", drawn("t5"), 20))


def test_no_other_model_writes_of_a_source() -> None:
    with pytest.raises(Unsupported, match="LlamaForCausalLM is no encoder with a decoder"):
        TorchWriter(skeleton(TINY_SPECS["llama"].config), "cpu")


def test_an_encoder_with_a_decoder_goes_on_from_no_prompt(made: tuple[str, Artifact, Path]) -> None:
    with pytest.raises(Unsupported, match="no prefill and no decode"):
        made[1].generator()


def test_slots_are_of_other_sources_each_and_their_tokens_are_explained(made: tuple[str, Artifact, Path]) -> None:
    kind, saved, inputs = made
    state: dict[str, Any] = {}
    stages.load(state, saved.directory, CPU, "generate")
    timing.set_workload(state, inputs, generate(3, LENGTH, NEW))
    checked, seen = [], []
    write = state["writer"].write
    state["writer"].write = lambda ids, *rest: seen.extend(row.tobytes() for row in ids) or write(ids, *rest)
    for number in range(4):
        timing.ready(state, 7, number, 2)
        checked.append(timing.go(state, 2).checked)
    assert len(seen) == 4 * 3 * 3 and len(set(seen)) > 20, "of 70 places in the texts"
    stages.load(state, saved.directory, CPU)
    for one in checked:
        assert one.rows.shape == (3, LENGTH) and one.answer.shape == (3, NEW)
        assert PAD[kind] not in one.rows, "sources are cut from texts, without padding"
        assert stages.explain(state, one.rows, one.answer, PAD[kind]).max() < 1e-3
        assert stages.explain(state, one.rows, (one.answer + 1) % 60, PAD[kind]).max() > 1


@pytest.mark.parametrize("wrong", [NEW - 1, NEW + 1])
def test_fewer_tokens_or_more_are_no_answer(made: tuple[str, Artifact, Path], wrong: int) -> None:
    state: dict[str, Any] = {"writer": SimpleNamespace(write=lambda ids, start, count: np.ones((len(ids), wrong)))}
    timing.set_workload(state, made[2], generate(2, LENGTH, NEW))
    with pytest.raises(PressbenchError, match=rf"tokens of shape \(2, {wrong}\) where \(2, {NEW}\) were to be written"):
        timing.call_once(state)


# -- what is timed is what is scored ---------------------------------------------------------------


class OfAnother(TorchWriter):
    """Each text is written with the encoder's answer to its neighbour's source."""

    def write(self, sources: np.ndarray, start: int, count: int) -> np.ndarray:
        return super().write(np.roll(sources, 1, axis=0), start, count)


class Remembered(TorchWriter):
    """The sources of the first call are read, and those of all others are not."""

    def write(self, sources: np.ndarray, start: int, count: int) -> np.ndarray:
        self.first = getattr(self, "first", sources)
        return super().write(self.first, start, count)


def check(kind: str, saved: Artifact, inputs: Path, writer: type[TorchWriter]) -> dict[str, Any]:
    """What a run checks of a lane with such a writer."""
    state: dict[str, Any] = {"writer": writer(saved.model(), "cpu")}
    timing.set_workload(state, inputs, generate(3, LENGTH, NEW))
    checks = []
    for number in range(4):
        timing.ready(state, 7, number, 1)
        checks.append(timing.go(state, 1).checked)
    return check_tokens(  # type: ignore[arg-type]  (of a run as much as it needs)
        SimpleNamespace(name="lane", checks=checks), saved, case(kind, "dense", generate(3, LENGTH, NEW)),
        SimpleNamespace(prepared=Prepared(inputs)), 5,
    )  # fmt: skip


class Prepared:
    """As much of a run as checking takes, in this process."""

    settings = SimpleNamespace(stage_seconds=60.0)

    def __init__(self, inputs: Path) -> None:
        self.inputs_path = lambda model: inputs
        self.enclosure = lambda *paths: None

    @contextlib.contextmanager
    def stage(self, *names: str) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def worker(self, *more: Any) -> Iterator[Any]:
        state: dict[str, Any] = {}
        yield SimpleNamespace(call=lambda function, *given, timeout: function(state, *given))


def case(kind: str, name: str, workload: Workload, inputs: Any = INPUTS) -> Case:
    model: Any = SimpleNamespace(name=f"tiny-{kind}", inputs=inputs, workloads=(workload,))
    return Case("speed", name, registry.build(name), model, CPU, workload, Target())


def test_what_is_written_is_what_passes_choose(made: tuple[str, Artifact, Path]) -> None:
    found = check(*made, TorchWriter)
    assert found["tokens"] == 4 * 3 * NEW and found["unlikely"] == 0 and found["largest_gap"] < 1e-3


@pytest.mark.parametrize("fault", [OfAnother, Remembered])
def test_a_cache_of_another_text_is_found(made: tuple[str, Artifact, Path], fault: type[TorchWriter]) -> None:
    with pytest.raises(PressbenchError, match=r"what is timed is not what was scored: \d+ of 132 tokens"):
        check(*made, fault)


def test_texts_begin_with_one_token() -> None:
    assert start_of({"decoder_input_ids": np.array([[4, 1], [4, 2]])}) == 4
    with pytest.raises(PressbenchError, match="begin with 2 different tokens"):
        start_of({"decoder_input_ids": np.array([[4, 1], [5, 2]])})
    with pytest.raises(PressbenchError, match="no decoder_input_ids"):
        start_of({"input_ids": np.ones((2, 2))})


# -- the workload ----------------------------------------------------------------------------------


def test_its_name_is_read_as_it_is_written() -> None:
    workload = generate(8, 64, 32)
    assert workload.name == "generate-8x64-32" and parse_workload(workload.name) == workload
    assert workload.generates and workload.tokens == 8 * 32
    for name in ("generate-8x64", "generate-8-32", "generate-8x64-0", "generates-8x64-32"):
        with pytest.raises(PressbenchError, match="no workload"):
            parse_workload(name)


def test_translations_and_summaries_are_timed_by_it() -> None:
    usual, nightly = TextToText.workloads(SimpleNamespace(), {"tokens": 64, "new_tokens": 20})  # type: ignore[arg-type]
    assert [w.name for w in usual] == ["8x64", "generate-8x64-32"]
    assert [w.name for w in nightly] == ["1x64", "32x64", "generate-1x64-32"]


@pytest.mark.parametrize("name", ["onnxruntime-fp32", "openvino-fp32"])
def test_a_graph_without_such_a_cache_is_not_made_for_it(name: str) -> None:
    told = "keeps no key-value cache of an encoder with a decoder here: nothing is generated"
    assert no_generator(registry.build(name), case("t5", name, generate(1, 8, 4))) == f"{name[:-5]} {told}"
    assert no_generator(registry.build(name), case("t5", name, Workload(1, 8))) is None


def test_models_and_workloads_that_do_not_fit_are_told() -> None:
    dense = registry.build("dense")
    assert no_generator(dense, case("t5", "dense", generate(1, 8, 4))) is None
    assert (
        no_generator(dense, case("t5", "dense", decode(1, 8, 4))) == "tiny-t5 is an encoder with a decoder: no decode"
    )
    alone = {"input_ids": INPUTS["input_ids"]}
    told = no_generator(dense, case("llama", "dense", generate(1, 8, 4), alone))
    assert told == "tiny-llama is no encoder with a decoder: no generate"


def test_every_runtime_that_writes_has_a_writer() -> None:
    writing = {name for name, cls in runtime_classes().items() if cls.writes}
    assert {"torch", "transformers"} <= writing and not {"onnxruntime", "openvino", "llamacpp"} & writing


def test_the_work_of_a_call_is_counted_as_a_pass_over_sources_and_what_is_written(
    made: tuple[str, Artifact, Path],
) -> None:
    kind, saved, inputs = made
    few = stages._few(inputs, generate(3, 6, 4))
    assert few["input_ids"].shape == (3, 6) and few["decoder_input_ids"].shape == (3, 4)
    one, other = (stages.executed({}, saved.directory, inputs, generate(b, 6, 4)) for b in (1, 2))
    assert one is not None and other is not None and other.total == 2 * one.total
    assert config(kind)["vocab_size"] * 32 * 2 * 4 < one.total
