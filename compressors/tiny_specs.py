"""The tiny models that the conformance checks run on, a BERT, a ViT and a Llama, as specs, with made-up data."""

from __future__ import annotations

import torch

from compressors.interface import NOT_SCORED, Examples, InputSpec, ModelSpec

_CLASSES, _VOCABULARY = 3, 600

TINY_SPECS = {
    "bert": ModelSpec(
        "tiny-bert",
        {
            "model_type": "bert",
            "architectures": ["BertForSequenceClassification"],
            "vocab_size": _VOCABULARY,
            "hidden_size": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "max_position_embeddings": 32,
            "num_labels": _CLASSES,
        },
        {
            "input_ids": InputSpec("int64", ("batch", "sequence")),
            "attention_mask": InputSpec("int64", ("batch", "sequence")),
        },
    ),
    "vit": ModelSpec(
        "tiny-vit",
        {
            "model_type": "vit",
            "architectures": ["ViTForImageClassification"],
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 128,
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 1,
            "num_labels": _CLASSES,
        },
        {"pixel_values": InputSpec("float32", ("batch", 1, 8, 8))},
    ),
    "llama": ModelSpec(
        "tiny-llama",
        {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": _VOCABULARY,
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 128,
            "max_position_embeddings": 64,
            "tie_word_embeddings": True,
            "use_cache": False,
        },
        {
            "input_ids": InputSpec("int64", ("batch", "sequence")),
            "attention_mask": InputSpec("int64", ("batch", "sequence")),
        },
    ),
}


def tiny_examples(spec: ModelSpec, count: int = 48) -> Examples:
    """Made-up examples: half the vocabulary is used, and lengths differ where there is a mask."""
    generator = torch.Generator().manual_seed(7)
    if "pixel_values" in spec.inputs:
        inputs = {"pixel_values": torch.randn(count, 1, 8, 8, generator=generator)}
    else:
        ids = torch.randint(1, int(spec.config["vocab_size"]) // 2, (count, 16), generator=generator)
        lengths = torch.randint(6, 17, (count, 1), generator=generator)
        mask = (torch.arange(16)[None] < lengths).long()
        inputs = {"input_ids": ids * mask, "attention_mask": mask}
        if spec.config["architectures"][0].endswith("ForCausalLM"):
            labels = torch.full_like(ids, NOT_SCORED)
            labels[:, :-1] = ids[:, 1:].masked_fill(mask[:, 1:] == 0, NOT_SCORED)
            return Examples(inputs, labels)
    return Examples(inputs, torch.randint(0, _CLASSES, (count,), generator=generator))
