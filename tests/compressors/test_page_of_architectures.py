"""The page on which method takes which architecture: docs/architectures.md, by what the methods themselves say.

    WRITE_PAGES=1 pytest tests/compressors/test_page_of_architectures.py

writes it anew. Whether what is said to be taken works is tested in compressors/test_architectures.py.
"""

from __future__ import annotations

import os
from pathlib import Path

from tiny_architectures import spec_of
from transformers import CLIPVisionConfig, WhisperConfig

from compressors import registry
from compressors.conformance import HARDWARE
from compressors.interface import Compressor, InputSpec, ModelSpec
from compressors.peers.base import Peer

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
NAMES = {
    "BERT": "bert", "RoBERTa": "roberta", "DistilBERT": "distilbert", "ALBERT": "albert", "ELECTRA": "electra",
    "DeBERTa-v2": "deberta", "ModernBERT": "modernbert", "MPNet embedder": "mpnet-embedder", "GPT-2": "gpt2",
    "OPT": "opt", "Llama": "llama", "Qwen 3": "qwen3", "Gemma 3": "gemma3", "Mistral": "mistral", "Phi 3": "phi3",
    "T5": "t5", "BART": "bart", "Marian": "marian", "ViT": "vit",
}  # fmt: skip
HEAD = """# Methods and architectures

Which method takes which architecture, by what the method says of a tiny model of it before any work: **yes**, or **no**
with the reason below. A **yes** may still turn out `unsupported` on a model whose weights or data do not allow it, and
a method with a field may take with one value what it refuses with another: here each is as it is by default, on a CPU.
Written by `WRITE_PAGES=1 pytest tests/compressors/test_page_of_architectures.py`, which without that fails where it is
not what they say.

"""


def specs() -> dict[str, ModelSpec]:
    """By the architecture's usual name; the towers of CLIP and Whisper beside those of the tests."""
    small = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    clip = CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=32).to_diff_dict()
    heard = {"d_model": 64, "vocab_size": 320, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    for side in ("encoder", "decoder"):
        heard |= {f"{side}_layers": 3, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 128}
    whisper = WhisperConfig(**heard, max_source_positions=64, max_target_positions=64, num_mel_bins=16).to_diff_dict()
    return {
        **{name: spec_of(tiny) for name, tiny in NAMES.items()},
        "CLIP vision": ModelSpec(
            "clip", clip | {"architectures": ["CLIPVisionModel"]},
            {"pixel_values": InputSpec("float32", ("batch", 3, 32, 32))}, "last_hidden_state",
        ),
        "Whisper": ModelSpec(
            "whisper", whisper | {"architectures": ["WhisperForConditionalGeneration"]},
            {"input_features": InputSpec("float32", ("batch", 16, 128)),
             "decoder_input_ids": InputSpec("int64", ("batch", "decoder_sequence"))},
        ),
    }  # fmt: skip


def methods() -> dict[str, Compressor]:
    """Every method as it is by default, but for chains, what only runs the dense model otherwise, what somebody
    compressed elsewhere, and what is there or not: other people's methods, llama.cpp's and CTranslate2's."""
    left_out = ("dense", "control", "pipeline", "given")
    made = {
        name: registry.build(name) for name, cls in registry.compressor_classes().items() if cls.family not in left_out
    }
    own = {
        name: compressor
        for name, compressor in made.items()
        if type(compressor).__module__.startswith("compressors.")
        and not isinstance(compressor, Peer)
        and not {"llama_cpp", "ctranslate2"} & set(compressor.requires)
    }
    return dict(sorted(own.items()))


def page() -> str:
    """The whole page."""
    found = {
        method: {name: registry.unsupported_reason(compressor, spec, HARDWARE) for name, spec in specs().items()}
        for method, compressor in methods().items()
    }
    heads = list(specs())
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for method, reasons in found.items():
        lines.append(f"| `{method}` | " + " | ".join("no" if reasons[name] else "yes" for name in heads) + " |")
    lines += ["", "## Why not", ""]
    for method, reasons in found.items():
        why: dict[str, list[str]] = {}
        for name, reason in reasons.items():
            if reason:
                why.setdefault(reason, []).append(name)
        lines += [f"- `{method}` on {', '.join(names)}: {reason}" for reason, names in why.items()]
    return HEAD + "\n".join(lines) + "\n"


def test_the_page_says_what_the_methods_say() -> None:
    written = page()
    if os.environ.get("WRITE_PAGES"):
        PAGE.write_text(written, encoding="utf-8")
    assert written == PAGE.read_text(encoding="utf-8"), (
        "WRITE_PAGES=1 pytest tests/compressors/test_page_of_architectures.py"
    )
    assert written.count("| yes |") > 100
