"""GPTQ by llm-compressor, block after block, the order of columns by activation and the groups as they lie
(`actorder="static"`); saved by its `save_pretrained` as compressed-tensors. What it decodes to are the weights that the
model holds when they have been quantized and before they are packed."""

from __future__ import annotations

from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size, symmetric, damping."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from torch.utils.data import DataLoader

    model = job.dense()
    answer = job.answer(model)
    weights = {
        "num_bits": job.options["bits"], "type": "int", "symmetric": job.options["symmetric"], "strategy": "group",
        "group_size": job.options["group_size"],
    }  # fmt: skip
    recipe = GPTQModifier(
        config_groups={"blocks": {"targets": job.layers, "weights": weights}},
        actorder="static", dampening_frac=job.options["damping"],
    )  # fmt: skip
    examples: Any = job.calibration()
    with job.clock():
        oneshot(
            model=model, dataset=DataLoader(examples, batch_size=None), recipe=recipe, pipeline="sequential",
            processor=object(),  # the texts are tokens already, but it asks for something to make them with
        )  # fmt: skip
    values = {name: model.get_submodule(name).weight.detach().clone() for name in job.layers}
    model.save_pretrained(job.saved, save_compressed=True)
    return {**values, "answer of the dense model": answer}
