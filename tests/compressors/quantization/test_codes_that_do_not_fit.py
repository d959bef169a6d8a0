"""Codes that the kernels of ATen and OpenVINO do not take: refused, or left as they are, and told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_architectures import Subject, make
from torch import nn

sys.path.append(str(Path(__file__).parent))
from chained_codes import ATEN, OPENVINO, answers, chained, stored

from compressors import conformance, registry, surgery
from compressors.interface import Context, PressbenchError, Unsupported
from compressors.quantization import codes_openvino
from compressors.quantization.grids.linear import LinearGrid
from compressors.quantization.laid_grid import nearest
from compressors.quantization.packed_layers import pack_layers
from compressors.quantization.weight_only import WeightOnly
from compressors.runtimes.export import to_openvino
from compressors.tiny_specs import TINY_SPECS


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    torch.set_num_threads(1)
    return make("llama", tmp_path_factory.mktemp("llama-alone"))


@pytest.mark.parametrize(
    ("rounding", "method", "told"),
    [
        (None, ATEN, "no linear layer is packed: a method that rounds must be before it, as in quantize-gptq"),
        (None, OPENVINO, "no linear layer is packed: a method that rounds must be before it"),
        ({"bits": 3}, ATEN, r"no kernel takes these codes \(3 bits\): 4 bits in groups of a multiple of 32"),
        ({"bits": 3}, OPENVINO, r"no kernel takes these codes \(3 bits\): 4 or 8 bits with evenly spaced values fit"),
    ],
)
def test_a_model_without_codes_that_fit_is_unsupported(
    rounding: dict[str, Any] | None, method: tuple[str, dict[str, Any]], told: str, llama: Subject
) -> None:
    chain = [] if rounding is None else [("quantize-weights", rounding)]
    with pytest.raises(Unsupported, match=told) as caught:
        chained(llama, *chain, method)
    assert "\n" not in str(caught.value)


def test_a_model_with_nothing_but_codes_has_nothing_to_round(llama: Subject) -> None:
    model = llama.dense.model()
    layers = [*surgery.block_linears(model), "lm_head"]
    pack_layers(model, layers, lambda _, weight: nearest(LinearGrid(4, 64), weight))
    context = Context(model=llama.spec, hardware=conformance.HARDWARE, dense=llama.dense.model)
    with pytest.raises(Unsupported, match="no layer is left to round to 8 bits; bits=null takes the codes of packed"):
        WeightOnly(bits=8).compress(model, context)
    made = WeightOnly(bits=None).compress(model, context)
    assert list(made.structure["layers"]) == layers
    again = WeightOnly(bits=8).compress(made.model, context)  # after a chain has taken them it is no fault
    assert not again.structure["layers"]


def test_layers_that_do_not_fit_stay_as_they_are_and_are_told(llama: Subject) -> None:
    rounding = ("quantize-weights", {"bits": 4, "head_bits": 3, "embedding_bits": 3})
    rounded, made = chained(llama, rounding), chained(llama, rounding, ATEN)
    assert made.recipe[-1]["structure"]["left"] == {"lm_head": "3 bits"}
    wanted = answers(llama, rounded)
    assert np.abs(answers(llama, made) - wanted).max() < 0.03 * np.abs(wanted).max()
    assert made.inventory().dtypes["uint3"] == rounded.inventory().dtypes["uint3"]


def test_tables_that_do_not_fit_are_decoded_in_the_graph_and_are_told() -> None:
    bert = conformance.subject("bert")
    steps = [registry.build("quantize-weights", {"embedding_bits": 3}), registry.build(*OPENVINO)]
    rounded, made = (conformance._made(tuple(steps[:count]), "bert") for count in (1, 2))
    left = made.recipe[-1]["structure"]["left"]
    assert len(left) == 3 and set(left.values()) == {"3 bits"} and all("embeddings" in name for name in left)
    assert answers(bert, made) == pytest.approx(answers(bert, rounded), abs=1e-4)


def test_a_layer_that_the_graph_holds_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an exporter would that folds a number into a weight."""

    def folding(model: nn.Module, spec: Any) -> Any:
        with torch.no_grad():
            model.bert.encoder.layer[1].output.dense.weight.mul_(2)
        return to_openvino(model, spec)

    rounded = conformance._made((registry.build("quantize-weights", {}),), "bert")
    monkeypatch.setattr(codes_openvino, "to_openvino", folding)
    with pytest.raises(PressbenchError, match=r"bert.encoder.layer.1.output.dense: the exported graph does not hold"):
        codes_openvino.with_codes(rounded.model(), rounded.spec)


def test_the_output_layer_may_be_rounded_after_the_codes_are_taken(llama: Subject) -> None:
    blocks = ("quantize-weights", {"bits": 4, "symmetric": False, "head_bits": 0, "embedding_bits": 0})
    taken, both = chained(llama, blocks, ATEN), chained(llama, blocks, ATEN, ("weight-only", {"bits": 8}))
    assert "int8" not in taken.inventory().dtypes and both.inventory().dtypes["int8"] >= 320 * 64
    assert both.recipe[-1]["structure"]["layers"]["lm_head"]["bits"] == 8
    assert stored(taken).keys() == stored(both).keys()
    assert all(np.array_equal(values, stored(both)[name]) for name, values in stored(taken).items())


@pytest.mark.parametrize("name", ["gptq-aten", "gptq-openvino", "gptq-onnxruntime"])
def test_the_named_chains_are_for_language_models(name: str) -> None:
    chain, specs = registry.variants("nightly")[f"{name}-4bit"], TINY_SPECS
    assert registry.unsupported_reason(chain, specs["llama"], conformance.HARDWARE) is None
    for kind in ("bert", "vit"):
        told = chain.supports(specs[kind], conformance.HARDWARE)
        assert told and "decodes no text word by word" in told
        assert registry.unsupported_reason(chain, specs[kind], conformance.HARDWARE)
