"""What one forward pass executes: how many operations, on operands of how many bits, and how many bytes of weights it
reads. Counted from what runs and not from what anyone says of it: a layer that was renamed executes what it did."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

BITS = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "float8": 8, "int4": 4}
FEWER = 0.97
"""Operations over the dense model's from which down there is less to do: what is closer could not be seen in a
speed."""


@dataclass(frozen=True)
class Executed:
    """operations: of matrix products, convolutions and attention, two for each multiplication and addition, by the
    narrowest operand: "float32", "bfloat16", "int8" (also weights of 8 bits beside wider activations), "int4".
    weight_bytes: of the weights that they read, once each, as they lie in memory. kinds: operators -> how many ran."""

    operations: Mapping[str, int]
    weight_bytes: int
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All operations."""
        return sum(self.operations.values())

    def narrower(self, than: int) -> float:
        """The share of operations on an operand of fewer bits than that."""
        narrow = sum(count for name, count in self.operations.items() if BITS.get(name, 32) < than)
        return narrow / max(1, self.total)

    @property
    def widest(self) -> int:
        """Bits of the operands that most operations have."""
        found = max(self.operations, key=lambda name: self.operations[name], default="float32")
        return BITS.get(found, 32)

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {"operations": dict(self.operations), "weight_bytes": self.weight_bytes, "kinds": dict(self.kinds)}


def product(rows: int, inner: int, columns: int) -> int:
    """Operations of a matrix product (rows, inner) × (inner, columns)."""
    return 2 * rows * inner * columns


def _packed(args: tuple[Any, ...], out: Any) -> int:
    """(n, k) × packed weights -> (n, m)."""
    return product(args[0].shape[0], args[0].shape[1], out.shape[1])


def _sparse(args: tuple[Any, ...]) -> int:
    """(n, k) in rows of what is not zero, × (k,) or (k, m)."""
    columns = args[1].shape[1] if args[1].dim() == 2 else 1
    return product(1, args[0].values().numel(), columns)


def _attention(args: tuple[Any, ...], out: Any) -> int:
    """Queries (batch, heads, queries, width) over keys and values."""
    batch, heads, queries, width = args[0].shape
    return 2 * product(batch * heads * queries, width, args[1].shape[2])


def _rows(args: tuple[Any, ...], out: Any) -> int:
    """(…, k) × weights, packed or not, -> (…, m), alone or the first of what comes out."""
    out = out[0] if isinstance(out, tuple) else out
    return product(out.numel(), args[0].shape[-1], 1)


def _added(args: tuple[Any, ...], out: Any) -> int:
    """The same, added to something that comes first."""
    return _rows(args[1:], out)


_MORE: Mapping[str, tuple[Callable[[tuple[Any, ...], Any], int], str | None]] = {
    "_addmm_activation": (_added, None),
    "_grouped_mm": (_rows, None),  # of experts, each for its own rows
    "_int_mm": (_rows, "int8"),
    "addmm_": (_added, None),
    "addmv": (_added, None),
    "baddbmm_": (_added, None),
    "mv": (_rows, None),
    "_weight_int8pack_mm": (_packed, "int8"),
    "_weight_int4pack_mm_for_cpu": (_packed, "int4"),
    "_weight_int4pack_mm": (_packed, "int4"),
    "qlinear_pointwise": (_packed, "int8"),
    "_scaled_dot_product_flash_attention_for_cpu": (_attention, None),
    "_scaled_dot_product_attention_math_for_mps": (_attention, None),
    "bitsandbytes.gemm_4bit": (_rows, "int4"),
    "bitsandbytes.gemv_4bit": (_rows, "int4"),
    "bitsandbytes.int8_linear_matmul": (_rows, "int8"),
    "bitsandbytes.int8_mixed_scaled_mm": (_rows, "int8"),
    "bitsandbytes.int8_scaled_mm": (_rows, "int8"),
}
"""Operators that torch's own table of operations leaves out -> how to count them, and the operand's type where
its tensor does not tell."""


_TABLES = {"embedding", "index", "index_select", "gather", "view", "t", "transpose", "slice", "detach", "alias"}
"""Operators that read single rows of a tensor, or nothing of it."""


OWN = ("aten", "prims")
"""What torch's own operators are called by."""
MULTIPLY = re.compile(
    r"(^|_)(b?mm|(b?add|s|sp|ssp)b?mm|(add)?mv|matmul|(tri)?linear|conv(olution|\d|_)\w*|attention|lstm|gru|rnn|cdist"
    r"|transformer|gem[mv])(_|$)"
)
"""The names of operators that multiply; torch's own others change one number at a time, or move them."""
CODES = re.compile(r"quant|pack|choose_qparams")
"""The names of libraries' operators that make codes of numbers, or numbers of codes."""


class Uncounted(Exception):
    """An operator multiplies, or is a library's and reads weights, and nobody here knows how much it computes."""


class _Counting(TorchDispatchMode):
    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        """weights: of the model."""
        super().__init__()
        self.made_of_weights = {place for values in weights for place in _memory(values)}
        """Where weights lie, and what is made of them alone: another type, another layout, numbers of codes."""
        self.operations: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.read: dict[int, int] = {}
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        packet = func._overloadpacket
        foreign = func.namespace not in OWN
        name, more = packet.__name__, kwargs or {}
        if foreign and f"{func.namespace}.{name}" in _MORE:
            name = f"{func.namespace}.{name}"
        if name in ("mm", "mv") and args[0].layout is torch.sparse_csr:  # torch's table counts the zeros too
            self.operations[_name(args[0].dtype)] += _sparse(args)
            self.kinds[f"{name} of CSR"] += 1
            self._reads(args)
            return func(*args, **more)
        if name not in _MORE and packet not in flop_registry:
            with self:  # in inference mode linear, matmul and attention arrive whole
                made = func.decompose(*args, **more)
            if made is NotImplemented:
                if name not in _TABLES:
                    self._reads(args)
                return self._other(func, foreign, args, more)
            return made
        out, dtype = func(*args, **more), None
        out = more.get("out") if out is None else out
        if name in _MORE:
            count, dtype = _MORE[name][0](args, out), _MORE[name][1]
        else:
            count = int(flop_registry[packet](*args, **more, out_val=out))
        tensors = [value for value in args if isinstance(value, torch.Tensor)]
        if dtype is None:
            dtype = min((_name(value.dtype) for value in tensors), key=lambda one: BITS.get(one, 32), default="float32")
        self.operations[dtype] += count
        self.kinds[name] += 1
        self._reads(args)
        return out

    def _other(self, func: Any, foreign: bool, args: tuple[Any, ...], more: Mapping[str, Any]) -> Any:
        """Run an operator that nobody counts: it must not multiply, nor a library's do anything else with weights."""
        name, given = func._overloadpacket.__name__, tree_leaves((args, more))
        places = {place for value in filter(_is_somewhere, given) for place in _memory(value)}
        held = any(isinstance(value, torch.ScriptObject) for value in given)  # packed weights
        weights = held or bool(places & self.made_of_weights)
        if (MULTIPLY.search(name) and (weights or not foreign)) or (foreign and weights and not CODES.search(name)):
            self.uncounted.add(f"{func.namespace}.{name}")
        out = func(*args, **more)
        if places and places <= self.made_of_weights:
            self.made_of_weights |= {p for value in filter(_is_somewhere, tree_leaves(out)) for p in _memory(value)}
        return out

    def _reads(self, args: tuple[Any, ...]) -> None:
        for value in filter(_is_somewhere, args):
            self.read |= _memory(value)


def _is_somewhere(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "meta"


def _parts(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors that hold one: itself, of rows of what is not zero these and where they are, and of one that a
    library made of others these."""
    if is_traceable_wrapper_subclass(values):
        held = [getattr(values, name) for name in values.__tensor_flatten__()[0]]
        return tuple(part for one in held for part in _parts(one))
    if values.layout in (torch.sparse_csr, torch.sparse_bsr):
        return values.crow_indices(), values.col_indices(), values.values()
    if values.layout is torch.sparse_coo:
        return values._indices(), values._values()
    return (values,)


def _memory(values: torch.Tensor) -> dict[int, int]:
    """Where one lies -> of how many bytes. What oneDNN laid out its own way has no storage that torch would show."""
    if values.layout is torch._mkldnn:  # type: ignore[attr-defined]
        return {torch.ops.mkldnn.data_ptr(values): torch.ops.mkldnn._nbytes(values)}
    stored = [part.untyped_storage() for part in _parts(values)]
    return {storage.data_ptr(): storage.nbytes() for storage in stored if storage.nbytes()}


def _name(dtype: torch.dtype) -> str:
    found = str(dtype).removeprefix("torch.")
    return "float8" if found.startswith("float8") else "int8" if found == "uint8" else found


def of_torch(model: torch.nn.Module, call: Callable[[], Any]) -> Executed:
    """What `call`, which runs `model` in this thread, executes in torch. Raises Uncounted."""
    counting = _Counting(filter(_is_somewhere, (*model.parameters(), *model.buffers())))
    with counting:
        call()
    weights = filter(_is_somewhere, (*model.parameters(), *model.buffers()))
    owned = {place for values in weights for place in _memory(values)}
    placed = {id(module): vars(module).values() for module in model.modules()}  # what a kernel had laid out its own way
    owned |= {
        place
        for values in placed.values()
        for value in values
        if isinstance(value, torch.Tensor)
        for place in _memory(value)
    }
    if counting.uncounted:
        raise Uncounted(f"nobody counts what {', '.join(sorted(counting.uncounted))} computes")
    if not counting.operations:
        raise Uncounted("nothing that multiplies was seen")
    read = sum(size for place, size in counting.read.items() if place in owned)
    return Executed(dict(counting.operations), read, dict(counting.kinds))
