"""Cutting a head, a neuron or a layer out is the same as silencing it, and a model that cannot be cut says so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from compressors import registry, surgery, units
from compressors.conformance import HARDWARE
from compressors.interface import InputSpec, ModelSpec
from compressors.skeleton import NoFilling, skeleton
from compressors.surgery import UnknownStructure
from compressors.tiny_specs import TINY_SPECS
from compressors.units import Block

TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
    "max_position_embeddings": 32,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA = {**TEXT, "model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "num_key_value_heads": 4}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "bert": {**TEXT, "model_type": "bert", "architectures": ["BertForSequenceClassification"]},
    "vit": TINY_SPECS["vit"].config,
    "llama": LLAMA,
    "distilbert": {
        "model_type": "distilbert",
        "architectures": ["DistilBertForSequenceClassification"],
        "dim": 32,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
        "vocab_size": 100,
    },
}
cuttable = pytest.mark.parametrize("kind", CONFIGS)


def build(kind: str) -> nn.Module:
    """In double precision, where a sum that leaves zeros out is the same to the last digits."""
    torch.manual_seed(5)
    model = skeleton(CONFIGS[kind]).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def answer(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    inputs: dict[str, Tensor]
    if "image_size" in CONFIGS["vit"] and model.main_input_name == "pixel_values":
        inputs = {"pixel_values": torch.randn(3, 1, 8, 8, generator=generator).double()}
    else:
        ids = torch.randint(3, 100, (3, 7), generator=generator)
        mask = torch.ones_like(ids)
        mask[1, 4:] = 0
        inputs = {"input_ids": ids * mask, "attention_mask": mask}
    with torch.inference_mode():
        return model(**inputs).logits


def same(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one, other, rtol=1e-11, atol=1e-11))


def silence(model: nn.Module, name: str, columns: Tensor) -> None:
    """What a layer hears on these inputs becomes zero."""
    with torch.no_grad():
        surgery.get(model, name).weight[:, columns] = 0


# -- edits -----------------------------------------------------------------------------------------


@cuttable
def test_pruning_heads_is_silencing_them(kind: str) -> None:
    dense, silenced, pruned = build(kind), build(kind), build(kind)
    for number, block in enumerate(units.blocks(pruned)):
        kept = [[0, 2], [3], [1, 2, 3]][number % 3]
        gone = [h for h in range(4) if h not in kept]
        silence(
            silenced,
            block.attention.output,
            torch.cat([torch.arange(h * block.attention.head_size, (h + 1) * block.attention.head_size) for h in gone]),
        )
        units.keep_heads(pruned, block.attention, kept)
        assert units.blocks(pruned)[number].attention.heads == len(kept)
        assert surgery.get(pruned, block.attention.query.layer).out_features == len(kept) * block.attention.head_size
    assert same(answer(pruned), answer(silenced))
    assert not same(answer(pruned), answer(dense)), "the heads did not matter, the test shows nothing"


@cuttable
def test_pruning_neurons_is_silencing_them(kind: str) -> None:
    dense, silenced, pruned = build(kind), build(kind), build(kind)
    for block in units.blocks(pruned):
        width = surgery.get(pruned, block.feed_forward.contract).in_features
        kept = torch.arange(0, width, 3)
        silence(silenced, block.feed_forward.contract, torch.tensor([i for i in range(width) if i % 3]))
        units.keep_neurons(pruned, block.feed_forward, kept)
        assert surgery.get(pruned, block.feed_forward.contract).in_features == len(kept)
    assert same(answer(pruned), answer(silenced))
    assert not same(answer(pruned), answer(dense))


@cuttable
def test_pruning_twice_is_pruning_what_was_left(kind: str) -> None:
    once, twice = build(kind), build(kind)
    for block in units.blocks(once):
        units.keep_heads(once, block.attention, [3])
    for heads in ([1, 3], [1]):  # of 0…3, then of the two that are left
        for block in units.blocks(twice):
            units.keep_heads(twice, block.attention, heads)
    assert same(answer(once), answer(twice))


@pytest.mark.parametrize("kind", ["bert", "vit", "llama"])
def test_keeping_layers_is_a_model_of_those_layers(kind: str) -> None:
    model = build(kind)
    stack = surgery.layer_list(model)
    smaller = skeleton({**CONFIGS[kind], "num_hidden_layers": 2}).double()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith(f"{stack}.")}
    for position, layer in enumerate([0, 2]):
        found = surgery.get(model, f"{stack}.{layer}").state_dict()
        state |= {f"{stack}.{position}.{name}": tensor for name, tensor in found.items()}
    smaller.load_state_dict(state)
    before = answer(model)
    surgery.keep_layers(model, [0, 2])
    assert same(answer(model), answer(smaller))
    assert not same(answer(model), before)
    assert model.config.num_hidden_layers == len(units.blocks(model)) == 2


def test_a_cut_model_still_generates_with_its_cache() -> None:
    model = skeleton({**LLAMA, "architectures": ["LlamaForCausalLM"]}).double()
    surgery.keep_layers(model, [0, 2])
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        first = model(input_ids=ids[:, :3], use_cache=True)
        cached = model(input_ids=ids[:, 3:], past_key_values=first.past_key_values).logits[:, -1]
        assert same(cached, model(input_ids=ids).logits[:, -1])


# -- finding ---------------------------------------------------------------------------------------


@cuttable
def test_every_linear_layer_of_a_block_is_found_once(kind: str) -> None:
    model = build(kind)
    found = units.blocks(model)
    assert len(found) == 3
    for block in found:
        inside = {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(f"{block.name}.")}
        assert sorted(block.linears) == sorted(inside)
        assert len(block.feed_forward.expand) == (2 if kind == "llama" else 1)
        assert block.attention.head_size == (16 if kind == "vit" else 8)


GROUPED = {**LLAMA, "num_key_value_heads": 2}
MOE = {
    **TEXT,
    "model_type": "mixtral",
    "architectures": ["MixtralForSequenceClassification"],
    "num_local_experts": 2,
    "num_key_value_heads": 2,
}
OLMO2 = {**TEXT, "model_type": "olmo2", "architectures": ["Olmo2ForCausalLM"]}
GPT2 = {
    "model_type": "gpt2",
    "architectures": ["GPT2ForSequenceClassification"],
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "vocab_size": 100,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def find(model: nn.Module) -> list[Block]:
    return units.blocks(model)


def cut_a_head(model: nn.Module) -> None:
    units.keep_heads(model, units.blocks(model)[0].attention, [0])


@pytest.mark.parametrize(
    ("config", "check", "reason"),
    [
        (GPT2, find, "transformer.h.0 of GPT2ForSequenceClassification: no layer named like 'query' or 'qkv'"),
        (OLMO2, find, "model.layers.0.self_attn of Olmo2ForCausalLM: q_norm.weight spans all heads, they cannot be"),
        (MOE, find, "model.layers.0 of MixtralForSequenceClassification: no feed-forward part of the usual form"),
        (
            {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]},
            find,
            "ResNetForImageClassification has no list of Transformer layers",
        ),
        ({**LLAMA, "hidden_size": "wide"}, find, "transformers cannot build odd: "),
        ({**LLAMA, "architectures": ["os"]}, find, "transformers cannot build odd: config: 'os' is not a model class"),
        (LLAMA, cut_a_head, None),
        (GROUPED, find, None),
    ],
    ids=["gpt2", "norm-over-heads", "experts", "resnet", "nonsense", "no-model", "llama", "grouped-blocks"],
)
def test_a_model_that_cannot_be_cut_gives_its_reason(
    config: Mapping[str, Any], check: Callable[[nn.Module], object], reason: str | None
) -> None:
    found = surgery.structure_reason(ModelSpec("odd", config, {}), check)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(reason)
        assert "\n" not in found


def test_a_skeleton_is_built_once_and_never_handed_on_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[nn.Module] = []

    def counted(config: Mapping[str, Any], *, device: str) -> nn.Module:
        built.append(skeleton(config, device=device))
        return built[-1]

    monkeypatch.setattr(surgery, "skeleton", counted)
    monkeypatch.setattr(surgery, "_SKELETONS", {})
    spec = ModelSpec("llama", LLAMA, {})

    def widths(model: nn.Module) -> None:
        raise UnknownStructure(
            str([surgery.get(model, b.attention.query.layer).out_features for b in units.blocks(model)])
        )

    whole = surgery.structure_reason(spec, widths)
    assert surgery.structure_reason(spec, widths) == whole and len(built) == 1
    for change in (cut_a_head, lambda m: surgery.keep_layers(m, [0]), lambda m: setattr(m.config, "hidden_act", "x")):
        surgery.structure_reason(spec, change)
        assert surgery.structure_reason(spec, widths) == whole
    assert len(built) == 4


def test_the_word_embedding_is_found_where_there_is_one() -> None:
    assert surgery.word_embedding(build("bert")) == "bert.embeddings.word_embeddings"
    assert surgery.word_embedding(build("llama")) == "model.embed_tokens"
    assert surgery.word_embedding(build("vit")) is None


def test_a_cast_leaves_alone_what_no_file_holds() -> None:
    """As transformers loads a model in bf16; rounded frequencies would take positions for their neighbours."""
    from compressors import conformance

    dense = conformance.subject("llama").dense
    wanted = {name: values.clone() for name, values in dense.model().named_buffers()}
    assert any("inv_freq" in name for name in wanted)
    model = surgery.cast(dense.model(), torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for name, values in model.named_buffers():
        torch.testing.assert_close(values, wanted[name], rtol=0, atol=0)


# -- asking without weights --------------------------------------------------------------------------


def test_a_skeleton_without_memory_is_not_filled_and_one_with_memory_is() -> None:
    torch.manual_seed(3)
    ours = skeleton(LLAMA)
    torch.manual_seed(3)
    parsed = transformers.AutoConfig.for_model(**{k: v for k, v in LLAMA.items() if k != "architectures"})
    theirs = transformers.LlamaForSequenceClassification(parsed)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    before = torch.get_rng_state()
    empty = skeleton(LLAMA, empty=True)
    assert torch.equal(torch.get_rng_state(), before), "what has no memory drew numbers"
    assert all(parameter.is_meta for parameter in empty.parameters())
    own, wanted = dict(empty.named_buffers()), dict(theirs.named_buffers())
    assert own and all(torch.equal(own[name], wanted[name]) for name in wanted), "buffers are not saved: they are real"


def test_fills_of_tensors_without_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._refs.normal", lambda *_, **__: pytest.fail("torch filled what has no memory"))
    with NoFilling():
        assert torch.empty(3, device="meta").normal_().is_meta
        nn.Linear(3, 4, device="meta")
        assert torch.zeros(100).normal_().std() > 0.5


def test_what_was_asked_before_of_the_same_model_is_answered_at_once() -> None:
    asked: list[int] = []

    def check(model: nn.Module) -> None:
        asked.append(len(list(model.parameters())))
        raise UnknownStructure(f"asked {len(asked)} times")

    spec = ModelSpec("a", LLAMA, {})
    other = ModelSpec("b", {**LLAMA, "num_hidden_layers": 2}, {})
    inputs = ModelSpec("a", LLAMA, {"input_ids": InputSpec("int64", ("batch", "sequence"))})
    key = ("test_surgery", 0.5)
    assert [surgery.structure_reason(spec, check, key) for _ in range(2)] == ["asked 1 times"] * 2
    assert surgery.structure_reason(other, check, key) == "asked 2 times"
    assert surgery.structure_reason(inputs, check, key) == "asked 3 times"
    assert surgery.structure_reason(spec, check, (*key, 1)) == "asked 4 times"
    assert surgery.structure_reason(spec, check) == "asked 5 times"
    assert surgery.structure_reason(dataclasses.replace(spec, name="c"), check, key) == "asked 6 times"  # it is named


def test_shares_that_take_nothing_are_told_beside_shares_that_do() -> None:
    """Both were asked of one model, and each has its own answer."""
    spec = ModelSpec("few", {**TEXT, "model_type": "bert", "architectures": ["BertForSequenceClassification"]}, {})
    reasons = [
        registry.build("prune-structured", {"heads_removed": 0.0, "neurons_removed": share}).supports(spec, HARDWARE)
        for share in (0.5, 0.001, 0.5)
    ]
    assert reasons[0] is None and reasons[2] is None
    assert reasons[1] is not None and "nothing would go" in reasons[1]
