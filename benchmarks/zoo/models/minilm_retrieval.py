"""minilm-retrieval: all-MiniLM-L6-v2 as published, finding the body that belongs to a headline."""

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
from benchmarks.zoo.models.minilm_bbc import MODEL as CLASSIFIER
from benchmarks.zoo.models.minilm_bbc import TOKENS
from benchmarks.zoo.owners_run import OwnersRun, by_calls, tokens_of
from benchmarks.zoo.task import Task
from benchmarks.zoo.tasks.bbc_headlines import TASK
from benchmarks.zoo.wheel import WheelAsset
from benchmarks.zoo.workload import Workload
from compressors.interface import NOT_SCORED, Examples, Hardware, InputSpec, Progress

_HEAD = ("num_labels", "id2label", "label2id")


@dataclass(frozen=True)
class MiniLmRetrieval(Model):
    """Headlines, then bodies, their first 128 tokens each. Nothing is trained."""

    name: ClassVar[str] = "minilm-retrieval"
    task: ClassVar[Task] = TASK
    inputs: ClassVar[Mapping[str, InputSpec]] = CLASSIFIER.inputs
    workloads: ClassVar[tuple[Workload, ...]] = CLASSIFIER.workloads
    nightly_workloads: ClassVar[tuple[Workload, ...]] = CLASSIFIER.nightly_workloads
    assets: ClassVar[tuple[WheelAsset, ...]] = (minilm.ASSET, *TASK.assets)

    def config(self) -> dict[str, Any]:
        body = {key: value for key, value in CLASSIFIER.config().items() if key not in _HEAD}
        return body | {"architectures": ["BertModel"]}

    def encode(self, data: datasets.Dataset, cache: Cache) -> Examples:
        tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.ASSET.folder(cache), local_files_only=True)
        texts = [*data["headline"], *data["body"]]
        encoded = tokenizer(texts, truncation=True, max_length=TOKENS, padding="max_length", return_tensors="pt")
        places = torch.arange(len(data))
        labels = torch.cat([places, torch.full_like(places, NOT_SCORED)])
        return Examples({name: encoded[name] for name in self.inputs}, labels)

    def owners_run(self, rows: Mapping[str, Sequence[Any]], dense: Callable[[], nn.Module], cache: Cache) -> OwnersRun:
        tokenizer = transformers.AutoTokenizer.from_pretrained(minilm.ASSET.folder(cache), local_files_only=True)
        published = transformers.AutoModel.from_pretrained(minilm.ASSET.folder(cache), local_files_only=True)
        return by_calls(
            published.eval(),
            map(tokens_of(tokenizer, tuple(self.inputs), TOKENS), [*rows["headline"], *rows["body"]]),
            self.task.quality.output,
            blocks=2,
        )

    def train(self, examples: Examples, cache: Cache, hardware: Hardware, progress: Progress) -> nn.Module:
        config = transformers.BertConfig(**self.config())
        return transformers.BertModel.from_pretrained(
            minilm.ASSET.folder(cache), config=config, local_files_only=True, use_safetensors=True
        ).eval()


MODEL = MiniLmRetrieval()
