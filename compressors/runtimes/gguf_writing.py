"""A language model of transformers as the GGUF file that llama.cpp reads, without its tokenizer."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from compressors.interface import ModelSpec, PressbenchError, Unsupported
from compressors.runtimes.llamacpp import library

TURNED = {"llama": True, "mistral": True, "qwen2": False, "qwen3": False}
"""Architectures that are written -> whether rotary positions turn neighbours in llama.cpp, where transformers turns the
halves of a head."""
NAMED = {"mistral": "llama"}
"""Those that llama.cpp knows by another name."""
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}
"""Types of weights, by llama.cpp's own names -> its numbers for files of them (`llama_ftype`)."""
_ROPE = ("default", None)


def reason(spec: ModelSpec) -> str | None:
    """Why a model cannot be written, in one line; None where it can."""
    config = spec.config
    kind, name = str(config.get("model_type")), str((config.get("architectures") or ["?"])[0])
    if kind not in TURNED or not name.endswith("ForCausalLM"):
        return f"{name} is not written as GGUF here; causal language models of {', '.join(TURNED)} are"
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") not in _ROPE or config.get("rope_scaling"):
        return f"its rotary positions are scaled ({rope.get('rope_type') or config['rope_scaling']})"
    window, longest = config.get("sliding_window"), config.get("max_position_embeddings", 0)
    if window and config.get("use_sliding_window", kind == "mistral") and window < longest:
        return f"its attention sees {window:,} tokens back of {longest:,}; llama.cpp's {NAMED.get(kind, kind)} sees all"
    return None


@dataclass(frozen=True)
class Written:
    """A model to be written. weights: name in transformers -> values. type: of `TYPES`."""

    config: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    type: str

    @staticmethod
    def of(model: nn.Module, spec: ModelSpec, type: str) -> Written:
        """Raises Unsupported for a model that cannot be written."""
        if why := reason(spec):
            raise Unsupported(why)
        settings: Any = model.config
        tied = bool(settings.tie_word_embeddings)
        kept = {n: w for n, w in model.state_dict().items() if not (tied and n == "lm_head.weight")}
        return Written(settings.to_dict(), kept, type)

    def write(self, path: Path) -> None:
        """Raises PressbenchError."""
        if self.type in ("f32", "f16"):
            self._write(path, self.type)
            return
        whole = path.with_suffix(".f32")
        try:
            self._write(whole, "f32")
            _quantize(whole, path, TYPES[self.type])
        finally:
            whole.unlink(missing_ok=True)

    def _write(self, path: Path, type: str) -> None:
        import gguf

        config, kind = self.config, str(self.config["model_type"])
        heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
        groups = config.get("num_key_value_heads") or heads
        head = config.get("head_dim") or config["hidden_size"] // heads
        rope = config.get("rope_parameters") or config
        writer = gguf.GGUFWriter(str(path), NAMED.get(kind, kind))
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_embedding_length(config["hidden_size"])
        writer.add_block_count(layers)
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count(heads)
        writer.add_head_count_kv(groups)
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_rope_dimension_count(head)
        writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_vocab_size(config["vocab_size"])
        writer.add_tokenizer_model("no_vocab")
        writer.add_file_type(TYPES[type])
        arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == NAMED.get(kind, kind))
        names = gguf.get_tensor_name_map(arch, layers)
        for name, values in self.weights.items():
            theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if theirs is None:
                raise PressbenchError(f"{name} has no place in a GGUF file of {arch.name.lower()}")
            found = values.detach().float().cpu().numpy()
            if TURNED[kind] and ".q_proj." in name:
                found = _by_neighbours(found, heads)
            if TURNED[kind] and ".k_proj." in name:
                found = _by_neighbours(found, groups)
            writer.add_tensor(theirs, found.astype(np.float16 if type == "f16" and found.ndim > 1 else np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _by_neighbours(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a projection, (outputs, …), so that the pairs that are turned lie beside each other in a head."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def _quantize(source: Path, target: Path, type: int) -> None:
    """By llama.cpp's own code. Layers whose rows a type's blocks do not divide get the type that it takes then."""
    lib, said = library()
    said.clear()
    settings = lib.llama_model_quantize_default_params()
    settings.ftype, settings.nthread = type, len(os.sched_getaffinity(0))
    if lib.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(settings)):
        raise PressbenchError(f"llama.cpp does not quantize it: {said[0] if said else 'no reason was given'}")
