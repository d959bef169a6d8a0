"""Weights out of a GGUF file are those that transformers reads from it."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

from benchmarks.zoo.assets import smollm2

LAYERS, WIDTH, HEADS, GROUPS, INNER = 2, 64, 4, 2, 96
TOKENS = [f"<{number}>" for number in range(40)]


def write(path: Path) -> None:
    """A small model as llama.cpp has it, some of it in 4 bits."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * len(TOKENS))
    writer.add_token_merges(["< 0"])  # llama.cpp takes none without
    group = WIDTH // HEADS * GROUPS
    shapes = {
        "attn_q": (WIDTH, WIDTH),
        "attn_k": (group, WIDTH),
        "attn_v": (group, WIDTH),
        "attn_output": (WIDTH, WIDTH),
    }
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    rng = np.random.default_rng(0)
    whole = {"token_embd.weight": (len(TOKENS), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        whole |= {f"blk.{layer}.{name}.weight": shape for name, shape in shapes.items()}
        whole |= {f"blk.{layer}.{name}.weight": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in whole.items():
        values = rng.normal(size=shape).astype(np.float32)
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_are_those_that_transformers_reads(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf")
    wanted = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    found = smollm2.weights(tmp_path / "tiny.gguf", LAYERS, {"q_proj": HEADS, "k_proj": GROUPS})
    state = wanted.state_dict()
    assert found.keys() == state.keys() - {"lm_head.weight"}
    for name, values in found.items():
        torch.testing.assert_close(values, state[name], rtol=0, atol=0, msg=name)


def test_a_part_that_is_not_known_is_no_weight_left_out(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf")
    with pytest.raises(KeyError, match=r"blk\.1"):
        smollm2.weights(tmp_path / "tiny.gguf", 1, {"q_proj": HEADS, "k_proj": GROUPS})
