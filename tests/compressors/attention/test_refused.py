"""What cannot have sparse attention says so in one line, before any work or at the latest when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from masked_attention import tiny
from tiny_architectures import make, spec_of

from compressors import registry
from compressors.attention.global_tokens import AttentionGlobal
from compressors.attention.pattern import Pattern
from compressors.attention.registered import set_pattern
from compressors.attention.sinks import AttentionSinks
from compressors.attention.strided import AttentionStrided
from compressors.attention.window import AttentionWindow
from compressors.conformance import HARDWARE
from compressors.interface import PressbenchError, Unsupported

METHODS = (AttentionWindow(), AttentionGlobal(), AttentionStrided(), AttentionSinks())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mpnet", "does not compute attention through transformers' attention interface"),
        ("deberta", "does not compute attention through transformers' attention interface"),
        ("bloom", "does not compute attention through transformers' attention interface"),
        ("resnet", "does not compute attention through transformers' attention interface"),
        ("beit", "its scores have a bias by position"),
        ("swin", "its scores have a bias by position"),
        ("t5", "its decoder looks at an encoder"),
        ("bart-classifier", "its decoder looks at an encoder"),
        ("modernbert", "has a window of its own (sliding_attention)"),
        ("mistral", "has a window of its own (sliding_window)"),
        ("gemma3", "has a window of its own (sliding_attention)"),
    ],
)
def test_where_it_cannot_be_had_it_says_so(name: str, told: str) -> None:
    for method in METHODS:
        reason = registry.unsupported_reason(method, spec_of(name), HARDWARE)
        assert reason is not None and told in reason and "\n" not in reason


@pytest.mark.parametrize("name", ["bert", "vit", "bert-embedder"])
def test_sinks_are_for_what_reads_from_left_to_right(name: str) -> None:
    reason = registry.unsupported_reason(METHODS[3], spec_of(name), HARDWARE)
    assert reason == "attention-sinks: its tokens look ahead too: sinks are for what reads from left to right"


@pytest.mark.parametrize("name", ["t5", "modernbert", "mistral", "beit", "bart"])
def test_what_slips_through_the_specification_is_refused_when_it_runs(name: str, tmp_path: Path) -> None:
    """The interface gets a bias, a window, other queries than keys: never is it left out in silence."""
    subject = make(name, tmp_path)
    set_pattern(subject.model, Pattern(4))
    with pytest.raises(Unsupported) as told, torch.no_grad():
        subject.model(**subject.examples.inputs)
    assert "\n" not in str(told.value)


def test_masks_of_ones_own_are_refused() -> None:
    model: Any = METHODS[0].restructure(tiny("llama", 20), {})
    ids = torch.ones(1, 6, dtype=torch.int64)
    with pytest.raises(Unsupported, match="has a mask of its own: only that of padding is taken"):
        model(input_ids=ids, attention_mask=torch.ones(1, 1, 6, 6, dtype=torch.bool))
    with pytest.raises(Unsupported, match="the model asks for a mask of its own"):  # two texts in one row
        model(input_ids=ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2]]), use_cache=False)
    with pytest.raises(Unsupported, match="a mask of 4 tokens for 6 of them"):
        cache = model.own_cache()
        model(input_ids=ids, attention_mask=torch.ones(1, 4, dtype=torch.int64), past_key_values=cache)


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("attention-window", {"window": 0}, "window = 0: must be at least 1 token"),
        ("attention-window", {"window": 2.5}, "window is 2.5, must be a whole number"),
        ("attention-window", {"recovery_epochs": -1}, "recovery_epochs = -1: must be 0 (none) or more"),
        ("attention-window", {"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
        ("attention-global", {"globals": 0}, "globals = 0: must be at least 1 token"),
        ("attention-strided", {"stride": 1}, "stride = 1: must be at least 2 tokens, at 1 every token is seen"),
        ("attention-sinks", {"sinks": 0}, "sinks = 0: must be at least 1 token; attention-window has none"),
    ],
)
def test_values_that_make_no_sense_are_refused(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(PressbenchError) as found:
        registry.build(name, given)
    assert str(found.value) == f"compressor '{name}': {told}"
