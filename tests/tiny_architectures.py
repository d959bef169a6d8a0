"""Tiny models of many architectures with the configuration that save_pretrained writes, and made-up data."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from benchmarks.zoo.own.checkpoint import DROPPED
from compressors import artifact
from compressors.artifact import Artifact
from compressors.build import build_step
from compressors.conformance import HARDWARE
from compressors.interface import NOT_SCORED, Compressor, Context, Examples, InputSpec, ModelSpec

VOCABULARY, TOKENS, WRITTEN, CLASSES, SIDE = 320, 16, 8, 3, 32
_WIDTHS = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
_TEXT = {**_WIDTHS, "vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0}
_WORDS = {**_TEXT, "bos_token_id": 2, "eos_token_id": 3}
_DISTIL = {
    "dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128, "vocab_size": VOCABULARY, "max_position_embeddings": 64,
}  # fmt: skip
_BART = {
    "d_model": 64, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": VOCABULARY, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "forced_eos_token_id": 3,
}  # fmt: skip
_T5 = {
    "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 3, "num_heads": 4, "vocab_size": VOCABULARY,
    "decoder_start_token_id": 0,
}  # fmt: skip
_GPT2 = {
    "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY, "bos_token_id": 2,
    "eos_token_id": 3, "pad_token_id": 0,
}  # fmt: skip
_IMAGE = {**_WIDTHS, "image_size": SIDE, "patch_size": 8}

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    # sequence classifiers
    "bert": ("BertForSequenceClassification", _TEXT),
    "bert-pairs": ("BertForSequenceClassification", _TEXT),
    "bert-odd": (
        "BertForSequenceClassification",
        {**_TEXT, "hidden_size": 76, "intermediate_size": 150, "vocab_size": 317},
    ),
    "distilbert": ("DistilBertForSequenceClassification", _DISTIL),
    "roberta": ("RobertaForSequenceClassification", {**_TEXT, "pad_token_id": 1}),
    "albert": ("AlbertForSequenceClassification", {**_TEXT, "embedding_size": 32}),
    "electra": ("ElectraForSequenceClassification", {**_TEXT, "embedding_size": 32}),
    "mpnet": ("MPNetForSequenceClassification", {**_TEXT, "pad_token_id": 1}),
    "deberta": (
        "DebertaV2ForSequenceClassification",
        {
            **_TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
        },
    ),
    "modernbert": ("ModernBertForSequenceClassification", {**_WORDS, "local_attention": 8}),
    "llama-classifier": ("LlamaForSequenceClassification", {**_WORDS, "num_key_value_heads": 2}),
    "gpt2-classifier": ("GPT2ForSequenceClassification", _GPT2),
    "bart-classifier": ("BartForSequenceClassification", _BART),
    # a label for each word
    "bert-words": ("BertForTokenClassification", _TEXT),
    "distilbert-words": ("DistilBertForTokenClassification", _DISTIL),
    # images
    "vit": ("ViTForImageClassification", _IMAGE),
    "deit": ("DeiTForImageClassification", _IMAGE),
    "beit": ("BeitForImageClassification", {**_IMAGE, "use_relative_position_bias": True, "use_mask_token": False}),
    "dinov2": ("Dinov2ForImageClassification", _IMAGE),
    "swin": (
        "SwinForImageClassification",
        {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": SIDE, "patch_size": 4},
    ),
    "convnext": ("ConvNextForImageClassification", {"hidden_sizes": [16, 32], "depths": [2, 2], "num_stages": 2}),
    "resnet": (
        "ResNetForImageClassification",
        {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 2], "layer_type": "basic"},
    ),
    # language models
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "opt": ("OPTForCausalLM", {**_WORDS, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "llama": ("LlamaForCausalLM", {**_WORDS, "num_key_value_heads": 2}),
    "qwen3": ("Qwen3ForCausalLM", {**_WORDS, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True}),
    "neox": ("GPTNeoXForCausalLM", _WORDS),
    "mistral": ("MistralForCausalLM", {**_WORDS, "num_key_value_heads": 2, "sliding_window": 8}),
    "gemma3": (
        "Gemma3ForCausalLM",
        {**_WORDS, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 8, "tie_word_embeddings": True},
    ),
    "phi3": ("Phi3ForCausalLM", {**_WORDS, "num_key_value_heads": 2}),
    "bloom": ("BloomForCausalLM", {"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": VOCABULARY}),
    # embedders
    "bert-embedder": ("BertModel", _TEXT),
    "mpnet-embedder": ("MPNetModel", {**_TEXT, "pad_token_id": 1}),
    "xlmr-embedder": ("XLMRobertaModel", {**_TEXT, "pad_token_id": 1}),
    # one text from another
    "t5": ("T5ForConditionalGeneration", _T5),
    "flan-t5": ("T5ForConditionalGeneration", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "marian": ("MarianMTModel", {**_BART, "decoder_start_token_id": 0, "static_position_embeddings": True}),
    "bart": ("BartForConditionalGeneration", _BART),
}


@dataclasses.dataclass
class Subject:
    """A tiny model and what was made of it so far."""

    name: str
    folder: Path
    spec: ModelSpec
    model: nn.Module
    examples: Examples
    dense: Artifact
    made: dict[tuple[Compressor, ...], Artifact | Exception]

    def artifact(self, steps: tuple[Compressor, ...]) -> Artifact:
        """The artifact of a recipe, each beginning of one made once; what making it raised, the same again."""
        if not steps:
            return self.dense
        if steps not in self.made:
            needs = steps[-1].needs
            context = Context(
                model=self.spec,
                hardware=HARDWARE,
                dense=self.dense.model,
                calibration=self.examples[:16] if "calibration" in needs else None,
                training=self.examples if "training" in needs else None,
            )
            before = self.artifact(steps[:-1])
            try:
                self.made[steps] = build_step(steps[-1], before, context, Path(tempfile.mkdtemp(dir=self.folder)))
            except Exception as error:
                self.made[steps] = error
        found = self.made[steps]
        if isinstance(found, Exception):
            raise found
        return found


def spec_of(name: str) -> ModelSpec:
    """What the suite would know of it."""
    head, settings = ARCHITECTURES[name]
    more = {} if head.endswith("Model") else {"num_labels": CLASSES}
    if head.endswith(("LM", "LMHeadModel", "MTModel", "ForConditionalGeneration")):
        more = {}
    made = getattr(transformers, head).config_class(**settings, **more)
    config = {k: v for k, v in made.to_diff_dict().items() if k not in DROPPED} | {"architectures": [head]}
    words = InputSpec("int64", ("batch", "sequence"))
    if "Image" in head:
        return ModelSpec(name, config, {"pixel_values": InputSpec("float32", ("batch", 3, SIDE, SIDE))})
    inputs = {"input_ids": words, "attention_mask": words}
    if name == "bert-pairs":
        inputs["token_type_ids"] = words
    if head.endswith(("ForConditionalGeneration", "MTModel")):
        inputs["decoder_input_ids"] = InputSpec("int64", ("batch", "decoder_sequence"))
    embeds = head.endswith("Model") and not head.endswith(("LMHeadModel", "MTModel"))
    return ModelSpec(name, config, inputs, "last_hidden_state" if embeds else "logits")


def examples_of(spec: ModelSpec, count: int = 32, tokens: int = TOKENS, written: int = WRITTEN) -> Examples:
    """Half of the vocabulary, texts of several lengths, labels as the kinds of tasks have them."""
    coin = torch.Generator().manual_seed(3)
    head = spec.config["architectures"][0]

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=coin)

    if "pixel_values" in spec.inputs:
        return Examples({"pixel_values": torch.randn(count, 3, SIDE, SIDE, generator=coin)}, whole(0, CLASSES, count))
    pad = int(spec.config.get("pad_token_id") or 0)
    mask = (torch.arange(tokens) < whole(tokens // 2, tokens + 1, count, 1)).long()
    ids = whole(5, VOCABULARY // 2, count, tokens).masked_fill(mask == 0, pad)
    ends = mask.sum(1, keepdim=True) - 1
    ids.scatter_(1, ends, 3)  # a token that ends a text
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in spec.inputs:
        inputs["token_type_ids"] = (torch.arange(tokens) > 5).long() * mask
    if "decoder_input_ids" in spec.inputs:
        lengths = whole(1, written + 1, count, 1)
        labels = whole(5, VOCABULARY // 2, count, written).masked_fill(torch.arange(written) >= lengths, NOT_SCORED)
        shifted = torch.roll(labels, 1, dims=1)
        shifted[:, 0] = 2
        inputs["decoder_input_ids"] = shifted.masked_fill(shifted == NOT_SCORED, pad)
        return Examples(inputs, labels)
    if head.endswith("ForTokenClassification"):
        words = (mask == 1) & (whole(0, 3, count, tokens) > 0)
        return Examples(inputs, whole(0, CLASSES, count, tokens).masked_fill(~words, NOT_SCORED))
    if head.endswith(("ForCausalLM", "LMHeadModel")):
        labels = torch.full_like(ids, NOT_SCORED)
        labels[:, :-1] = ids[:, 1:].masked_fill(mask[:, 1:] == 0, NOT_SCORED)
        return Examples(inputs, labels)
    if spec.output == "last_hidden_state":
        return Examples(inputs, torch.arange(count).masked_fill(torch.arange(count) >= count // 2, NOT_SCORED))
    return Examples(inputs, whole(0, CLASSES, count))


def make(name: str, folder: Path) -> Subject:
    """The model of an architecture, in `folder` as someone else would have saved it, read as the suite reads it."""
    spec = spec_of(name)
    cls = getattr(transformers, spec.config["architectures"][0])
    torch.manual_seed(11)
    model = cls(cls.config_class(**{k: v for k, v in spec.config.items() if k != "model_type"})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # transformers starts out so small that every answer is nearly the same
                parameter.mul_(3)
    examples = examples_of(spec)
    labels = examples.labels if spec.output == "logits" else None
    logits = None
    if labels is not None and labels.dim() == 1:
        with torch.no_grad():
            logits = model(**examples.inputs).logits
    dense = artifact.save(model, folder / "dense", spec)
    return Subject(name, folder, spec, model, Examples(examples.inputs, labels, logits), dense, {})
