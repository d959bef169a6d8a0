"""Sharing layers: who shares with whom, stored once, tied for good, each with a slot in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_architectures import ARCHITECTURES, make, spec_of
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, WhisperConfig

from compressors import artifact, conformance, registry, surgery
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.conformance import HARDWARE
from compressors.interface import Context, Examples, InputSpec, ModelSpec, PressbenchError, Unsupported
from compressors.quantization.weights import QuantizeWeights
from compressors.runtimes.export import to_onnx
from compressors.sharing.layers import ShareLayers, groups
from compressors.skeleton import skeleton

BARE = {"recovery_epochs": 0.0, "start": "first"}


def shared(subject: Any, folder: Path, **more: Any) -> Artifact:
    compressor = ShareLayers(**{**BARE, **more})
    if isinstance(subject, conformance.Subject):
        context = subject.context(compressor)
    else:
        examples = subject.examples
        context = Context(subject.spec, HARDWARE, subject.dense.model, calibration=examples[:16], training=examples)
    return build_step(compressor, subject.dense, context, folder / "shared")


def stacks(model: nn.Module) -> list[list[nn.Module]]:
    return [list(surgery.get(model, name)) for name in surgery.layer_lists(model)]


def tied(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return mine.keys() == theirs.keys() and all(mine[name] is theirs[name] for name in mine)


def apart(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return not any(weight is theirs[name] for name, weight in mine.items()) and any(
        not torch.equal(weight, theirs[name]) for name, weight in mine.items()
    )


@pytest.mark.parametrize(
    ("layers", "uses", "pattern", "owners"),
    [
        (6, 2, "blocks", "AABBCC"), (6, 2, "cycle", "ABCABC"), (6, 3, "blocks", "AAABBB"), (6, 3, "cycle", "ABABAB"),
        (3, 2, "blocks", "AAB"), (3, 2, "cycle", "ABA"), (5, 2, "cycle", "ABCAB"), (4, 9, "cycle", "AAAA"),
        (4, 9, "blocks", "AAAA"), (1, 2, "blocks", "A"),
    ],
)  # fmt: skip
def test_who_shares_with_whom(layers: int, uses: int, pattern: str, owners: str) -> None:
    wanted = [[i for i, owner in enumerate(owners) if owner == letter] for letter in sorted(set(owners))]
    assert groups(layers, uses, pattern) == wanted


@pytest.mark.parametrize(("pattern", "owners"), [("blocks", "AABB"), ("cycle", "ABAB")])
def test_it_is_stored_once_and_is_one_again_when_loaded(
    tiny_bert: conformance.Subject, tmp_path: Path, pattern: str, owners: str
) -> None:
    made = shared(tiny_bert, tmp_path, pattern=pattern, recovery_epochs=0.1)
    (layers,) = stacks(made.model())
    for i, one in enumerate(layers):
        for j, other in enumerate(layers):
            assert tied(one, other) if owners[i] == owners[j] else apart(one, other), (i, j)
    with safe_open(made.directory / "model.safetensors", "np") as file:
        stored = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118
    dense = tiny_bert.dense.model()
    whole = sum(weight.nbytes for weight in dense.state_dict().values())
    layer = sum(weight.nbytes for weight in stacks(dense)[0][0].parameters())
    assert stored == whole - 2 * layer
    assert made.disk_bytes < 0.75 * tiny_bert.dense.disk_bytes
    assert made.inventory().parameters == sum(p.numel() for p in dense.parameters()) - 2 * layer // 4


@pytest.mark.parametrize(("label", "kinds"), [("onnxruntime-fp32", 4), ("int8-onnxruntime", 1)])
def test_a_graph_holds_it_once_too(label: str, kinds: int, tiny_bert: conformance.Subject, tmp_path: Path) -> None:
    """torch.onnx wrote a copy for each layer; kinds: bytes of a weight."""
    pytest.importorskip("onnxruntime")
    steps = registry.variants()[label].steps
    once, whole = shared(tiny_bert, tmp_path), tiny_bert.dense
    answers = once.load()(conformance._inputs("bert"))
    for number, step in enumerate(steps):
        context = tiny_bert.context(step)
        once = build_step(step, once, context, tmp_path / f"once-{number}")
        whole = build_step(step, whole, context, tmp_path / f"whole-{number}")
    matrices = sum(w.numel() for w in stacks(tiny_bert.dense.model())[0][0].parameters() if w.dim() == 2)
    assert whole.disk_bytes - once.disk_bytes > 0.95 * 2 * kinds * matrices
    np.testing.assert_allclose(once.load()(conformance._inputs("bert")), answers, atol=1e-4 if kinds == 4 else 0.2)


def test_weights_that_are_equal_by_chance_stay_several(tiny_bert: conformance.Subject) -> None:
    pytest.importorskip("onnxruntime")
    model = tiny_bert.dense.model()
    with torch.no_grad():
        for weight in stacks(model)[0][0].attention.parameters():
            weight.zero_()
    zeros = [one for one in to_onnx(model, tiny_bert.dense.spec).graph.initializer if not any(one.raw_data)]
    assert sum(list(one.dims) == [64, 64] for one in zeros) == 4


def untied(made: Artifact) -> nn.Module:
    """The same weights in a model of transformers' own, each layer with a copy."""
    model = skeleton(made.manifest["config"])
    model.load_state_dict({name: values.clone() for name, values in made.model().state_dict().items()})
    return model.double()


def test_a_step_moves_all_uses_by_the_sum_of_their_gradients(tiny: conformance.Subject, tmp_path: Path) -> None:
    """Against the same model with a copy of the weights in each place, in float64."""
    made = shared(tiny, tmp_path, uses=2, pattern="cycle")
    ours, theirs = made.model().double(), untied(made)
    batch = tiny.examples[:8]
    inputs = {n: v.double() if v.is_floating_point() else v for n, v in batch.inputs.items()}
    for model in (ours, theirs):
        F.cross_entropy(model(**inputs).logits, batch.labels).backward()
    torch.optim.SGD(ours.parameters(), lr=0.1).step()
    (mine,), (copies,) = stacks(ours), stacks(theirs)
    for group in groups(len(mine), 2, "cycle"):
        for name, weight in copies[group[0]].named_parameters():
            total = sum(surgery.get(copies[i], name).grad for i in group)
            for i in group:
                assert torch.allclose(surgery.get(mine[i], name), weight - 0.1 * total, atol=1e-12, rtol=1e-9)
    assert all(tied(mine[group[0]], mine[i]) for group in groups(len(mine), 2, "cycle") for i in group)


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral", "gpt2", "opt", "phi3", "qwen3"])
def test_each_use_has_a_cache_of_its_own(name: str, tmp_path: Path) -> None:
    """What is generated with a cache is what is likeliest without one, beyond a window too."""
    made = shared(make(name, tmp_path), tmp_path, uses=3)
    (layers,) = stacks(made.model())
    assert len({id(layer) for layer in layers}) == len(layers) == 3
    generator = made.generator(threads=1)
    prompt = torch.randint(5, 300, (2, 10), generator=torch.Generator().manual_seed(0)).numpy()
    first = generator.prefill(prompt)
    said = generator.decode(first, 4)
    whole = torch.from_numpy(np.concatenate([prompt, first[:, None], said], axis=1))
    with torch.no_grad():
        likeliest = untied(made)(input_ids=whole, use_cache=False).logits.argmax(-1).numpy()
    assert (likeliest[:, 9:-1] == whole[:, 10:].numpy()).all()


def test_what_only_the_first_layer_has_stays_its_own(tmp_path: Path) -> None:
    for name, own in (("t5", "SelfAttention.relative_attention_bias.weight"), ("modernbert", "attn_norm.weight")):
        folder = tmp_path / name
        folder.mkdir()
        model = shared(make(name, folder), folder, uses=3).model()
        for first, *others in stacks(model):
            several = [first, *others] if name == "t5" else others  # without a norm the first of ModernBERT's
            names = [n for n, _ in several[0].named_parameters() if not n.endswith(own)]
            assert all(surgery.get(layer, n) is surgery.get(first, n) for layer in several for n in names)
            having = [any(n.endswith(own) for n, _ in layer.named_parameters()) for layer in (first, *others)]
            assert having == ([True, False, False] if name == "t5" else [False, True, True])
    assert others[0].attn_norm.weight is others[1].attn_norm.weight
    assert len(stacks(make("t5", tmp_path).model)) == 2


def test_kinds_of_attention_stay_where_they_were(tmp_path: Path) -> None:
    """Layers with a window and without one share weights, not what they see."""
    subject = make("gemma3", tmp_path)
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    config = {**subject.spec.config, "layer_types": kinds}
    model = skeleton(config)
    spec = type(subject.spec)("gemma3", config, subject.spec.inputs)
    subject.spec, subject.dense = spec, artifact.save(model, tmp_path / "kinds", spec)
    loaded = shared(subject, tmp_path, uses=3).model()
    (layers,) = stacks(loaded)
    assert tied(layers[0], layers[1]) and tied(layers[0], layers[2])
    assert [layer.self_attn.sliding_window for layer in layers] == [8, None, 8]


# -- where it begins -------------------------------------------------------------------------------


def test_the_mean_is_that_of_each_weight(tiny: conformance.Subject, tmp_path: Path) -> None:
    (layers,) = stacks(shared(tiny, tmp_path, start="mean", uses=9).model())
    (dense,) = stacks(tiny.dense.model())
    for name, weight in layers[0].named_parameters():
        wanted = np.mean([surgery.get(layer, name).detach().numpy().astype(np.float64) for layer in dense], axis=0)
        assert weight.detach().numpy() == pytest.approx(wanted, abs=1e-6)


def test_the_best_leaves_states_and_answers_nearest_to_the_dense_models(tmp_path: Path) -> None:
    """Of all layers each in all places, in float64: divergence of the answers and mean error of the states."""
    subject = make("vit", tmp_path)
    batch = subject.examples[:16].inputs["pixel_values"].double()

    def run(model: nn.Module) -> Any:
        with torch.no_grad():
            return model.double()(pixel_values=batch, output_hidden_states=True)

    dense = subject.dense.model()
    wanted, errors = run(dense), []
    for number in range(3):
        model = subject.dense.model()
        (layers,) = stacks(model)
        own = {name: values.clone() for name, values in layers[number].state_dict().items()}
        for layer in layers:
            layer.load_state_dict(own)
        found = run(model)
        target = (wanted.logits / 2).softmax(-1)
        divergence = (target * (target.log() - (found.logits / 2).log_softmax(-1))).sum(-1).mean() * 4
        states = zip(found.hidden_states[1:], wanted.hidden_states[1:], strict=True)
        errors.append(divergence + sum(((a - b) ** 2).mean() / b.var() for a, b in states) / 3)
    best = int(torch.stack(errors).argmin())
    (layers,) = stacks(shared(subject, tmp_path, start="best", uses=3).model())
    chosen = stacks(subject.dense.model())[0]
    same = [all(torch.equal(a, b) for a, b in zip(layers[0].parameters(), c.parameters(), strict=True)) for c in chosen]
    assert same == [number == best for number in range(3)]


# -- every architecture ------------------------------------------------------------------------------

REFUSED = {
    "albert": "AlbertForSequenceClassification has 1 layer of weights",
    "resnet": "no list of Transformer layers",
    "swin": "nothing would be shared",
    "convnext": "nothing would be shared",
}


def clip_and_whisper() -> dict[str, ModelSpec]:
    """A tower of images, and what writes down what it hears."""
    small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    clip = CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=32).to_diff_dict()
    heard = {"d_model": 64, "vocab_size": 320, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    for side in ("encoder", "decoder"):
        heard |= {f"{side}_layers": 3, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 128}
    whisper = WhisperConfig(**heard, max_source_positions=64, max_target_positions=64, num_mel_bins=16).to_diff_dict()
    pixels, sound = InputSpec("float32", ("batch", 3, 32, 32)), InputSpec("float32", ("batch", 16, 128))
    said = {"input_features": sound, "decoder_input_ids": InputSpec("int64", ("batch", "decoder_sequence"))}
    clip |= {"architectures": ["CLIPVisionModel"]}
    whisper |= {"architectures": ["WhisperForConditionalGeneration"]}
    return {
        "clip": ModelSpec("clip", clip, {"pixel_values": pixels}, "last_hidden_state"),
        "whisper": ModelSpec("whisper", whisper, said),
    }


MODELS = {**{name: spec_of(name) for name in ARCHITECTURES}, **clip_and_whisper()}


@pytest.mark.parametrize("name", MODELS)
def test_an_architecture_is_taken_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    spec, compressor = MODELS[name], ShareLayers(**BARE, uses=3)
    reason = compressor.supports(spec, HARDWARE)
    if name in REFUSED:
        assert reason and REFUSED[name] in reason and "\n" not in reason
        return
    assert reason is None
    torch.manual_seed(3)
    dense = artifact.save(skeleton(spec.config), tmp_path / "dense", spec)
    if name in ARCHITECTURES:
        examples = make(name, tmp_path / "with data").examples
    else:
        inputs = {"pixel_values": torch.randn(2, 3, 32, 32)}
        if name == "whisper":
            inputs = {
                "input_features": torch.randn(2, 16, 128),
                "decoder_input_ids": torch.ones(2, 5, dtype=torch.int64),
            }
        examples = Examples(inputs)
    made = build_step(compressor, dense, Context(spec, HARDWARE, dense.model, calibration=examples), tmp_path / "made")
    answer = made.load(threads=1)({n: np.ascontiguousarray(v[:2].numpy()) for n, v in examples.inputs.items()})
    with torch.no_grad():
        wanted = getattr(untied(made).float()(**examples[:2].inputs), spec.output).numpy()
    assert answer == pytest.approx(wanted, abs=1e-4)
    for layers in stacks(made.model()):
        assert all(any(a is b for a in layers[1].parameters() for b in layer.parameters()) for layer in layers[1:])
    assert made.disk_bytes < 0.99 * dense.disk_bytes


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"uses": 1}, "uses = 1: must be 2"),
        ({"pattern": "block"}, 'pattern is "block", must be one of blocks, cycle'),
        ({"start": "last"}, 'start is "last", must be one of first, mean, best'),
        ({"recovery_epochs": -1.0}, "recovery_epochs = -1.0: must be 0"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        registry.build("share-layers", given)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_codes_and_layers_that_are_one_already_are_refused(tiny_bert: conformance.Subject) -> None:
    quantize, share = QuantizeWeights(bits=4), ShareLayers(**BARE)
    context = tiny_bert.context(quantize, share)
    packed = quantize.compress(tiny_bert.dense.model(), context).model
    with pytest.raises(Unsupported, match=r"share-layers: its weights are stored as .*share layers before that"):
        share.compress(packed, context)
    once = share.compress(tiny_bert.dense.model(), context).model
    with pytest.raises(Unsupported, match="nothing would be shared"):
        share.compress(once, context)
