"""How many tokens a model of one's own takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import transformers

from benchmarks.zoo.own import checkpoint

sys.path.append(str(Path(__file__).parent))
from own_folders import agreed, made, texts, tiny_models, understood

BEHIND_PADDING = ("Roberta", "Data2VecText", "RobertaPreLayerNorm", "XLMRobertaXL", "Camembert", "Bert")


@pytest.mark.parametrize("kind", BEHIND_PADDING)
@pytest.mark.parametrize("pad", [1, 3])
def test_a_model_takes_as_many_tokens_as_it_has_places_for(kind: str, pad: int, tmp_path: Path) -> None:
    """And not one more: read by transformers' own class."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=20, pad_token_id=pad,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path / "model")
    longest = checkpoint.look(tmp_path / "model", "model", allow_pickle=False).longest
    assert longest == (20 if kind == "Bert" else 19 - pad)
    model(input_ids=torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


def test_a_tokenizers_own_limit_is_kept(tmp_path: Path) -> None:
    tiny_models.classifier(tmp_path / "model")
    texts(tmp_path)
    said = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text()) | {"model_max_length": 11}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(said))
    model = understood(tmp_path, model="model", data="reviews.csv")
    assert model.task.settings["tokens"] == 11
    assert agreed(model, made(model, tmp_path), tmp_path)["shown"]
    assert understood(tmp_path, model="model", data="reviews.csv", tokens=20).task.settings["tokens"] == 20
