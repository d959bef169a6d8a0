"""Every method meets every architecture: it works, or says in one line why it cannot; no error, no silent nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_architectures import ARCHITECTURES, Subject, examples_of, make
from torch import Tensor, nn

from compressors import registry, surgery, units
from compressors.artifact import Artifact
from compressors.asked_once import apart, asked_once, beside
from compressors.conformance import HARDWARE
from compressors.distillation.layers import _kept, _last_hidden, _passed, _with_hidden
from compressors.interface import Examples, InputSpec, ModelSpec, Unsupported, no_progress
from compressors.recovery import depths_of, imitation, of_depths, said_of_all
from compressors.runtimes import export
from compressors.witness import witness

METHODS = (
    "torch-bf16",
    "distil-layers",
    "distil-student-half",
    "low-rank-svd",
    "low-rank-embedding-alone",
    "low-rank-fisher-alone",
    "low-rank-whitened-alone",
    "prune-layers-50",
    "prune-gradient-50-alone",
    "prune-magnitude-50",
    "prune-sparsegpt-50-alone",
    "prune-wanda-50-alone",
    "prune-structured",
    "prune-tree-50",
    "prune-group-lasso-50",
    "prune-width-25-alone",
    "prune-vocabulary",
    "quantize-weights-8bit",
    "quantize-weights-4bit-g64",
    "weight-only-8bit",
    "weight-only-4bit-g64",
    "int8-dynamic-torch",
    "int8-static-torch",
)
"""One for each way through the code. Exports take half a minute each: a few of them are tried below."""

PREDICTS = {"prune-vocabulary": "also predicts tokens"}
IMAGES = dict.fromkeys(("prune-vocabulary", "low-rank-embedding-alone"), "no vocabulary")
UNITS = ("prune-structured", "prune-tree-50", "prune-group-lasso-50")
STAGES = {
    **IMAGES,
    **dict.fromkeys(
        ("distil-layers", "distil-student-half", "prune-layers-50"), "are stages of different widths: none can go"
    ),
}
NARROWER, PRE_NORM = "prune-width-25-alone", {"gpt2", "opt", "neox", "t5"}
UNSUPPORTED: dict[str, dict[str, str]] = {
    "bert-pairs": {},
    "bert-odd": dict.fromkeys(("weight-only-8bit", "weight-only-4bit-g64"), "no linear layer has a shape"),
    "distilbert": {},
    "albert": {"distil-layers": "the model has 1 layer", "prune-layers-50": "of its 1 layer is none"},
    "mpnet": {},
    "deberta": {},
    "modernbert": {},
    "bert-words": {},
    "beit": {**IMAGES, **dict.fromkeys((*UNITS, "distil-student-half"), "a position bias for each head")},
    "swin": {**STAGES, **dict.fromkeys(UNITS, "no feed-forward part of the usual form")},
    "convnext": {**STAGES, **dict.fromkeys(UNITS, "no layer named like 'query' or 'qkv'")},
    "gpt2": PREDICTS,
    "opt": PREDICTS,
    "gemma3": {"prune-vocabulary": "Gemma3TextScaledWordEmbedding"},
    "neox": PREDICTS,
    "bart-classifier": {"prune-vocabulary": "BartScaledWordEmbedding"},
    "mpnet-embedder": dict.fromkeys(
        ("prune-gradient-50-alone", "low-rank-fisher-alone"), "its answers are hidden states"
    ),
    "t5": PREDICTS,
    "marian": PREDICTS,
}
"""Architecture -> method -> what its reason says; the methods that are not there must work."""


@pytest.fixture(scope="module", params=list(UNSUPPORTED))
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    torch.set_num_threads(HARDWARE.threads)
    yield make(request.param, tmp_path_factory.mktemp(request.param))


def answers(made: Artifact, examples: Examples) -> np.ndarray:
    """Of the artifact loaded from disk."""
    return made.load(threads=1)({name: np.ascontiguousarray(v.numpy()) for name, v in examples.inputs.items()})


def expected(subject: Subject, examples: Examples) -> np.ndarray:
    """The same of transformers used by itself."""
    with torch.no_grad():
        return np.asarray(getattr(subject.model(**examples.inputs), subject.spec.output).float().numpy())


def tried(subject: Subject, label: str) -> str | None:
    """Its reason; None where it works: reloads, answers in shape and finitely at another length, changed something."""
    compressor = registry.variants("full")[label]
    if reason := registry.unsupported_reason(compressor, subject.spec, HARDWARE):
        return reason
    try:
        made = subject.artifact(compressor.steps)
    except Unsupported as error:
        return str(error)
    other = examples_of(subject.spec, 3, 11, 5)
    found = answers(made, other)
    narrower = subject.spec.output != "logits" and label.startswith("distil-student")  # its states are its answers
    assert found.shape[: -1 if narrower else None] == expected(subject, other).shape[: -1 if narrower else None], label
    assert np.isfinite(found).all(), label
    if compressor.family != "control":
        few = {name: values.numpy() for name, values in other.inputs.items()}
        seen, fault = witness(subject.dense, made, compressor.effect, few)
        assert fault is None, (label, fault)
        assert seen, label
    return None


@pytest.mark.parametrize("label", METHODS)
def test_a_method_works_or_says_why_not(subject: Subject, label: str) -> None:
    reason, wanted = tried(subject, label), UNSUPPORTED[subject.name].get(label)
    if label == NARROWER and subject.name not in PRE_NORM:
        wanted = "prune-width: "  # each reason is held in test_width.py
    if wanted is None:
        assert reason is None
    else:
        assert reason is not None
        assert wanted in reason
        assert "\n" not in reason


def test_the_dense_artifact_answers_as_transformers_does(subject: Subject) -> None:
    for examples in (subject.examples[:5], examples_of(subject.spec, 2, 10, 1)):
        assert answers(subject.dense, examples) == pytest.approx(expected(subject, examples), abs=1e-4)


# -- what was wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "vit", "t5"])
def test_a_student_like_its_teacher_has_nothing_to_learn(name: str, tmp_path: Path) -> None:
    """Both sides before the norm behind the layers, and of an encoder-decoder both."""
    made = make(name, tmp_path)
    told = _last_hidden(made.dense.model(), HARDWARE)
    examples, once = asked_once(told, made.examples)
    states = apart(examples)[1]
    assert once and len(states) == (2 if name == "t5" else 1)
    with torch.no_grad():
        losses = [_with_hidden(_passed, 1.0, told)(made.dense.model(), seen) for seen in (examples, made.examples)]
    scale = torch.stack([found.float().square().mean() for found in states.values()]).sum()
    assert all(float(loss) < 1e-2 * float(scale) for loss in losses)  # the teacher was asked in bf16


@pytest.mark.parametrize(("name", "normed"), [("bert", False), ("llama", True), ("t5", True), ("bart", False)])
def test_what_is_kept_of_the_dense_model_teaches_as_it_would(name: str, normed: bool, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    said = said_of_all(made.dense.model(), made.examples, HARDWARE, no_progress)
    told = _last_hidden(made.dense.model(), HARDWARE)
    last = _kept(said, told, made.examples)
    assert (last == {}) is normed  # the norm behind the layers is in what they say, and not in what these are
    for stack, states in last.items():
        assert torch.allclose(states.float(), told(made.examples)[stack].float(), atol=0.1)
    model = made.dense.model()
    with torch.no_grad():
        depths = depths_of(model(**made.examples[:1].inputs, output_hidden_states=True))
        loss = imitation(model)
        right = of_depths(said, depths)
        states = [f"{field} {number}" for field, depth in depths.items() for number in range(depth)]
        wrong = right | dict(zip(states, (right[other] for other in states[1:] + states[:1]), strict=True))
        own = float(loss(model, made.examples))
        kept, shifted = (float(loss(model, beside(made.examples, each))) for each in (right, wrong))
    assert own < 1e-6 and kept < 0.01 * shifted  # which was asked in bf16


def test_the_kinds_of_attention_stay_with_their_layers(tmp_path: Path) -> None:
    model = make("gemma3", tmp_path).dense.model()
    model.config.layer_types = ["sliding_attention", "full_attention", "sliding_attention"]
    surgery.keep_layers(model, [1, 2])
    assert model.config.layer_types == ["full_attention", "sliding_attention"]
    assert model.config.num_hidden_layers == 2


def test_the_layer_with_the_position_bias_stays(tmp_path: Path) -> None:
    made = make("t5", tmp_path)
    model = made.dense.model()
    assert [surgery.needed_layers(model, stack) for stack in surgery.layer_lists(model)] == [{0}, {0}]
    for step in made.artifact(registry.variants("full")["prune-layers-50"].steps).recipe:
        assert step["structure"]["layers"][0] == step["structure"]["decoder_layers"][0] == 0


def test_gpt2_with_linear_layers_says_the_same(tmp_path: Path) -> None:
    made = make("gpt2", tmp_path)
    model = surgery.as_linears(made.dense.model())
    assert not any(type(m).__name__ == "Conv1D" for m in model.modules())
    with torch.no_grad():
        found = model(**made.examples.inputs).logits.numpy()
    assert found == pytest.approx(expected(made, made.examples), abs=1e-4)


def test_fewer_heads_of_shared_layers_are_the_others_times_zero(tmp_path: Path) -> None:
    made = make("albert", tmp_path)
    masked, cut = made.dense.model(), made.dense.model()
    (block,) = units.blocks(masked)
    with torch.no_grad():
        surgery.get(masked, block.attention.output).weight[:, :16] = 0
        units.keep_heads(cut, block.attention, [1, 2, 3])
        found, wanted = (m(**made.examples.inputs).logits for m in (cut, masked))
    assert torch.allclose(found, wanted, atol=1e-5)


def test_decoding_goes_on_from_a_window_that_was_left(tmp_path: Path) -> None:
    made = make("mistral", tmp_path)  # its window is 8
    generator = made.dense.generator(threads=1)
    prompt = torch.randint(5, 300, (2, 12), generator=torch.Generator().manual_seed(0)).numpy()
    first = generator.prefill(prompt)
    said = generator.decode(first, 4)
    assert (generator.decode(first, 4) == said).all()
    whole = np.concatenate([prompt, first[:, None], said], axis=1)
    inputs = {"input_ids": torch.from_numpy(whole), "attention_mask": torch.ones(whole.shape, dtype=torch.int64)}
    with torch.no_grad():
        likeliest = made.model(**inputs).logits.argmax(-1).numpy()
    assert (likeliest[:, 11:-1] == whole[:, 12:]).all()


@pytest.mark.parametrize(("name", "label"), [("beit", "onnxruntime-fp32"), ("mistral", "openvino-fp32")])
def test_exports_that_once_failed(name: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES[name][1], "num_hidden_layers", 1)
    made = make(name, tmp_path)
    assert tried(made, label) is None
    whole = examples_of(made.spec, 3, 11)
    found, wanted = answers(made.artifact(registry.variants("full")[label].steps), whole), expected(made, whole)
    real = whole.inputs["attention_mask"].bool().numpy() if name == "mistral" else ...
    assert found[real] == pytest.approx(wanted[real], abs=2e-3)
    if name == "mistral":  # 8 bits whose ranges were taken with padding beyond the window answered 0 to everything
        int8 = answers(made.artifact(registry.variants("full")["int8-openvino"].steps), whole)
        assert np.corrcoef(int8[real].ravel(), wanted[real].ravel())[0, 1] > 0.99
        four = answers(made.artifact(registry.variants("full")["weight-only-openvino-4bit-g64"].steps), whole)
        assert np.corrcoef(four[real].ravel(), wanted[real].ravel())[0, 1] > 0.9  # and 4-bit steps fitted to it NaN


class _Answer(dict[str, Tensor]):
    @property
    def logits(self) -> Tensor:
        return self["logits"]


class _Follows(nn.Module):
    def __init__(self, broken: bool) -> None:
        super().__init__()
        self.broken = broken

    def forward(self, input_ids: Tensor) -> _Answer:
        if self.broken:
            raise ValueError("this model is broken")
        if int(input_ids.sum()) > 0:
            return _Answer(logits=input_ids.float())
        return _Answer(logits=-input_ids.float())


ODD = ModelSpec("odd", {"vocab_size": 10}, {"input_ids": InputSpec("int64", ("batch", "sequence"))})


def test_what_an_exporter_does_not_take_is_unsupported_in_its_words() -> None:
    with pytest.raises(Unsupported, match=r"^torch.export cannot trace _Follows: .*data-dependent") as told:
        export.exported_program(_Follows(broken=False), ODD)
    assert "\n" not in str(told.value)


def test_a_model_that_does_not_run_is_no_fault_of_the_exporter() -> None:
    with pytest.raises(ValueError, match="this model is broken"):
        export.exported_program(_Follows(broken=True), ODD)
