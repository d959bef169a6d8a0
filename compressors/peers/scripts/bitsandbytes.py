"""NF4 by bitsandbytes, through transformers, as its users have it: saved by `save_pretrained`."""

from __future__ import annotations

from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: block_size, double (whether the scales are quantized too)."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=job.options["double"], llm_int8_skip_modules=job.others or None,
    )  # fmt: skip
    job.dense(device_map="cpu")  # imports what it needs to load, which does not count
    with job.clock():
        model = job.dense(quantization_config=config, device_map="cpu")
    model.save_pretrained(job.saved)
    weights = {name: model.get_submodule(name).weight for name in job.layers}
    return {name: dequantize_4bit(weight.data, weight.quant_state) for name, weight in weights.items()}
