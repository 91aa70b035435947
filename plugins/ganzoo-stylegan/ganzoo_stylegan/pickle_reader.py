"""Reads pickles of networks without running code: a machine for their opcodes that calls nothing that they name.

It builds numbers, text, bytes, containers and tensors. What a pickle calls is looked up by name among a few functions
of this module, and everything else is refused by its name. Memory stays within a small multiple of the file's size.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.plugin import CodeError

MOST_OPCODES = 2_000_000
"""A snapshot of StyleGAN2 has about 100,000; each may take some hundred bytes of memory for its one in the file."""
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
"""What `torch.save` before torch 1.6 begins with, as tensors in a plain pickle still do."""
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
Key = str | bytes | int | float | None


@dataclass(frozen=True)
class Named:
    """A class or function that the pickle names; nothing is imported."""

    name: str


@dataclass(eq=False)
class Module:
    """An object of a class of the authors': its class's name, and its attributes."""

    class_name: str
    state: dict[str, Any]


@dataclass(eq=False)
class NumpyType:
    """The type of a number of NumPy's, and its order of bytes."""

    code: str
    order: str = "<"


@dataclass(eq=False)
class Storage:
    """The memory of tensors: values (n,), once they are read."""

    dtype: torch.dtype
    count: int
    values: Tensor = field(default_factory=lambda: torch.empty(0))


def read_pickle(data: bytes) -> Any:
    """Return what a pickle holds.

    Raises:
        CodeError: it wants to call what is none of the functions that make tensors and containers.
        ValueError: it is damaged, or larger in memory than a file of networks.
    """
    try:
        return _Machine(io.BytesIO(data), _CALLS).run()
    except ValueError:
        raise
    except Exception as error:  # of any kind, depending on the bytes
        raise ValueError(f"is damaged: {type(error).__name__}: {error}") from error


class _Machine:
    """Runs the opcodes of one pickle.

    Args:
        file: whose next bytes are the pickle.
        calls: what stands for each function or class that may be called, by its full name.
        persistent: what stands for a persistent id.
    """

    def __init__(
        self,
        file: io.BytesIO,
        calls: dict[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file, self._calls, self._persistent = file, calls, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(self._file)):
            if number >= MOST_OPCODES:
                raise ValueError(f"has more than {MOST_OPCODES} opcodes, where a network takes a tenth of them")
            if opcode.name == "STOP":
                if len(self._stack) != 1:
                    raise ValueError("is damaged: it ends with nothing, or with more than one thing")
                return self._stack[0]
            self._take(opcode.name, argument)
        raise ValueError("is damaged: it ends early")

    def _take(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in _MARKED:
            _MARKED[name](stack, self._since_mark())
        elif name == "APPEND":
            stack[-2].append(stack.pop())
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack, [key, value])
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "GLOBAL":
            stack.append(self._named(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            stack.append(self._named(f"{first}.{last}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(self._call(called, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif name == "BINPERSID" and self._persistent is not None:
            stack.append(self._persistent(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise CodeError(f"has the opcode {name}, which files of networks do not need, and is not run")

    def _since_mark(self) -> list[Any]:
        begin = self._marks.pop()
        taken = self._stack[begin:]
        del self._stack[begin:]
        return taken

    def _named(self, name: str) -> Named:
        if name not in self._calls:
            raise CodeError(
                f"names {name[:200]}, which is neither a tensor nor a container, and is not run to see what"
            )
        return Named(name)

    def _call(self, called: Any, arguments: Any) -> Any:
        if not isinstance(called, Named) or not isinstance(arguments, tuple):
            raise CodeError(f"calls {type(called).__name__}, which is no class or function that makes a tensor")
        return self._calls[called.name](*arguments)


def _append(stack: list[Any], items: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, list):
        raise ValueError(f"is damaged: it appends to {type(target).__name__}")
    target += items


def _new_dict(stack: list[Any], items: list[Any]) -> None:
    stack.append({})
    _set_items(stack, items)


def _new_set(stack: list[Any], items: list[Any]) -> None:
    stack.append(set(map(_key, items)))


def _new_tuple(stack: list[Any], items: list[Any]) -> None:
    stack.append(tuple(items))


def _drop(stack: list[Any], items: list[Any]) -> None:
    """Leave out what was since the mark."""


def _set_items(stack: list[Any], items: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError(f"is damaged: it sets items of {type(target).__name__}")
    target.update(zip(map(_key, items[::2]), items[1::2], strict=True))


def _add_items(stack: list[Any], items: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, set):
        raise ValueError(f"is damaged: it adds to {type(target).__name__}")
    target.update(map(_key, items))


def _key(key: Any) -> Key:
    """Return a key that is hashed at once; the hash of nested tuples may take for ever."""
    if key is not None and not isinstance(key, str | bytes | int | float):
        raise ValueError(f"has a key of type {type(key).__name__}, which files of networks do not need")
    return key


def _build(target: Any, state: Any) -> None:
    """Set the order of bytes of a NumPy type, which alone has a state that is set after it is made."""
    if not isinstance(target, NumpyType):
        raise CodeError(f"sets the state of {type(target).__name__}, which has none")
    if state[1] not in ("<", ">", "|", "="):
        raise ValueError("is damaged: a NumPy type has no such order of bytes")
    target.order = state[1]


_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_MARKED: dict[str, Callable[[list[Any], list[Any]], None]] = {
    "TUPLE": _new_tuple,
    "LIST": list.append,
    "DICT": _new_dict,
    "FROZENSET": _new_set,
    "APPENDS": _append,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    "POP_MARK": _drop,
}


# What stands for the functions and classes that such files name


def _module(meta: Any, *others: Any) -> Module:
    """An object as torch_utils/persistence.py makes it: its source comes with it, and is not looked at."""
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise ValueError("is damaged: an object has no class or no attributes")
    return Module(name, state)


def _dictionary(*arguments: Any) -> dict[Any, Any]:
    """An empty dictionary, whose items follow, or one of pairs."""
    pairs = arguments[0] if arguments else []
    return {_key(key): value for key, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _items(*arguments: Any) -> set[Any]:
    return set(map(_key, arguments[0] if arguments else []))


def _sizes(*arguments: Any) -> tuple[Any, ...]:
    return tuple(arguments[0] if arguments else ())


def _text(*arguments: Any) -> str:
    return ":".join(map(str, arguments))


def _numpy_type(code: Any, *others: Any) -> NumpyType:
    if code not in NUMBERS:
        raise ValueError(f"has values of NumPy's type {str(code)[:50]}, and not numbers")
    return NumpyType(code)


def _number(kind: Any, data: Any = b"") -> Any:
    assert isinstance(kind, NumpyType)
    size = int(kind.code[1])
    if not isinstance(data, bytes) or len(data) != size:
        raise ValueError("is damaged: a number of NumPy's has another size than its type")
    return np.frombuffer(data, kind.order.replace("|", "=") + kind.code)[0].item()


def _storage(data: Any) -> Storage:
    """The memory of a tensor, from the bytes that `torch.save` wrote before torch 1.6."""
    file = io.BytesIO(data)
    found: list[Storage] = []

    def storage(key: Any) -> Storage:
        kind, named, _, _, count, *view = key
        if kind != "storage" or not isinstance(named, Named) or not isinstance(count, int) or any(view) or found:
            raise ValueError("is damaged: the memory of a tensor is no plain storage")
        found.append(Storage(DTYPES[named.name.rpartition(".")[2]], count))
        return found[0]

    if _Machine(file, {}).run() != MAGIC or _Machine(file, {}).run() != VERSION:
        raise ValueError("is damaged: the memory of a tensor is not as torch.save writes it")
    _Machine(file, {}).run()  # of which byte order, on which system
    _Machine(file, {f"torch.{name}": _text for name in DTYPES}, storage).run()
    _Machine(file, {}).run()  # the keys of all storages: one
    (made,) = found
    count, values = int.from_bytes(file.read(8), "little"), file.read()
    if count != made.count or count * made.dtype.itemsize != len(values):
        raise ValueError("is damaged: the memory of a tensor has another size than it says")
    if values:
        made.values = torch.frombuffer(bytearray(values), dtype=made.dtype)
    return made


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *others: Any) -> Tensor:
    """A tensor with a value in memory for each of its own."""
    assert isinstance(storage, Storage)
    if not all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride)):
        raise ValueError("is damaged: a tensor has no such shape")
    if len(size) != len(stride) or math.prod(size) > len(storage.values):
        raise ValueError("has a tensor that is not stored value by value")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and last >= len(storage.values):
        raise ValueError("is damaged: a tensor is larger than its memory")
    return storage.values.as_strided(size, stride, offset)


def _parameter(values: Any, *others: Any) -> Tensor:
    assert isinstance(values, Tensor)
    return values


_CALLS: dict[str, Callable[..., Any]] = {
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "torch.Size": _sizes,
    "torch.device": _text,
    "collections.OrderedDict": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    "builtins.set": _items,
    "__builtin__.set": _items,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
