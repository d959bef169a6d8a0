"""Two tiny encoder-decoder models with seeded weights, texts for them, and a tokenizer of 64 words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from torch import nn

from compressors.interface import NOT_SCORED, Examples, InputSpec, ModelSpec

VOCABULARY, END, UNKNOWN, ROWS, LONGEST = 64, 1, 2, 9, 7
KINDS = ("marian", "t5")
NEW = 12
"""Tokens of the longest text that is written."""
PAD = {"marian": 63, "t5": 0}
RULES = {"marian": (("bad_words_ids", ((PAD["marian"],),)),), "t5": ()}
INPUTS = {
    "input_ids": InputSpec("int64", ("batch", "sequence")),
    "attention_mask": InputSpec("int64", ("batch", "sequence")),
    "decoder_input_ids": InputSpec("int64", ("batch", "decoder_sequence")),
}


def config(kind: str) -> dict[str, Any]:
    """The configuration of a model of 2 + 2 layers × 32."""
    common = {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "pad_token_id": PAD[kind],
        "eos_token_id": END,
        "tie_word_embeddings": False,
    }
    if kind == "marian":
        made: Any = transformers.MarianConfig(
            **common, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=32, decoder_start_token_id=PAD[kind],
            forced_eos_token_id=END, init_std=0.3, architectures=["MarianMTModel"],
        )  # fmt: skip
    else:
        made = transformers.T5Config(
            **common, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=PAD[kind],
            initializer_factor=1.5, architectures=["T5ForConditionalGeneration"],
        )  # fmt: skip
    return {**made.to_dict(), "architectures": made.architectures}


def translator(kind: str) -> nn.Module:
    """The model, so seeded that some texts end early, some late and some not."""
    torch.manual_seed({"marian": 8, "t5": 9}[kind])
    made = config(kind)
    cls = getattr(transformers, made["architectures"][0])
    model: Any = cls(cls.config_class(**made)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0, 1 if "embed" in name or "shared" in name else 0.5)
        model.lm_head.weight[END] *= 1.8
    found: nn.Module = model
    return found


def spec(kind: str) -> ModelSpec:
    """What compressors are told of it."""
    return ModelSpec(f"tiny-{kind}", config(kind), INPUTS)


def sources(kind: str, rows: int = ROWS) -> Examples:
    """Texts of 2 to 12 tokens. The decoder's inputs are longer than the one token that is used of them."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (rows, 12), generator=generator)
    lengths = torch.randint(2, 13, (rows, 1), generator=generator)
    mask = (torch.arange(12)[None] < lengths).long()
    labels = torch.randint(3, 60, (rows, LONGEST), generator=generator)
    labels[torch.arange(LONGEST)[None] >= torch.randint(2, LONGEST + 1, (rows, 1), generator=generator)] = NOT_SCORED
    given = torch.randint(3, 60, (rows, LONGEST), generator=generator)
    given[:, 0] = PAD[kind]
    inputs = {"input_ids": ids.masked_fill(mask == 0, PAD[kind]), "attention_mask": mask, "decoder_input_ids": given}
    return Examples(inputs, labels)


def write_tokenizer(folder: Path) -> str:
    """A tokenizer of 64 words, token 5 being `word5`; the folder it lies in."""
    special = {0: "<pad>", END: "</s>", UNKNOWN: "<unk>"}
    words = {special.get(i, f"word{i}"): i for i in range(VOCABULARY)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return str(folder)


def forward_of(model: torch.nn.Module) -> Any:
    def forward(inputs: Any) -> np.ndarray:
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(values) for name, values in inputs.items()}).logits.numpy()

    return forward


def generated(kind: str, examples: Examples, **more: Any) -> np.ndarray:
    """What transformers' own greedy generation says, NOT_SCORED after the end."""
    given = {name: examples.inputs[name] for name in ("input_ids", "attention_mask")}
    model: Any = translator(kind)
    forbidden = {"bad_words_ids": [[PAD[kind]]]} if kind == "marian" else {}
    settings = {"max_new_tokens": NEW, "forced_eos_token_id": None, **forbidden, **more}
    said = model.generate(**given, do_sample=False, num_beams=1, **settings)[:, 1:].numpy()
    said = np.pad(said, ((0, 0), (0, NEW - said.shape[1])), constant_values=NOT_SCORED)
    after = np.cumsum(said == END, axis=1) - (said == END)
    return np.where(after > 0, NOT_SCORED, said)
