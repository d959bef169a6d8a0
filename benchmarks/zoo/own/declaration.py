"""What a person says of a model and data of their own: as options, or as a table of `zoo.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from benchmarks.zoo.workload import parse_workload
from compressors.interface import PressbenchError
from compressors.registry import nearest

Text = Annotated[str, pydantic.Field(min_length=1)]
Count = Annotated[int, pydantic.Field(ge=1)]


class Published(pydantic.BaseModel):
    """A number from the literature, to stand beside what is measured. It judges nothing.

    value: in the unit of the task's own number: a share of 1, or a perplexity."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    method: Text
    value: Annotated[float, pydantic.Field(allow_inf_nan=False)]
    source: Text


class Declaration(pydantic.BaseModel):
    """One model on one data set. All but `model` and `data` has a default that is found from these two."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    model: Text
    """A folder that `save_pretrained` wrote, or the name of a model on the hub, with `@revision` if wanted."""
    data: Text
    """A file (CSV, TSV, JSON Lines, JSON, Parquet), a folder of images by class, or a data set on the hub."""
    task: Text | None = None
    """One of `kinds`; None: by the model's own head."""
    test_data: Text | None = None
    """As `data`, what quality is measured on; None: the test or validation split of `data`, or half of it."""
    configuration: Text | None = None
    """Of a data set on the hub that has several."""
    split: Text | None = None
    """Of a data set with splits: what methods train and calibrate on."""
    test_split: Text | None = None
    files: tuple[Text, ...] = ()
    """Of a data set on the hub: these files alone, as patterns."""
    columns: Mapping[Text, Text] = {}
    """Role -> column, where the names do not tell: `{ text = "body", label = "stars" }`."""
    labels: tuple[Text, ...] = ()
    """The data's labels in the order of the head's outputs."""
    encoding: Text = "utf-8"
    tokens: Count | None = None
    """Tokens of an input; None: as many as 95 % of the texts have, 512 at most."""
    new_tokens: Count | None = None
    """Tokens of an answer; None: as many as 95 % of the references have, 128 at most."""
    join: str | None = None
    """For a language model: put this between the texts, and cut the whole into windows of `tokens`."""
    prefix: str | None = None
    """For a translation or summarisation model: what stands before each source text, as T5 wants it; None: what the
    model's configuration says."""
    metric: Literal["chrf", "rougeL"] | None = None
    too_long: Literal["cut", "refuse"] = "cut"
    """What becomes of texts with more than `tokens` tokens."""
    quote: bool = True
    """Whether records and reports may quote test examples that a method changes; False keeps texts and images out."""
    test_examples: Count | None = None
    training_examples: Count | None = None
    """At most so many are used; None: as many as is usual for the kind of task."""
    workloads: tuple[Text, ...] = ()
    """What is timed, by name: `8x128`, `prefill-1x512`, `decode-1x128-16`, `generate-8x64-32`; the first is the
    usual one."""
    nightly_workloads: tuple[Text, ...] = ()
    compressors: tuple[Text, ...] = ()
    """Recipes that run on this model beside the methods of the tier, as `--compressor` takes them."""
    allow_pickle: bool = False
    """Read weights that are there as pickle only, by torch's unpickler of weights."""
    published: tuple[Published, ...] = ()

    @pydantic.field_validator("workloads", "nightly_workloads")
    @classmethod
    def _readable(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                parse_workload(name)
            except PressbenchError as error:
                raise ValueError(str(error)) from None
        return names


@dataclass(frozen=True)
class Declared:
    """A declaration with its name, where it stands (as errors name it), and the folder that its paths start from."""

    name: str
    where: str
    folder: Path
    said: Declaration

    def path(self, text: str) -> Path | None:
        """What `text` names among files: an existing file or folder; None where there is none of that name."""
        path = self.folder / Path(text).expanduser()
        return path if path.exists() else None


def declare(name: str, where: str, folder: Path, values: Mapping[str, Any]) -> Declared:
    """Check `values`. Raises PressbenchError in one line that names the key."""
    try:
        said = Declaration.model_validate({key: _as_tuples(value) for key, value in values.items()})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "the table"
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            raise PressbenchError(f"{where}: unknown key {key!r}{nearest(key, Declaration.model_fields)}") from None
        inner = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise PressbenchError(f"{where}: {inner} is missing") from None
        if first["type"] == "value_error":  # one of ours, which names the value
            raise PressbenchError(f"{where}: {inner}: {first['msg'].removeprefix('Value error, ')}") from None
        if first["type"] == "string_type" and isinstance(first["input"], int | float):
            raise PressbenchError(f'{where}: {inner}: must be text, in quotation marks, "{first["input"]}"') from None
        raise PressbenchError(f"{where}: {inner}: {first['msg']}, got {first['input']!r}") from None
    return Declared(name, where, folder, said)


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_as_tuples(item) for item in value)
    return value
