"""GPTQ by GPTQModel on the CPU, in float32: by default it would take bf16 there. Saved by its own `save`, and decoded,
in fp16, by the layers that it loads from that."""

from __future__ import annotations

import functools
import os
from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size, symmetric, act_order, damping."""
    # Threads of its own. It takes half as many as there are processors, and then two of them to load with: on two
    # processors it stops there (`model_loader:cpu` in its `__init__`, 7.6.0).
    os.environ["GPTQMODEL_CPU_WORKERS"] = "2"
    os.environ["GPTQMODEL_DISABLE_PACK_EXT"] = "1"  # its C++ that packs wants a compiler; without, it does so in torch
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization import GPTQConfig

    ordered, symmetric = job.options["act_order"], job.options["symmetric"]
    config = GPTQConfig(
        bits=job.options["bits"], group_size=job.options["group_size"], sym=symmetric,
        desc_act=ordered, static_groups=ordered, act_group_aware=not ordered, damp_percent=job.options["damping"],
        # Version 1 stores zero points less one, word by word: one that is 0 changes those beside it.
        format="gptq" if symmetric else "gptq_v2", device="cpu", offload_to_disk=False,
    )  # fmt: skip
    _write_tokenizer(job.model)
    model = GPTQModel.load(job.model, config, dtype=torch.float32)
    answer = job.answer(model.model)
    examples = [{name: values[0].tolist() for name, values in one.items()} for one in job.calibration()]
    # It leaves out texts of ten tokens or fewer, and its `quantize` does not hand on what it is told of that.
    model.prepare_dataset = functools.partial(model.prepare_dataset, calibration_data_min_length=0)
    with job.clock():
        model.quantize(examples)
    given, seen = sum(len(one["input_ids"]) for one in examples), max(int(one["samples"]) for one in model.quant_log)
    if seen != given:
        raise RuntimeError(f"calibrated on {seen} of {given} tokens")
    model.save(str(job.saved))
    back = GPTQModel.load(str(job.saved), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16).model
    layers = {name: back.get_submodule(name) for name in job.layers}
    # The class's own: a layer's is compiled, which wants a compiler.
    values = {name: type(layer).dequantize_weight(layer).T for name, layer in layers.items()}
    return {**values, "answer of the dense model": answer}


def _write_tokenizer(folder: str) -> None:
    """The texts are tokens already, but it loads no model without a tokenizer beside it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words: Any = Tokenizer(WordLevel({"-": 0}, unk_token="-"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="-", pad_token="-").save_pretrained(folder)
