"""The plugin contract: what a compressor is, what it is given, what it returns.

To add a method, write one class in one file:

    @dataclass(frozen=True)
    class DropBias(Compressor):
        "Sets every bias of the encoder to zero."
        name: ClassVar[str] = "drop-bias"
        family: ClassVar[str] = "pruning"
        effect: ClassVar[Effect] = "simulated"

        strength: float = 1.0                       # the parameters are the fields

        def compress(self, model, context):
            ...
            return Compressed(model)

Put the file anywhere under `compressors/`, or in a package of your own with one entry point in the
group `pressbench.compressors`. It then appears in every listing, in the matrix of cases, and in the
conformance tests. A worked example is in `docs/example-plugin`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

Effect = Literal["kernel", "storage", "simulated"]
"""What a compressor may claim: `kernel` runs faster, `storage` is smaller on disk or in memory,
`simulated` changes the numbers only. A speed target on anything but `kernel` is refused."""

ANY = "any"
"""In the place of a runtime's name: whatever the dense model is, nothing of it is taken."""

NOT_SCORED = -100
"""The label of a position that has no right answer, such as padding. What torch's cross-entropy leaves out."""

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def no_progress(what: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


class PressbenchError(Exception):
    """A user's mistake or a fact of the machine, told in one line. Never shown with a traceback."""


class Unsupported(PressbenchError):
    """The case cannot run here, and that is no failure: the reason, in one line. For what `supports` cannot know,
    because it shows in the weights or the data only, raised from `compress`."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: its dtype ("int64", "float32") and its axes, names where the size may
    vary ("batch", "sequence", of a decoder behind an encoder "decoder_sequence") and numbers where it may not."""

    dtype: str
    axes: tuple[str | int, ...]


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model before anything is loaded.

    config: the transformers configuration as a dictionary; its `architectures[0]` names the class.
    inputs: the inputs that are fed, in order. output: the field of the model's answer that is scored, `logits`,
    (batch, classes) or (batch, positions, vocabulary), or `last_hidden_state`, (batch, positions, width).
    """

    name: str
    config: Mapping[str, Any]
    inputs: Mapping[str, InputSpec]
    output: str = "logits"

    @property
    def architecture(self) -> str:
        """The `model_type` of the configuration: bert, vit, llama, …"""
        return str(self.config["model_type"])


@dataclass(frozen=True)
class Hardware:
    """Where an artifact will run. `features` are the instruction sets that matter to kernels
    ("avx2", "avx512", "vnni", "bf16", "amx"), or of a GPU ("cuda", "sm90"). `held_to` is the strongest of them where a
    processor has more, and is to compute as one that does not; None where all are used."""

    name: str
    hardware_class: str
    features: frozenset[str] = frozenset()
    threads: int = 1
    device: str = "cpu"
    held_to: str | None = None


@dataclass(frozen=True)
class Examples:
    """Examples held as tensors, first axis the example.

    inputs: name -> (examples, …). labels: int64, (examples,) for one answer an example, or (examples, positions) for
    one at each position, aligned with the outputs and NOT_SCORED where there is none; or float32, (examples, labels) of
    0 and 1, where labels do not exclude each other and an example may have several or none; or None.
    dense_logits: (examples, classes) float32, what the dense model answers to each, of the training data for a method
    that `asks_dense` and where there is `one_answer`; None else.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor | None = None
    dense_logits: Tensor | None = None

    @property
    def one_answer(self) -> bool:
        """Whether they are labelled, and there is one answer an example, not one at each position."""
        return self.labels is not None and (self.labels.dim() == 1 or not self.exclusive)

    @property
    def exclusive(self) -> bool:
        """Whether an answer is one class of several, by softmax; else each label is decided on its own, by sigmoid."""
        return self.labels is None or not self.labels.is_floating_point()

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __getitem__(self, index: Any) -> Examples:
        """The examples at `index`: a slice or a tensor of positions."""
        return Examples(
            {name: values[index] for name, values in self.inputs.items()},
            None if self.labels is None else self.labels[index],
            None if self.dense_logits is None else self.dense_logits[index],
        )

    def batches(self, size: int) -> Iterator[Examples]:
        """Consecutive batches of at most `size` examples, in order, none dropped."""
        for start in range(0, len(self), size):
            yield self[start : start + size]


@dataclass(frozen=True)
class Said:
    """What the dense model says of these very examples, in their order: name -> (examples, …), its hidden states and
    its logits."""

    examples: Examples
    states: Mapping[str, Tensor]


@dataclass(frozen=True)
class Context:
    """What a compressor is given beside the model. Data is there only where `needs` asks for it.

    dense: makes a fresh copy of the dense model, for teachers and comparisons.
    found: what `Compressor.find` found in this very model before, name -> tensor; None where it is to be found now.
    said: what the dense model says, see `dense_said`.
    """

    model: ModelSpec
    hardware: Hardware
    dense: Callable[[], nn.Module]
    seed: int = 0
    calibration: Examples | None = None
    training: Examples | None = None
    progress: Progress = no_progress
    found: Mapping[str, Tensor] | None = None
    said: Said | None = None

    def dense_said(self) -> Mapping[str, Tensor] | None:
        """What the dense model says of `training`, as `compressors.recovery.everything` names it, (examples, …) each,
        its hidden states among it.
        None where it was not asked for all methods, where that would be too much to keep, and where this context is
        one with other training data, of which nothing was said."""
        return self.said.states if self.said is not None and self.said.examples is self.training else None

    def require_calibration(self) -> Examples:
        """The calibration examples. Raises where the compressor did not declare that it needs them."""
        if self.calibration is None:
            raise PressbenchError("no calibration data: add 'calibration' to the compressor's `needs`")
        return self.calibration

    def require_training(self) -> Examples:
        """The training examples. Raises where the compressor did not declare that it needs them."""
        if self.training is None:
            raise PressbenchError("no training data: add 'training' to the compressor's `needs`")
        return self.training


@dataclass(frozen=True)
class Compressed:
    """What a compressor returns.

    model: an `nn.Module` for the torch runtime, else what the runtime saves (an ONNX ModelProto,
        an openvino.Model).
    structure: what `restructure` needs to rebuild the module's shape from a fresh skeleton: JSON
        only (numbers, strings, lists, dictionaries).
    runtime: who executes it. options: how, for example {"precision": "bf16"}.
    told: what a reader of the results may want to know of how it was made, JSON values. It goes into the recipe and
        from there into the record, and decides nothing: the artifact is the same whatever it says.
    """

    model: Any
    structure: Mapping[str, Any] = field(default_factory=dict)
    runtime: str = "torch"
    options: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Compressor(abc.ABC):
    """A method together with its parameters. The dataclass fields are the parameters and must be
    JSON values (numbers, strings, booleans, None, tuples of these)."""

    name: ClassVar[str]
    family: ClassVar[str]
    effect: ClassVar[Effect | None]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Any of "calibration" and "training"."""
    requires: ClassVar[Mapping[str, str]] = {}
    """Optional packages: import name -> what to `pip install`."""
    takes: ClassVar[str] = "torch"
    """The runtime whose model `compress` is given: an nn.Module for torch, an onnx.ModelProto for
    onnxruntime, an openvino.Model for openvino. For another than torch, `steps` begins with the export. With ANY it is
    given None."""
    makes: ClassVar[str] = "torch"
    """The runtime of the model that `compress` returns: what the suite knows of the result before there is one."""
    closes: ClassVar[bool] = False
    """Whether nothing may follow it in a chain."""
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    """The parameter sets that the suite runs: id suffix -> parameters. The default is one variant,
    with the default parameters, whose id is the name."""
    nightly_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """More of them, for the tiers nightly and full: what is worth watching every night."""
    full_variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """More of them still, for the tier full: what a comparison wants and a night has no time for."""
    strengths: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """What `--sweep` runs instead: a parameter -> its values from weak to strong, each with the others as they are.
    Several parameters are changed together, their first values, their second ones, …"""

    @abc.abstractmethod
    def compress(self, model: Any, context: Context) -> Compressed:
        """Compress `model`, which is the caller's to change, and return the result.

        torch's random state is seeded before the call; the same seed must give the same result.
        """

    @property
    def finds_by(self) -> Mapping[str, Any] | None:
        """The parameters that what `find` finds depends on, {} for none. The suite keeps it for all that are of this
        class and agree in these, so that a sweep over a strength looks once. None: nothing is kept."""
        return None

    @property
    def asks_dense(self) -> bool:
        """Whether `compress` looks at what the dense model says of the training data, and takes it from
        `Context.dense_said`, or its answers alone from `Examples.dense_logits`: it is asked once, and kept for all that
        do."""
        return False

    def parameters_beyond(self, base: type[Any]) -> dict[str, Any]:
        """Its parameters that `base` does not have: where `find` depends on none of those, what `finds_by` is."""
        known = {f.name for f in dataclasses.fields(base)}
        return {name: value for name, value in self.parameters.items() if name not in known}

    def find(self, model: Any, context: Context) -> dict[str, Tensor]:
        """What is to be known of the model before it is changed, such as how important each part is: costly, and the
        same for every strength; nothing unless a method says so. The model must stay as it is. Asked only where
        `finds_by` says by what."""
        return {}

    def findings(self, model: Any, context: Context) -> dict[str, Tensor]:
        """What `find` finds, looked for now or before; call it in `compress`, before the model is changed."""
        return self.find(model, context) if context.found is None else dict(context.found)

    def supports(self, model: ModelSpec, hardware: Hardware) -> str | None:
        """Why this compressor cannot be used on that model or hardware, in one line; None if it can."""
        return None

    def suited(self, model: ModelSpec, hardware: Hardware) -> Compressor:
        """The compressor that a case of that model on that hardware is made with: this one, unless it leaves it to them
        what it is, as a recipe does that is another one on each class of hardware. The id of the case stays."""
        return self

    def restructure(self, model: nn.Module, structure: Mapping[str, Any]) -> nn.Module:
        """Repeat on a fresh skeleton what `compress` did to the module's structure, so that the
        saved weights fit. Values do not matter here, shapes and module types do."""
        return model

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as a dictionary of JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @property
    def steps(self) -> tuple[Compressor, ...]:
        """The recipe: this compressor alone, or what it stands on and then itself, or what a pipeline
        is made of. Two recipes with the same beginning share it in the cache."""
        return (self,)

    @property
    def parts(self) -> tuple[Compressor, ...]:
        """The compressors that it runs within `compress`: their code decides what it makes as much as its own."""
        return ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Files and folders of the user's that it reads, of which it would see none that lie in the suite's cache."""
        return ()

    @property
    def helpers(self) -> tuple[type[Any], ...]:
        """Classes that it finds as it runs, and imports nowhere: their code decides what it makes, too."""
        return ()
