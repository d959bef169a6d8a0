"""AutoRound on the CPU, in float32: by default it would take bf16 where the processor has it, and compile. What it
decodes to are the weights that the model holds when they have been rounded and before they are packed."""

from __future__ import annotations

from typing import Any


def quantize(job: Any) -> dict[str, Any]:
    """options: bits, group_size, symmetric, iterations."""
    from auto_round import AutoRound

    model = job.dense()
    answer = job.answer(model)
    examples = job.padded(8)  # its own size of a batch
    count, length = sum(len(e["input_ids"]) for e in examples), examples[0]["input_ids"].shape[1]
    no_tokenizer: Any = object()  # the texts are tokens already, but it asks for one
    rounding = AutoRound(
        model, no_tokenizer, bits=job.options["bits"], group_size=job.options["group_size"],
        sym=job.options["symmetric"], iters=job.options["iterations"], dataset=examples, nsamples=count, seqlen=length,
        seed=job.seed, device_map="cpu", amp=False, enable_torch_compile=False,
    )  # fmt: skip
    with job.clock():
        rounding.quantize()
    values = {name: model.get_submodule(name).weight.detach().clone() for name in job.layers}
    if not job.options["symmetric"]:
        # 4 bits it would pack as AWQ, and fails at it where rounding and saving are two calls: packed as 2 and 3 are.
        rounding.formats = rounding.compress_context.formats = rounding._resolve_format_string("auto_round")
        rounding.formats[0].backend = None
    rounding.save_quantized(str(job.saved), format="auto_round")
    return {**values, "answer of the dense model": answer}
