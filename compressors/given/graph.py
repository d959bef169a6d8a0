"""Which input and which output of another's graph is which of the suite's: by name, by what it is, or as a person says.

A graph is exported by many tools, each with names of its own. What cannot be told apart is refused, with the names that
there are: a mask in the place of ids would give answers, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressors.given.form import Fit, GivenError
from compressors.given.past import past_of
from compressors.given.port import Port
from compressors.interface import ModelSpec
from compressors.runtimes.ports import Ports

ALIASES: Mapping[str, tuple[str, ...]] = {
    "input_ids": ("input_ids", "ids", "tokens", "token_ids", "input_word_ids", "inputs"),
    "attention_mask": ("attention_mask", "mask", "input_mask"),
    "token_type_ids": ("token_type_ids", "segment_ids", "input_type_ids", "token_types", "segments"),
    "pixel_values": ("pixel_values", "image", "images", "pixels", "input", "x"),
}
"""Input of transformers -> what exporters call it, in lower case and without a port's number."""
NEEDLESS = ("token_type_ids",)
"""What a graph may not take where the dense model does, or take where it does not: as noughts it says nothing."""
OTHERS = ("position_ids", "head_mask", "labels", "cache_position", "inputs_embeds")
"""Inputs of transformers that no other stands in for; nor what is of a decoder, of a cache, or of padding."""
HIDDEN = "last_hidden_state"
OUTPUTS = ("logits", HIDDEN, "token_embeddings", "output", "output_0")
SQUASHED = ("softmax", "sigmoid", "logsoftmax")
"""Operators that make probabilities of logits, in lower case."""


def fit_ports(
    said: str,
    given: Sequence[Port],
    made: Sequence[Port],
    model: ModelSpec,
    inputs: Mapping[str, str],
    output: str | None,
    own: frozenset[str] = frozenset(),
    makers: Mapping[str, str] | None = None,
) -> Fit:
    """given, made: inputs and outputs of the graph. inputs, output: as a person said, see `Form.fit`. own: inputs that
    the runtime gives by itself. makers: output -> the operator that makes it. Raises GivenError."""
    notes: list[str] = []
    past = past_of(said, [port for port in given if port.name not in own], made, model)
    own |= past.names
    taken = _inputs(said, [port for port in given if port.name not in own], model, inputs, notes)
    zeros = tuple(port.name for port in given if port.name not in own and port.name not in taken)
    notes += [f"input {name} is given noughts" for name in zeros]
    by_name = {port.name: port for port in given}
    for theirs, ours in taken.items():
        notes += _free(said, by_name[theirs], model.inputs[ours].axes)
    found = _output(said, made, model, output)
    maker = (makers or {}).get(found.name, "")
    if model.output == "logits" and maker.lower() in SQUASHED:
        raise GivenError(
            f"{said}: its output {found} is made by {maker}: probabilities, where logits are scored; export it "
            "without, or say output=NAME of its logits"
        )
    if found.name not in ("logits", model.output):
        notes.append(f"output {found.name}")
    return Fit(Ports(taken, zeros, found.name, past.places, past.kept).as_option(), tuple(notes))


def _plain(name: str) -> str:
    return name.lower().partition(":")[0].removeprefix("serving_default_").strip("/")


def _inputs(
    said: str, given: Sequence[Port], model: ModelSpec, wanted: Mapping[str, str], notes: list[str]
) -> dict[str, str]:
    """Name in the graph -> the suite's."""
    names = {port.name for port in given}
    for theirs, ours in wanted.items():
        if theirs not in names:
            raise GivenError(f"{said}: has no input {theirs!r}; there are {_all(given)}")
        if ours not in model.inputs:
            raise GivenError(f"{said}: input {theirs} = {ours!r}: the dense model is given {', '.join(model.inputs)}")
    found = dict(wanted)
    for port in given:
        fitting = [ours for ours in model.inputs if _plain(port.name) in ALIASES.get(ours, (ours,))]
        if port.name not in found and fitting and fitting[0] not in found.values():
            found[port.name] = fitting[0]
    rest = [port for port in given if port.name not in found and _plain(port.name) not in ALIASES["token_type_ids"]]
    left = [ours for ours in model.inputs if ours not in found.values() and ours not in NEEDLESS]
    if (
        len(rest) == len(left) == 1
        and not _another(rest[0].name)
        and _alike(rest[0], model.inputs[left[0]].dtype, len(model.inputs[left[0]].axes))
    ):
        found[rest[0].name], rest, left = left[0], [], []
    if rest:
        raise GivenError(f"{said}: wants {rest[0]}, and what that is cannot be told: say inputs.{rest[0].name}=NAME, "
                         f"one of {', '.join(model.inputs)}")  # fmt: skip
    if left:
        raise GivenError(f"{said}: takes no {left[0]}, which the dense model is given; there are {_all(given)}")
    for theirs, ours in found.items():
        port = next(port for port in given if port.name == theirs)
        spec = model.inputs[ours]
        if not _alike(port, spec.dtype, len(spec.axes)):
            raise GivenError(f"{said}: its input {port} is given {ours}, {spec.dtype} with {len(spec.axes)} axes")
        if _plain(theirs) not in (ours, *ALIASES.get(ours, ())) or theirs in wanted:
            notes.append(f"input {theirs} is given {ours}")
    if dropped := [ours for ours in model.inputs if ours not in found.values()]:
        notes.append(f"takes no {', '.join(dropped)}")
    return found


def _another(name: str) -> bool:
    """Whether a name is that of an input that is none of the suite's."""
    plain = _plain(name)
    return plain in OTHERS or plain.startswith(("decoder_", "past", "encoder_")) or "pad" in plain


def _alike(port: Port, dtype: str, axes: int) -> bool:
    """Ids that are cut to 8 bits or to truth values would be others."""
    wanted = ("int64", "int32") if dtype.startswith("int") else ("float32", "float16", "bfloat16", "float64")
    return len(port.dims) == axes and port.dtype in wanted


def _free(said: str, port: Port, axes: Sequence[str | int]) -> list[str]:
    """What is to be told of sizes that are fixed. Raises GivenError where one must be free, or is another one."""
    for size, axis in zip(port.dims, axes, strict=True):
        if axis == "batch" and size is not None:
            raise GivenError(f"{said}: its input {port} has a fixed batch of {size}; export it with a free first axis")
        if isinstance(axis, int) and size not in (None, axis):
            raise GivenError(f"{said}: its input {port} wants {size} where the dense model has {axis}")
    lengths = [size for size, axis in zip(port.dims, axes, strict=True) if axis == "sequence" and size is not None]
    return [f"input {port.name} takes texts of {size} tokens alone" for size in lengths]


def _output(said: str, made: Sequence[Port], model: ModelSpec, wanted: str | None) -> Port:
    if wanted is not None:
        named = next((port for port in made if port.name == wanted), None)
        if named is None:
            raise GivenError(f"{said}: has no output {wanted!r}; there are {_all(made)}")
        if why := _unfit(named, model):
            raise GivenError(f"{said}: {why}")
        return named
    fitting = [port for port in made if _unfit(port, model) is None]
    for name in (model.output, *(name for name in OUTPUTS if name != HIDDEN or model.output == HIDDEN)):
        if match := next((port for port in fitting if _plain(port.name) == name), None):
            return match
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        raise GivenError(f"{said}: {_unfit(made[0], model)}" if len(made) == 1 else
                         f"{said}: no output is {_wanted(model)}; there are {_all(made)}")  # fmt: skip
    raise GivenError(f"{said}: which output is scored cannot be told: say output=NAME, one of {_all(fitting)}")


def _unfit(port: Port, model: ModelSpec) -> str | None:
    """Why an output is not what is scored."""
    axes, width = _shape(model)
    if not port.dtype.startswith(("float", "bfloat")):
        return f"its output {port} holds no numbers that could be {model.output}"
    if model.output == HIDDEN and len(port.dims) == 2:
        return f"its output {port} is pooled, one vector a text; what is scored is pooled here, from {HIDDEN}"
    if len(port.dims) != axes:
        return f"its output {port} is not {_wanted(model)}"
    if port.dims[-1] not in (None, width):
        return f"its output {port} is {port.dims[-1]} wide, the dense model's {width}"
    return None


def _shape(model: ModelSpec) -> tuple[int, int]:
    """Axes of the scored output, and the last one's size."""
    config, name = model.config, str((model.config.get("architectures") or [""])[0])
    if model.output == HIDDEN:
        return 3, int(config["hidden_size"])
    if name.endswith(("ForSequenceClassification", "ForImageClassification")):
        return 2, classes(config)
    return 3, classes(config) if name.endswith("ForTokenClassification") else int(config["vocab_size"])


def classes(config: Mapping[str, Any]) -> int:
    """How many outputs the head of a configuration has."""
    import transformers

    settings = {key: value for key, value in config.items() if key != "model_type"}
    return int(transformers.AutoConfig.for_model(config["model_type"], **settings).num_labels or 0)


def _wanted(model: ModelSpec) -> str:
    axes, width = _shape(model)
    return f"{model.output} ({', '.join(('batch', 'sequence')[: axes - 1])}, {width})"


def _all(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports)) or "none"
