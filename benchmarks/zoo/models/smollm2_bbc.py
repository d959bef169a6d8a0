"""smollm2-bbc: SmolLM2-135M-Instruct as published, its perplexity on BBC News, reading and writing speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
from torch import nn

from benchmarks.cache import Cache
from benchmarks.quality.language_modelling import next_tokens
from benchmarks.zoo.assets import smollm2
from benchmarks.zoo.model import Model
from benchmarks.zoo.owners_run import OwnersRun, by_calls, tokens_of
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.bbc_text import TASK
from benchmarks.zoo.wheel import WheelAsset
from benchmarks.zoo.workload import Workload, decode, prefill
from compressors.interface import Examples, Hardware, InputSpec, Progress
from compressors.skeleton import skeleton

CONTEXT = 128


@dataclass(frozen=True)
class Smollm2Bbc(Model):
    """Perplexity of the first 128 tokens of each document, the first of them given. Nothing is trained: the dense
    model is the published one, its 4-bit weights as fp32."""

    name: ClassVar[str] = "smollm2-bbc"
    context: ClassVar[int] = CONTEXT
    task: ClassVar[Task] = TASK
    inputs: ClassVar[Mapping[str, InputSpec]] = {
        "input_ids": InputSpec("int64", ("batch", "sequence")),
        "attention_mask": InputSpec("int64", ("batch", "sequence")),
    }
    workloads: ClassVar[tuple[Workload, ...]] = (prefill(1, 128), decode(1, 128, 16))
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (
        prefill(1, 512), prefill(8, 128), decode(8, 128, 16), decode(1, 1024, 16),
    )  # fmt: skip
    memory_workload: ClassVar[Workload | None] = Workload(1, CONTEXT)
    assets: ClassVar[tuple[WheelAsset, ...]] = (smollm2.ASSET, *TASK.assets)
    also: ClassVar[tuple[str, ...]] = (  # what decoding gains by, and what has a grid of its own
        "prune-layers-20",
        "weight-only-8bit",
        "weight-only-4bit-g64",
        "weight-only-4bit-g32",
        "weight-only-openvino-8bit",
        "weight-only-openvino-4bit-g64",
    )
    evaluation_batch: ClassVar[int] = 4
    flip_examples: ClassVar[int] = 16

    def config(self) -> dict[str, Any]:
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "intermediate_size": 1536,
            "hidden_act": "silu",
            "vocab_size": 49152,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
            # A pass over a whole text fills no cache, and an exported graph has none; who generates asks for it.
            "use_cache": False,
        }

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        encoded = smollm2.tokenizer(cache)(
            data["text"][:], truncation=True, max_length=self.context, padding="max_length", padding_side="right",
            return_tensors="pt",
        )  # fmt: skip
        return Examples({name: encoded[name] for name in self.inputs}, next_tokens(**encoded))

    def owners_run(self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache) -> OwnersRun:
        # Its weights as published are read from GGUF, which takes longer than all else here: `train` copied them.
        tokenizer = smollm2.tokenizer(cache)
        return by_calls(
            dense(),
            map(tokens_of(tokenizer, tuple(self.inputs), self.context), rows["text"][: self.evaluation_batch]),
            "logits",
        )

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        progress("reading the weights", 0, 1)
        config = self.config()
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        found = smollm2.weights(smollm2.ASSET.folder(cache) / smollm2.FILE, config["num_hidden_layers"], heads)
        model = skeleton(config, empty=True)
        tied = {"lm_head.weight": found["model.embed_tokens.weight"]}
        model.load_state_dict(found | tied, assign=True)
        made: Any = model  # of transformers, which ties by itself what it loads by itself
        made.tie_weights()
        progress("reading the weights", 1, 1)
        return model


MODEL = Smollm2Bbc()
