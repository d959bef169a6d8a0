"""A value of the wrong type is told when a compressor is made; what cannot be checked is let through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pydantic
import pytest
import torch
from torch import nn

from benchmarks.matrix.selection import parse_compressors
from compressors import registry
from compressors.interface import Compressed, Compressor, Context, Effect, PressbenchError

if TYPE_CHECKING:
    from nowhere import Unseen  # type: ignore[import-not-found]


@dataclass(frozen=True)
class _Typed(Compressor):
    name: ClassVar[str] = "planted-typed"
    family: ClassVar[str] = "pruning"
    effect: ClassVar[Effect] = "simulated"
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    share: float = 0.5
    layers: int = 2
    exact: bool = True
    scope: Literal["layer", "global"] = "layer"
    bits: Literal[4, 8] = 8
    label: str = ""
    seed: int | None = None
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 1.0)
    nested: tuple[tuple[str, int], ...] = ()
    bounded: Annotated[float, pydantic.Field(gt=0)] = 1.0
    # What nobody can check, or what says less than it means.
    dtype: torch.dtype = torch.float16
    unseen: Unseen = None
    implied: int = None  # type: ignore[assignment]
    whatever: Any = None
    odd: "not a type at all" = None  # type: ignore[valid-type] # noqa: F722

    def __post_init__(self) -> None:
        if self.label == "two lines":
            raise ValueError("first\n  second")
        if self.label == "key":
            raise KeyError("gone")

    def compress(self, model: nn.Module, context: Context) -> Compressed:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def typed() -> None:
    registry.register(_Typed)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("share=abc", 'share is "abc", must be a number'),
        ("share=true", "share is true, must be a number"),
        ("share=null", "share is null, must be a number"),
        ("layers=true", "layers is true, must be a whole number"),
        ("layers=2.5", "layers is 2.5, must be a whole number"),
        ("exact=1", "exact is 1, must be true or false"),
        ("exact=yes", 'exact is "yes", must be true or false'),
        ("scope=lyer", 'scope is "lyer", must be one of layer, global; did you mean layer?'),
        ("bits=5", "bits is 5, must be one of 4, 8"),
        ("label=3", "label is 3, must be text"),
        ("seed=x", 'seed is "x", must be a whole number or null'),
        ("names=a", 'names is "a", must be a list, each text'),
        ("names=[1]", "names is [1], must be a list, each text"),
        ("pair=[1]", "pair is [1], must be a list of 2: a whole number, a number"),
        ('nested=[["a","b"]]', 'nested is [["a", "b"]], must be a list, each a list of 2: text, a whole number'),
        ("bounded=0", "bounded is 0, must be as _Typed declares it: input should be greater than 0"),
        ("implied=x", 'implied is "x", must be a whole number'),
        (f"layers={'x' * 500}", f'layers is "{"x" * 78}…, must be a whole number'),
        ("label=two lines", "first second"),
        ("label=key", "KeyError: 'gone'"),
    ],
)
def test_a_value_that_does_not_fit_is_one_line(option: str, told: str) -> None:
    with pytest.raises(PressbenchError) as error:
        parse_compressors([f"planted-typed:{option}"], "quick")
    assert str(error.value) == f"compressor 'planted-typed': {told}"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("share=1", 1),
        ("layers=3", 3),
        ("seed=null", None),
        ("seed=4", 4),
        ("scope=global", "global"),
        ("bits=4", 4),
        ('names=["a","b"]', ("a", "b")),
        ("pair=[2,3]", (2, 3)),
        ('nested=[["a",1]]', (["a", 1],)),
        ("dtype=float16", "float16"),
        ("unseen=3", 3),
        ("implied=null", None),
        ("whatever=[1]", (1,)),
        ("odd=3", 3),
    ],
)
def test_what_fits_or_cannot_be_checked_is_passed_on_as_it_is(option: str, value: Any) -> None:
    (made,) = parse_compressors([f"planted-typed:{option}"], "quick").values()
    found = getattr(made, option.partition("=")[0])
    assert found == value
    assert type(found) is type(value)  # nothing is converted: ids and cache keys hold what was given


def test_a_value_that_json_cannot_hold_is_left_to_the_compressor() -> None:
    assert registry.build("planted-typed", {"dtype": torch.int8, "share": torch.tensor(1.0)}).parameters["share"] == 1


def test_a_wrong_value_within_a_chain_is_told_when_it_is_chosen() -> None:
    with pytest.raises(PressbenchError, match='share is "abc", must be a number'):
        parse_compressors(['pipeline:chain=[["planted-typed",[["share","abc"]]]]'], "quick")
