"""Finds the residual stream of a model, by a pass in which every tensor is followed.

There is no table of architectures, so that a new model needs no edit here. What is done to the stream itself must be
the same in every basis: sums, products with a number, the choice of positions. Whatever else is done to it is refused
by name, so that in what is found every use is accounted for. Does not cover post-norm models, whose stream goes through
the weights of norms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compressors import surgery
from compressors.stream import Norm, Stream, norm_of
from compressors.surgery import UnknownStructure

_MOVES = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "transpose", "permute", "t", "slice", "select", "unsqueeze",
    "squeeze", "expand", "repeat", "clone", "_to_copy", "alias", "detach", "cat", "index", "index_select", "split",
    "unbind",
}  # fmt: skip
_SUMS, _SCALES = {"add", "add_", "sub", "sub_"}, {"mul", "mul_", "div", "div_"}
"""Operators of ATen that take a vector to a vector, its numbers in order; to a sum; to a multiple."""


@torch.no_grad()
def find(model: nn.Module, inputs: Mapping[str, Tensor], output: str) -> Stream:
    """The stream that the Transformer layers of `model` add to, as a pass on `inputs` shows it. output: the field of
    its answer that is scored. Linear layers must be nn.Linear (see `surgery.as_linears`).

    Raises UnknownStructure, naming what stands in the way."""
    followed = _Followed(model)
    try:
        with followed.watched(), followed:
            answer = getattr(model(**inputs), output)
    except UnknownStructure:
        raise
    except Exception as error:  # what a model does without data may raise anything
        if followed.begins:
            followed.begun()  # that it is post-norm says more
        told = " ".join(str(error).split())[:200]
        raise UnknownStructure(f"no pass through {type(model).__name__} can be followed: {told}") from None
    return followed.stream(answer)


@dataclass(frozen=True)
class _Mark:
    """Of a tensor: it is what `name` wrote, maybe and others with it; or, `normed`, what the norm `name` answered."""

    name: str
    width: int
    normed: bool = False


class _Followed(TorchDispatchMode):
    """Follows what writers wrote through sums to norms, and from there to readers. Writers whose numbers are summed up
    belong together; those that the layers are given are the stream."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.names = {id(p): n for n, p in model.named_parameters()}
        self.norms: dict[str, Norm] = {}
        self.marks: dict[int, tuple[Tensor, _Mark]] = {}  # the tensor, too: what is gone leaves its number to another
        self.joined: dict[str, str] = {}  # writer -> one that it belongs to
        self.tables: dict[int, str] = {}  # the weight of an embedding -> one that has it
        self.seen: set[int] = set()
        self.bare: set[int] = set()  # parameters that were used outside of a layer
        self.inside = 0
        self.begins: list[_Mark | None] = []
        self.behind: set[str] | None = None  # norms behind all the layers, once these are through
        self.reads: dict[str, str] = {}  # norm -> a writer of what it is given
        self.readers: dict[str, list[str]] = {}
        self.wanted: dict[str, str] = {}  # norm -> who else wants its answer
        self.spoiled: dict[str, str] = {}  # writer -> what else is done to what it wrote

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within it the layers of the model tell when they run."""
        handles = []
        for name, module in self.model.named_modules():
            norm = norm_of(name, module)
            if norm is not None:
                self.norms[name] = norm
            elif not isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d):
                continue
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave(name, module), with_kwargs=True))
        stacks = [surgery.get(self.model, stack) for stack in surgery.layer_lists(self.model)]
        for stack in stacks:
            handles.append(stack[0].register_forward_pre_hook(self._begin, with_kwargs=True))
        handles.append(stacks[-1][-1].register_forward_hook(self._end))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__
        if name == "_local_scalar_dense" and args[0].is_meta:
            return False  # to those who ask whether a text has padding
        out = func(*args, **(kwargs or {}))
        if not self.inside:
            given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            self._follow(name, given, [o for o in tree_leaves(out) if isinstance(o, Tensor)])
        return out

    def _follow(self, operator: str, given: list[Tensor], out: list[Tensor]) -> None:
        marks = [self._mark(values) for values in given]
        found = [mark for mark in marks if mark is not None]
        if not found:
            return
        first, others = found[0], [v for v, mark in zip(given, marks, strict=True) if mark is None]
        alike = len({(mark.width, mark.normed) for mark in found}) == 1 and all(_holds(v, first.width) for v in out)
        if operator in _MOVES:
            known = not any(values.is_floating_point() for values in others)
        elif operator in _SUMS:
            known = len(found) == 2 and not first.normed
        else:
            scaled = first.normed and self._shifted(first.name)  # the shift would not be scaled with it
            known = operator in _SCALES and len(found) == 1 and all(v.numel() == 1 for v in others) and not scaled
        if first.normed and len({mark.name for mark in found}) > 1:
            known = False
        if not (alike and out and known):
            told = f"goes through {operator!r}"
            if operator in _SUMS:
                norm = next((mark.name for mark in found if mark.normed), None)
                told = f"is added to what {f'the norm {norm} answers' if norm else 'no layer writes as it is'}"
            for mark in found:
                self._spoil(mark, told)
            return
        if not first.normed:
            for mark in found[1:]:
                self._join(first.name, mark.name)
        for values in out:
            self.marks[id(values)] = (values, first)

    def _mark(self, values: Tensor) -> _Mark | None:
        if id(values) in self.names and values.ndim and id(values) not in self.marks:
            self.seen.add(id(values))
            self.bare.add(id(values))
            return _Mark(self.names[id(values)], values.shape[-1])
        return self.marks[id(values)][1] if id(values) in self.marks else None

    def _spoil(self, mark: _Mark, told: str) -> None:
        (self.wanted if mark.normed else self.spoiled).setdefault(mark.name, told)

    def _root(self, name: str) -> str:
        while (above := self.joined.get(name, name)) != name:
            name = above
        return name

    def _join(self, one: str, other: str) -> None:
        self.joined[self._root(other)] = self._root(one)

    def _shifted(self, norm: str) -> bool:
        return getattr(surgery.get(self.model, norm), "bias", None) is not None

    def _enter(self, _module: nn.Module, _args: tuple[Any, ...]) -> None:
        self.inside += 1

    def _leave(self, name: str, module: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], more: dict[str, Any], out: Any) -> None:
            self.inside -= 1
            self.seen |= {id(p) for p in module.parameters()}
            given = self._mark(args[0] if args else next(iter(more.values())))
            if name in self.norms:
                if given is not None and not given.normed and out.shape[-1] == given.width:
                    self._join(given.name, self.reads.setdefault(name, given.name))
                    self.marks[id(out)] = (out, _Mark(name, given.width, normed=True))
                    if self.behind is not None:
                        self.behind.add(name)
                elif given is not None:
                    self._spoil(given, f"goes through {name}")
                return
            if given is not None:
                if given.normed and isinstance(module, nn.Linear):
                    self.readers.setdefault(given.name, []).append(name)
                else:
                    self._spoil(given, f"is read by {name}{'' if given.normed else ' without a norm'}")
            axis = 1 if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) else -1
            self.marks[id(out)] = (out, _Mark(name, out.shape[axis]))
            if isinstance(module, nn.Embedding):  # an encoder and a decoder may share a table
                self._join(self.tables.setdefault(id(module.weight), name), name)

        return hook

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> None:
        self.begins.append(self._mark(args[0] if args else more["hidden_states"]))

    def _end(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        self.behind = set()

    def begun(self) -> list[_Mark]:
        """What the first layers were given."""
        of = type(self.model).__name__
        begins = [mark for mark in self.begins if mark is not None]
        if len(begins) < len(self.begins) or not begins:
            raise UnknownStructure(f"{of}: what its layers are given is no sum of what layers write")
        if after := next((mark.name for mark in begins if mark.normed), None):
            raise UnknownStructure(f"{of}: its layers add to what the norm {after} answers, as in a post-norm model")
        return begins

    def stream(self, answer: Any) -> Stream:
        """What was found, the pass being over. answer: what is scored."""
        of, begins = type(self.model).__name__, self.begun()
        root, width = self._root(begins[0].name), begins[0].width
        if any(self._root(mark.name) != root for mark in begins):
            raise UnknownStructure(f"{of}: its encoder and its decoder have each a residual stream of its own")
        if mark := self._mark(answer):
            self._spoil(mark, "is the model's answer")
        for name, told in self.spoiled.items():
            if self._root(name) == root:
                raise UnknownStructure(f"{of}: its residual stream, to which {name} writes, {told}")
        writers = self._writers(root)
        norms = tuple(self._used(name, writers) for name, by in self.reads.items() if self._root(by) == root)
        found = Stream(width, writers, norms)
        self._check(found)
        return found

    def _writers(self, root: str) -> tuple[str, ...]:
        names = dict.fromkeys(mark.name for _, mark in self.marks.values() if not mark.normed)
        names |= dict.fromkeys(self.joined)  # parameters have no mark of their own
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Embedding) and (of := self.tables.get(id(module.weight))):
                names[name] = None  # a table may have a name that nobody calls it by
                self._join(of, name)
        return tuple(name for name in names if self._root(name) == root)

    def _used(self, name: str, writers: tuple[str, ...]) -> Norm:
        """The norm with who reads it."""
        norm, told = self.norms[name], self.wanted.get(name)
        readers = tuple(dict.fromkeys(self.readers.get(name, [])))
        tables = {id(p) for writer in writers for p in _parameters(self.model, writer)}
        tied = [reader for reader in readers if id(surgery.get(self.model, reader).weight) in tables]
        last = name in (self.behind or ())
        if tied and last and told is None and len(readers) == 1:
            return Norm(name, norm.centres, norm.offset, readers, "tied")
        if (tied or told) and not (last and not tied):
            told = told or f"is read by {tied[0]}, which shares its weight"
            raise UnknownStructure(f"{type(self.model).__name__}: what the norm {name} answers {told}")
        return Norm(name, norm.centres, norm.offset, () if told else readers, "whole" if told else "read")

    def _check(self, found: Stream) -> None:
        """Raises where a weight has a second use, or one that the pass did not show."""
        of = type(self.model).__name__
        reading = [reader for norm in found.norms for reader in norm.readers]
        if twice := next((name for name in reading if reading.count(name) > 1), None):
            raise UnknownStructure(f"{of}: {twice} reads what two norms answer")
        tied = {reader for norm in found.norms if norm.use == "tied" for reader in norm.readers}
        owners: dict[int, list[str]] = {}
        for name, module in self.model.named_modules():
            for parameter in module._parameters.values():
                if parameter is not None:
                    owners.setdefault(id(parameter), []).append(name)
        for name in (*reading, *found.writers):
            for parameter in _parameters(self.model, name):
                layer = isinstance(surgery.get(self.model, name), nn.Module)
                plain = name in reading and name not in tied  # changed by the norm that it reads, as no other
                own = set(owners[id(parameter)]) - {name} - (set() if plain else {*found.writers, *tied})
                if layer and own:
                    raise UnknownStructure(f"{of}: {name} shares its weight with {min(own)}")
                if layer and id(parameter) in self.bare:
                    raise UnknownStructure(f"{of}: the weight of {name} has another use")
        for number, name in self.names.items():
            if number not in self.seen and found.width in surgery.get(self.model, name).shape:
                raise UnknownStructure(f"{of}: a pass through it does not show what {name} is for")


def _parameters(model: nn.Module, name: str) -> list[nn.Parameter]:
    found = surgery.get(model, name)
    return list(found.parameters()) if isinstance(found, nn.Module) else [found]


def _holds(values: Tensor, width: int) -> bool:
    """Whether one axis, and which, is the stream's: the last, or the only one of that length."""
    return values.shape[-1:] == (width,) or list(values.shape).count(width) == 1
