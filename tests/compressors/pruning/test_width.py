"""A narrower stream: what turning it changes (nothing), what a cut loses, and who is refused."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import ARCHITECTURES, Subject, make
from torch import Tensor, nn

from compressors import registry, surgery
from compressors.build import build
from compressors.conformance import HARDWARE
from compressors.interface import Compressor, Context, Hardware, PressbenchError, Unsupported
from compressors.pruning.width import PruneWidth, check_turned, components, moments, narrow
from compressors.recovery import imitation
from compressors.runtimes.controls import OnnxRuntimeFp32, OpenvinoFp32
from compressors.stream import Stream, norm_of
from compressors.stream_tracing import find

EXACT = [
    "llama", "qwen3", "mistral", "phi3", "llama-classifier", "t5", "flan-t5", "gpt2", "gpt2-classifier", "opt", "neox",
    "vit", "deit",
]  # fmt: skip


@pytest.fixture(autouse=True)
def embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "llama-embedder", ("LlamaModel", ARCHITECTURES["llama"][1]))


def exact(made: Subject) -> tuple[nn.Module, Stream, dict[str, Tensor]]:
    """Its model in float64, with norms that have something to say, its stream, and inputs. transformers' RMS norms
    compute in float32: torch's own are in their place."""
    model = surgery.as_linears(made.dense.model()).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, module in list(model.named_modules()):
            if (norm := norm_of(name, module)) is None:
                continue
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
            if not isinstance(module, nn.LayerNorm):
                new = nn.RMSNorm(len(module.weight), eps=module.variance_epsilon, dtype=torch.float64)
                new.weight.copy_(module.weight + norm.offset)
                surgery.replace(model, name, new)
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in made.examples.inputs.items()}
    return model, find(model, {n: v[:2] for n, v in inputs.items()}, made.spec.output), inputs


@torch.no_grad()
def answer(model: nn.Module, inputs: Mapping[str, Tensor], made: Subject) -> Tensor:
    return getattr(model(**inputs), made.spec.output)


def context(made: Subject, compressor: Compressor | None = None) -> Context:
    plain = Hardware("cpu", "cpu-generic") if compressor is None else HARDWARE
    few = made.examples[:16]
    return Context(made.spec, plain, made.dense.model, calibration=few, training=made.examples)


def narrowed(model: nn.Module, stream: Stream, basis: Tensor) -> nn.Module:
    other = copy.deepcopy(model)
    narrow(other, stream, basis)
    return other


def random_moments(width: int) -> Tensor:
    values = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return values @ values.T


@pytest.mark.parametrize("name", [*EXACT, "llama-embedder"])
def test_turning_changes_no_answer(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    model, stream, inputs = exact(made)
    want = answer(model, inputs, made)
    basis = components(random_moments(stream.width), stream.width, stream.centred)
    turned = narrowed(model, stream, basis)
    torch.testing.assert_close(answer(turned, inputs, made), want, rtol=1e-9, atol=1e-9)
    table = str(surgery.word_embedding(model) or stream.writers[0])
    assert not torch.allclose(_weight(turned, table), _weight(model, table))


def _weight(model: nn.Module, name: str) -> Tensor:
    found = surgery.get(model, name)
    return found if isinstance(found, Tensor) else found.weight


@pytest.mark.parametrize("name", ["llama", "qwen3", "t5", "gpt2", "opt", "vit", "llama-embedder"])
def test_a_stream_that_lies_in_fewer_directions_is_cut_without_loss(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    model, stream, inputs = exact(made)
    basis = components(random_moments(stream.width), 48, stream.centred)
    narrow_writers(model, stream, basis @ basis.T)
    want = answer(model, inputs, made)
    torch.testing.assert_close(answer(narrowed(model, stream, basis), inputs, made), want, rtol=1e-9, atol=1e-9)
    if name in ("t5", "llama-embedder"):
        return
    # And the directions are found, to the rounding of float32.
    found = moments(model, stream, dataclasses.replace(context(made), calibration=_double(made)))
    got = answer(narrowed(model, stream, components(found, 48, stream.centred)), inputs, made)
    assert float((got - want).std()) < 1e-3 * float(want.std())


def _double(made: Subject) -> Any:
    few = made.examples[:32]
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in few.inputs.items()}
    return dataclasses.replace(few, inputs=inputs)


@torch.no_grad()
def narrow_writers(model: nn.Module, stream: Stream, projection: Tensor) -> None:
    """Let everything that is written lie in the plane of a projection; the width stays."""
    done = set()
    for name in stream.writers:
        part = surgery.get(model, name)
        for parameter in [part] if isinstance(part, nn.Parameter) else part.parameters():
            if id(parameter) in done:
                continue
            done.add(id(parameter))
            axis = 0 if isinstance(part, nn.Linear | nn.Conv2d) else -1
            parameter.copy_(torch.tensordot(parameter, projection, dims=([axis], [0])).movedim(-1, axis))


@pytest.mark.parametrize("centred", [False, True])
def test_components_are_orthonormal_the_largest_first_and_keep_the_mean(centred: bool) -> None:
    found = torch.diag(torch.arange(1.0, 17.0, dtype=torch.float64))
    basis = components(found, 8, centred)
    torch.testing.assert_close(basis.T @ basis, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
    held = float(torch.einsum("ij,ik,kj->", basis, found, basis))
    assert held == pytest.approx(100, abs=1e-9) or (centred and 80 < held < 100)
    assert components(found, 16, centred).shape == (16, 16)
    if centred:
        values = torch.randn(5, 16, dtype=torch.float64)
        torch.testing.assert_close((values @ basis).mean(1) * 8**0.5, values.mean(1) * 16**0.5)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2", "vit"])
def test_principal_components_lose_less_than_others(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    model = surgery.as_linears(made.dense.model())
    stream = find(model, made.examples[:2].inputs, made.spec.output)
    found, want = moments(model, stream, context(made)), answer(model, made.examples.inputs, made)
    bases = [components(by, 48, stream.centred) for by in (found, random_moments(stream.width))]
    lost = [
        float((answer(narrowed(model, stream, basis), made.examples.inputs, made) - want).norm()) for basis in bases
    ]
    assert lost[0] < 0.8 * lost[1], lost


def test_padding_has_no_say(tmp_path: Path) -> None:
    made = make("llama", tmp_path)
    model, few = made.dense.model(), made.examples[:16]
    stream = find(model, few.inputs, "logits")
    before = moments(model, stream, context(made))
    other = few.inputs["input_ids"].masked_fill(few.inputs["attention_mask"] == 0, 7)
    changed = dataclasses.replace(few, inputs={**few.inputs, "input_ids": other})
    torch.testing.assert_close(moments(model, stream, dataclasses.replace(context(made), calibration=changed)), before)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "opt", "t5", "vit", "llama-embedder"])
def test_the_artifact_is_smaller_and_answers_as_in_memory(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    compressor = PruneWidth(recovery_epochs=0)
    assert registry.unsupported_reason(compressor, made.spec, HARDWARE) is None
    memory = compressor.compress(made.dense.model(), context(made, compressor)).model
    stored = build([compressor], made.dense, context(made, compressor), tmp_path / "made")
    assert stored.disk_bytes < 0.9 * made.dense.disk_bytes
    inputs = {n: np.ascontiguousarray(v.numpy()) for n, v in made.examples.inputs.items()}
    want = answer(memory, made.examples.inputs, made).numpy()
    assert want.shape == answer(made.model, made.examples.inputs, made).shape
    np.testing.assert_allclose(stored.load(threads=1)(inputs), want, rtol=1e-4, atol=1e-4)
    head = getattr(made.dense.model(), "lm_head", None)
    if head is not None:  # tied it was, tied it stays
        loaded: Any = stored.model()
        assert loaded.lm_head.weight is loaded.get_input_embeddings().weight
        assert loaded.lm_head.in_features == 48


def test_generation_goes_on_as_the_whole_text_says(tmp_path: Path) -> None:
    made = make("qwen3", tmp_path)
    compressor = PruneWidth(recovery_epochs=0)
    stored = build([compressor], made.dense, context(made, compressor), tmp_path / "made")
    generator = stored.generator(threads=1)
    prompt = made.examples.inputs["input_ids"][:2, :7].numpy()
    first = generator.prefill(prompt)
    said = generator.decode(first, 4)
    whole = np.concatenate([prompt, first[:, None], said], axis=1)
    likeliest = stored.load(threads=1)({"input_ids": whole, "attention_mask": np.ones_like(whole)}).argmax(-1)
    assert (likeliest[:, 6:-1] == whole[:, 7:]).all()


@pytest.mark.parametrize(("name", "runtime"), [("gpt2", OnnxRuntimeFp32()), ("qwen3", OpenvinoFp32())])
def test_it_can_be_exported(name: str, runtime: Compressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES[name][1], "n_layer" if name == "gpt2" else "num_hidden_layers", 1)
    made = make(name, tmp_path)
    compressor = PruneWidth(recovery_epochs=0)
    steps = [compressor, *runtime.steps]
    stored = build(steps, made.dense, context(made, compressor), tmp_path / "made")
    plain = build([compressor], made.dense, context(made, compressor), tmp_path / "plain")
    inputs = {n: np.ascontiguousarray(v[:3].numpy()) for n, v in made.examples.inputs.items()}
    real = inputs["attention_mask"].astype(bool)
    found, want = stored.load(threads=1)(inputs), plain.load(threads=1)(inputs)
    np.testing.assert_allclose(found[real], want[real], atol=2e-3)


def test_recovery_learns_it(tmp_path: Path) -> None:
    made = make("vit", tmp_path)
    want = answer(made.model, made.examples.inputs, made)

    def distance(epochs: float) -> float:
        compressor = PruneWidth(removed=0.5, recovery_epochs=epochs, learning_rate=1e-3)
        model = compressor.compress(made.dense.model(), context(made, compressor)).model
        return float((answer(model, made.examples.inputs, made) - want).norm())

    assert distance(3) < 0.8 * distance(0)


@pytest.mark.parametrize("name", ["llama", "llama-embedder"])
def test_recovery_compares_states_in_the_directions_that_are_left(name: str, tmp_path: Path) -> None:
    """Of a stream that lies in them the student has nothing to learn; held against other ones it has."""
    made = make(name, tmp_path)
    model, stream, inputs = exact(made)
    basis = components(random_moments(64), 48, False)
    narrow_writers(model, stream, basis @ basis.T)
    student, batch = narrowed(model, stream, basis), dataclasses.replace(made.examples, inputs=inputs)
    with torch.no_grad():
        bases = (basis, basis.flip(1), None)
        same, other, without = (float(imitation(model, basis=by)(student, batch)) for by in bases)
    assert abs(same) < 1e-8 and abs(without) < 1e-8
    assert other > 0.1


def test_a_writer_that_was_overlooked_is_told_before_the_cut(tmp_path: Path) -> None:
    made = make("llama", tmp_path)
    model, few = made.dense.model(), made.examples[:2].inputs
    stream = find(model, few, "logits")
    check_turned(model, stream, random_moments(64), few, "logits")
    less = dataclasses.replace(stream, writers=stream.writers[:-1])
    with pytest.raises(Unsupported, match=r"^prune-width: its stream cannot be turned: the answers move by [^\n]*$"):
        check_turned(model, less, random_moments(64), few, "logits")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bert", "its layers add to what the norm bert.embeddings.LayerNorm answers, as in a post-norm model"),
        ("bert-embedder", "as in a post-norm model"),
        ("distilbert", "as in a post-norm model"),
        ("roberta", "as in a post-norm model"),
        ("bart", "as in a post-norm model"),
        ("modernbert", "as in a post-norm model"),
        ("bloom", "as in a post-norm model"),
        ("swin", "as in a post-norm model"),
        ("marian", "is read by model.encoder.layers.0.self_attn.q_proj without a norm"),
        ("electra", "without a norm"),
        ("albert", "what its layers are given is no sum of what layers write"),
        ("deberta", "what its layers are given is no sum of what layers write"),
        ("gemma3", "is added to what the norm model.layers.0.post_attention_layernorm answers"),
        ("dinov2", "is added to what no layer writes as it is"),
        ("beit", "is added to what no layer writes as it is"),
        ("resnet", "no list of Transformer layers"),
    ],
)
def test_what_cannot_be_turned_says_why(name: str, told: str, tmp_path: Path) -> None:
    reason = registry.unsupported_reason(PruneWidth(), make(name, tmp_path).spec, HARDWARE)
    assert reason is not None and told in reason and "\n" not in reason


def test_so_small_a_share_that_nothing_goes_is_unsupported(tmp_path: Path) -> None:
    spec = make("vit", tmp_path).spec
    little = PruneWidth(removed=0.01)
    assert "0.01 of its width of 64 is none" in str(registry.unsupported_reason(little, spec, HARDWARE))
    assert [PruneWidth(removed=share).kept(64) for share in (0.25, 0.3, 0.5, 0.99)] == [48, 48, 32, 8]


class _GemmaNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eps, self.weight = 1e-6, nn.Parameter(torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


def test_norms_are_known_by_what_they_do() -> None:
    assert norm_of("a", nn.RMSNorm(16, eps=1e-5)) is not None
    gemma, layer = norm_of("a", _GemmaNorm()), norm_of("a", nn.LayerNorm(16))
    assert gemma and (gemma.centres, gemma.offset) == (False, 1.0)
    assert layer and (layer.centres, layer.offset) == (True, 0.0)
    assert norm_of("a", nn.Linear(4, 4)) is None and norm_of("a", nn.GroupNorm(4, 16)) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"removed": 0.0}, "removed = 0.0: must lie between 0 and 1"),
        ({"removed": 1.0}, "removed = 1.0"),
        ({"removed": float("nan")}, "removed = nan"),
        ({"recovery_epochs": -1.0}, "recovery_epochs = -1.0"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PruneWidth(**parameters)


def test_a_stream_that_was_narrow_before_can_recover(tmp_path: Path) -> None:
    made = make("vit", tmp_path)
    steps = (PruneWidth(recovery_epochs=0), PruneWidth(removed=0.3, recovery_epochs=0.3))
    assert made.artifact(steps).model() is not None


def test_a_student_of_a_narrower_model_says_what_it_cannot_learn(tmp_path: Path) -> None:
    made = make("vit", tmp_path)
    narrower = PruneWidth(recovery_epochs=0)
    with pytest.raises(PressbenchError, match=r"hidden states are 48 wide, the dense model's 64: hidden must be 0"):
        made.artifact((narrower, registry.build("distil-layers")))
    assert made.artifact((narrower, registry.build("distil-layers", {"hidden": 0.0}))).model() is not None
