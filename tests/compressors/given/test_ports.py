"""Which input of a graph is which: by name, by what it is, or as it was said; what cannot be told is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from compressors.given.form import Fit, GivenError
from compressors.given.graph import fit_ports
from compressors.given.port import Port
from compressors.interface import InputSpec, ModelSpec
from compressors.runtimes.ports import Ports
from compressors.tiny_specs import TINY_SPECS

BERT, VIT = TINY_SPECS["bert"], TINY_SPECS["vit"]
TEXTS = InputSpec("int64", ("batch", "sequence"))
READER = ModelSpec(
    "reader", {**BERT.config, "architectures": ["BertModel"]}, {**BERT.inputs, "token_type_ids": TEXTS},
    "last_hidden_state",
)  # fmt: skip
WIDTH, CLASSES = int(BERT.config["hidden_size"]), 3


def whole(name: str, *dims: int | None) -> Port:
    return Port(name, "int64", dims or (None, None))


def real(name: str, *dims: int | None) -> Port:
    return Port(name, "float32", dims)


def fit(
    given: Sequence[Port], made: Sequence[Port], model: ModelSpec = BERT, inputs: Mapping[str, str] | None = None,
    output: str | None = None, **more: Any,
) -> Fit:  # fmt: skip
    return fit_ports("model.onnx", given, made, model, inputs or {}, output, **more)


def ports(found: Fit) -> Ports:
    read = Ports.of(found.options)
    assert read is not None
    return read


def classes(model: ModelSpec) -> int:
    import transformers

    settings = {key: value for key, value in model.config.items() if key != "model_type"}
    return int(transformers.AutoConfig.for_model(model.config["model_type"], **settings).num_labels)


LOGITS = real("logits", None, classes(BERT))
TWO = [real("first", None, classes(BERT)), real("second", None, classes(BERT))]


def test_the_suites_own_names_are_themselves() -> None:
    found = fit([whole(name) for name in BERT.inputs], [LOGITS])
    assert ports(found).inputs == {name: name for name in BERT.inputs}
    assert (ports(found).zeros, ports(found).output, found.notes) == ((), "logits", ())


def test_what_other_exporters_call_them_is_known_whatever_the_order() -> None:
    found = fit([whole("Mask"), whole("serving_default_ids:0")], [real("probabilities", None, classes(BERT))])
    assert ports(found).inputs == {"Mask": "attention_mask", "serving_default_ids:0": "input_ids"}
    assert ports(found).output == "probabilities"
    assert "output probabilities" in found.notes


def test_the_one_input_that_is_left_is_the_one_that_is_wanted_and_that_is_told() -> None:
    found = fit([whole("foo"), whole("attention_mask")], [LOGITS])
    assert ports(found).inputs["foo"] == "input_ids"
    assert "input foo is given input_ids" in found.notes
    image = fit([real("data", None, *VIT.inputs["pixel_values"].axes[1:])], [real("logits", None, classes(VIT))], VIT)
    assert ports(image).inputs == {"data": "pixel_values"}


def test_token_types_that_the_dense_model_is_not_given_are_noughts_and_ones_that_are_not_taken_left_out() -> None:
    hidden = real("last_hidden_state", None, None, WIDTH)
    plain = ModelSpec("plain", BERT.config, {n: BERT.inputs[n] for n in ("input_ids", "attention_mask")})
    more = fit([whole("input_ids"), whole("attention_mask"), whole("segment_ids")], [LOGITS], plain)
    assert (ports(more).zeros, set(ports(more).inputs)) == (("segment_ids",), {"input_ids", "attention_mask"})
    assert more.notes == ("input segment_ids is given noughts",)
    fewer = fit([whole("input_ids"), whole("attention_mask")], [hidden], READER)
    assert "takes no token_type_ids" in fewer.notes
    assert set(ports(fewer).inputs.values()) == {"input_ids", "attention_mask"}


def test_what_a_person_says_goes_before_what_a_name_looks_like() -> None:
    given = [whole("mask"), whole("ids")]
    found = fit(given, [real("a", None, CLASSES), LOGITS], inputs={"mask": "input_ids", "ids": "attention_mask"})
    assert ports(found).inputs == {"mask": "input_ids", "ids": "attention_mask"}
    assert len(found.notes) == 2
    assert ports(fit([whole(n) for n in BERT.inputs], TWO, output="second")).output == "second"


def test_what_has_a_meaning_of_its_own_is_never_the_one_that_is_left() -> None:
    """Fed a mask, places would be answered as well, and wrongly."""
    for name in ("position_ids", "padding_mask", "decoder_mask", "past_mask"):
        with pytest.raises(GivenError, match=f"wants {name} int64"):
            fit([whole("input_ids"), whole(name)], [LOGITS])


def test_ids_are_not_cut_to_fewer_bits() -> None:
    with pytest.raises(GivenError, match="its input input_ids uint8"):
        fit([Port("input_ids", "uint8", (None, None)), whole("attention_mask")], [LOGITS])


@pytest.mark.parametrize("maker", ["Softmax", "Sigmoid", "SoftMax"])
def test_probabilities_are_no_logits(maker: str) -> None:
    given = [whole("input_ids"), whole("attention_mask")]
    with pytest.raises(GivenError, match=f"is made by {maker}: probabilities, where logits are scored"):
        fit(given, [LOGITS], makers={"logits": maker})
    assert ports(fit(given, [LOGITS], makers={"logits": "Gemm"})).output == "logits"
    with pytest.raises(GivenError, match="holds no numbers that could be logits"):
        fit(given, [Port("classes", "int64", (None, classes(BERT)))])


IDS, MASK = whole("input_ids"), whole("attention_mask")
PICTURED = real("logits", None, classes(VIT))


@pytest.mark.parametrize(
    ("given", "made", "model", "more", "told"),
    [
        ([IDS], [LOGITS], BERT, {}, "takes no attention_mask, which the dense model is given; there are input_ids int"),
        ([IDS, whole("a"), whole("b")], [LOGITS], BERT, {}, r"wants a int64 \[\?, \?\], and what that is cannot be"),
        ([IDS, MASK, whole("position_ids")], [LOGITS], BERT, {}, "wants position_ids"),
        ([IDS, real("attention_mask", None, 1, None, None)], [LOGITS], BERT, {}, "given attention_mask, int64 with 2"),
        ([whole("input_ids", 1, None), MASK], [LOGITS], BERT, {}, r"input_ids int64 \[1, \?\] has a fixed batch of 1"),
        ([real("pixel_values", None, 3, 8, 99)], [PICTURED], VIT, {}, r"wants (3|99) where the"),
        ([IDS, MASK], [real("logits", None, 77)], BERT, {}, r"its output logits float32 \[\?, 77\] is 77 wide, the"),
        ([IDS, MASK], [real("embedding", None, WIDTH)], READER, {}, r"is pooled, one vector a text"),
        ([IDS, MASK], [real("pooled", None, WIDTH), real("x", None)], READER, {}, r"no output is last_hidden_state \("),
        ([IDS, MASK], TWO, BERT, {}, "output=NAME, one of first "),
        ([IDS, MASK], [LOGITS], BERT, {"output": "logit"}, "has no output 'logit'; there are logits"),
        ([IDS, MASK], [LOGITS, real("hidden", None, 5, 5)], BERT, {"output": "hidden"}, "hidden float32 .* is not log"),
        ([IDS, MASK], [LOGITS], BERT, {"inputs": {"ids": "input_ids"}}, "has no input 'ids'; there are input_ids int"),
        ([IDS, MASK], [LOGITS], BERT, {"inputs": {"input_ids": "ids"}}, "input input_ids = 'ids': the dense model is"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_with_the_name(
    given: list[Port], made: list[Port], model: ModelSpec, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(GivenError, match=told) as error:
        fit(given, made, model, **more)
    assert re.match("model.onnx: ", str(error.value))
    assert "\n" not in str(error.value)


def test_a_length_that_is_fixed_is_the_datas_matter() -> None:
    """As long as the data it serves; another is told by the runtime, and is an error then."""
    found = fit([whole("input_ids", None, 128), whole("attention_mask", None, 128)], [LOGITS])
    assert "input input_ids takes texts of 128 tokens alone" in found.notes


def test_what_the_runtime_gives_by_itself_is_asked_of_nobody() -> None:
    given = [IDS, MASK, whole("position_ids"), Port("beam_idx", "int32", (None,))]
    found = fit(given, [LOGITS], own=frozenset({"position_ids", "beam_idx"}))
    assert set(ports(found).inputs) == {"input_ids", "attention_mask"}
    assert ports(found).zeros == ()
