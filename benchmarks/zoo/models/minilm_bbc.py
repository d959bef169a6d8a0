"""minilm-bbc: all-MiniLM-L6-v2 with a classification head, fine-tuned here on BBC News."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import torch
import transformers
from torch import nn

from benchmarks.cache import Cache
from benchmarks.zoo.assets import minilm
from benchmarks.zoo.model import Model
from benchmarks.zoo.owners_run import OwnersRun, by_pipeline
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.bbc_news import TASK
from benchmarks.zoo.wheel import WheelAsset
from benchmarks.zoo.workload import Workload
from compressors.interface import Examples, Hardware, InputSpec, Progress
from compressors.training import supervised, train

TOKENS = 128


@dataclass(frozen=True)
class MiniLmBbc(Model):
    """The first 128 tokens of each document; every input is padded to 128, so that a prediction does
    not depend on its neighbours in the batch."""

    name: ClassVar[str] = "minilm-bbc"
    tokens: ClassVar[int] = TOKENS
    task: ClassVar[Task] = TASK
    inputs: ClassVar[Mapping[str, InputSpec]] = {
        "input_ids": InputSpec("int64", ("batch", "sequence")),
        "attention_mask": InputSpec("int64", ("batch", "sequence")),
    }
    workloads: ClassVar[tuple[Workload, ...]] = (Workload(8, TOKENS),)
    assets: ClassVar[tuple[WheelAsset, ...]] = (minilm.ASSET, *TASK.assets)
    nightly_workloads: ClassVar[tuple[Workload, ...]] = (Workload(1, TOKENS), Workload(32, TOKENS))

    def config(self) -> dict[str, Any]:
        return {
            "model_type": "bert",
            "architectures": ["BertForSequenceClassification"],
            "hidden_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
            "hidden_act": "gelu",
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
            "num_labels": len(TASK.labels),
            "id2label": dict(enumerate(TASK.labels)),
            "label2id": {label: i for i, label in enumerate(TASK.labels)},
        }

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.ASSET.folder(cache), local_files_only=True)
        encoded = tokenizer(
            data["text"][:], truncation=True, max_length=self.tokens, padding="max_length", return_tensors="pt"
        )
        return Examples({name: encoded[name] for name in self.inputs}, torch.tensor(data["label"][:]))

    def owners_run(self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache) -> OwnersRun:
        tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.ASSET.folder(cache), local_files_only=True)
        cut = {"truncation": True, "max_length": self.tokens}
        return by_pipeline("text-classification", rows["text"], dense(), "logits", tokenizer=tokenizer, prepare=cut)

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        torch.manual_seed(0)
        config = self.config()
        model = transformers.BertForSequenceClassification.from_pretrained(
            minilm.ASSET.folder(cache),
            config=transformers.BertConfig(**config),
            local_files_only=True,
            use_safetensors=True,
        )
        # The token embedding, half of all weights, is held: as good on the test documents, and a step is shorter.
        model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        return train(
            model,
            examples,
            supervised,
            hardware,
            epochs=1.75,
            learning_rate=1.5e-4,
            progress=progress,
            what="fine-tuning",
        )


MODEL = MiniLmBbc()
