"""Linear layers are counted as torch counts their operations, and what they do not compute is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from benchmarks.measure.products import counted

IDS = torch.arange(1, 25).reshape(2, 12)
LINEAR = (torch.ops.aten.mm, torch.ops.aten.addmm)
"""What a linear layer becomes, forwards and backwards; attention's products are others."""


def bert() -> nn.Module:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=40)
    ).eval()


def gpt2() -> nn.Module:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=40, n_positions=32)).eval()


def told(model: nn.Module, *, backward: bool) -> tuple[Counter[str], int]:
    """What is counted here, and the same by torch."""
    found: Counter[str] = Counter()
    with FlopCounterMode(display=False) as torchs, counted(found.update):
        with torch.set_grad_enabled(backward):
            logits = model(input_ids=IDS).logits
        if backward:
            logits.float().square().mean().backward()
    return found, sum(torchs.get_flop_counts()["Global"].get(kind, 0) for kind in LINEAR)


@pytest.mark.parametrize("make", [bert, gpt2])
@pytest.mark.parametrize("backward", [False, True])
def test_as_torch_counts_them(make: Callable[[], nn.Module], backward: bool) -> None:
    found, torchs = told(make(), backward=backward)
    assert found == {"float32": torchs}


def test_what_is_frozen_has_no_pass_back() -> None:
    model = bert()
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    found, torchs = told(model, backward=True)
    assert found == {"float32": torchs}


def test_by_the_type_that_they_are_computed_in() -> None:
    model, found = bert(), Counter[str]()
    with counted(found.update), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(input_ids=IDS)
    assert found.keys() == {"bfloat16"}


def test_a_layer_within_a_layer_counts_once() -> None:
    peft = pytest.importorskip("peft")
    model, found = bert(), Counter[str]()
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"]))
    with counted(found.update), torch.no_grad():
        model(input_ids=IDS)
    plain = told(bert(), backward=False)[0]["float32"]
    beside = 2 * 2 * IDS.numel() * (32 * 2 + 2 * 32)  # in each layer an adapter of rank 2 beside the queries
    assert found["float32"] == plain + beside


def test_an_exporter_is_not_counted_nor_bound_to_the_length_that_it_was_shown() -> None:
    model, found = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)), Counter[str]()
    with counted(found.update):
        program = torch.export.export(model, (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    assert not found
    assert program.module()(torch.ones(7, 3)).shape == (7, 2)


def test_it_ends_and_tells_where_the_stage_fails() -> None:
    layer, found = nn.Linear(3, 5), Counter[str]()
    with pytest.raises(ZeroDivisionError), counted(found.update):
        layer(torch.ones(2, 3))
        raise ZeroDivisionError
    layer(torch.ones(2, 3))
    assert found == {"float32": 2 * 2 * 3 * 5}
