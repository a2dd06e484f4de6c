"""Read the pickled dict of arrays in an `.npy` file, without calling anything that the file names.

`np.load(allow_pickle=True)` calls whatever function the file names, and NumPy's own `__setstate__`
believes the state it is given: a forged one makes it follow a pointer of the file's choice. So no
object is built by `pickle`. This reader knows the opcodes of protocols 0 to 5 that containers,
strings, numbers and arrays need, and the few forms in which NumPy writes an array:

    _reconstruct(ndarray, (0,), b"b"), then the state (1, shape, dtype, is_fortran, bytes or list)
    _frombuffer(bytes, dtype, shape, order)
    scalar(dtype, bytes)
    dtype("f4", False, True), then the state (3, "<", None, None, None, -1, -1, 0)

Arrays are made from bytes of the right number and plain dtypes. Everything else is refused.

Source: CPython Lib/pickle.py, pickletools.py; NumPy _core/src/multiarray/{methods,descriptor}.c.
"""

from __future__ import annotations

import codecs
import math
import mmap
import pickletools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from porter.apps.transfer.checks import damaged
from porter.errors import WeightError


class Forbidden(Exception):
    """A name that no array needs."""


class Malformed(Exception):
    """A form in which NumPy writes no array."""


@dataclass(frozen=True)
class GlobalName:
    """A class or function that the file names. It is compared, never imported."""

    module: str
    name: str


@dataclass(eq=False)
class PendingDtype:
    """A dtype without its byte order, until its state is read."""

    code: str
    order: str = "="

    def dtype(self) -> np.dtype[Any]:
        if not re.fullmatch("[fiub][1248]|O[48]|O", self.code):
            raise Malformed(f"a dtype '{self.code}'")
        return np.dtype(self.code[0] if self.code[0] == "O" else self.order + self.code)


@dataclass(eq=False)
class PendingArray:
    """An array whose state is read next; `value` is None until then."""

    value: Any = None


def read_arrays(path: Path) -> Any:
    """The array in an `.npy` file, or the dict that was pickled into it. Raises WeightError."""
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.hasobject:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    mapped.seek(file.tell())
                    content = loads(mapped)
                is_wrapped = isinstance(content, np.ndarray) and content.shape == ()
                return content.item() if is_wrapped else content
            if math.prod(shape) * dtype.itemsize > path.stat().st_size:
                raise EOFError("fewer bytes than its shape needs")
        return np.load(path, allow_pickle=False)
    except Forbidden as error:
        raise WeightError(
            "the file would run code when it is loaded; nothing of it was run",
            where=path.name,
            received=f"it calls {error}",
            hint="weights need nothing but NumPy's arrays: do not trust this file",
        ) from error
    except Malformed as error:
        raise WeightError(
            "the file holds a pickle that NumPy writes for no array of numbers; nothing was built "
            "from it",
            where=path.name,
            received=str(error),
            hint="a forged state would make NumPy follow a pointer of the file's choice: do not "
            "trust this file, unless it has records or dates where weights should be",
        ) from error
    except Exception as error:  # bytes can be wrong in every way there is
        raise damaged(path, error) from error


def loads(file: Any) -> Any:
    """The object in an open file. Raises Forbidden, Malformed, ValueError and their like."""
    return StackMachine().run(operations(file))


OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}


def operations(file: Any) -> Iterator[tuple[str, Any]]:
    """GlobalName and argument of every opcode."""
    while code := file.read(1):
        opcode = OPCODES.get(code)
        if opcode is None:
            raise Malformed(f"the opcode {code!r}")
        if opcode.name == "STRING":  # pickletools reads no byte above 127 here
            yield opcode.name, codecs.escape_decode(file.readline().strip()[1:-1])[0]
        else:
            yield opcode.name, opcode.arg.reader(file) if opcode.arg else None


MARK = object()
NUMPY = "numpy.core.multiarray"


class StackMachine:
    """The stack machine of a pickle, for data alone."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, opcodes: Iterator[tuple[str, Any]]) -> Any:
        """Execute the opcodes up to STOP, and return the object on top."""
        for name, argument in opcodes:
            if name == "STOP":
                return finished(self.stack.pop())
            if name in PUSHED:
                self.stack.append(argument)
            elif name in CONSTANTS:
                self.stack.append(CONSTANTS[name]())
            elif name in ACTIONS:
                ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Forbidden(f"the opcode {name}")
        raise EOFError("the pickle does not end")

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def push_name(self, text: str) -> None:
        module, _, name = text.partition(" ")
        self.stack.append(allowed(module, name))

    def stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(allowed(str(module), str(name)))

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise Malformed("a call of what is no function")
        self.stack.append(call(function, arguments))

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, PendingDtype):
            set_byte_order(target, state)
        elif isinstance(target, PendingArray):
            target.value = array_of(state)
        else:
            raise Malformed("a state for what has none")

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Malformed("items of what is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise Malformed("items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int):
                raise Malformed(f"a key of type {type(key).__name__}")
            target[key] = value

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]


def text_of(argument: Any) -> Any:
    """Latin-1 maps every byte of Python 2's strings to a character of its own."""
    return argument.decode("latin1") if isinstance(argument, bytes) else argument


PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: MARK,
}


def join(count: int) -> Callable[[StackMachine, Any], None]:
    """Make a tuple of the topmost `count` objects."""

    def action(reader: StackMachine, _: Any) -> None:
        items = tuple(reader.stack[-count:])
        if len(items) < count or any(each is MARK for each in items):
            raise Malformed("a tuple of too few items")
        del reader.stack[-count:]
        reader.stack.append(items)

    return action


def gather(make: Callable[[list[Any]], Any]) -> Callable[[StackMachine, Any], None]:
    """Make a container of what was pushed since the mark."""
    return lambda reader, _: reader.stack.append(make(reader.since_mark()))


def gather_dict(reader: StackMachine, _: Any) -> None:
    items = reader.since_mark()
    reader.stack.append({})
    reader.set_items(items)


def set_item(reader: StackMachine, _: Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    reader.set_items([key, value])


ACTIONS: dict[str, Callable[[StackMachine, Any], Any]] = {
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING"),
        lambda reader, argument: reader.stack.append(text_of(argument)),
    ),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), StackMachine.remember),
    **dict.fromkeys(
        ("GET", "BINGET", "LONG_BINGET"),
        lambda reader, argument: reader.stack.append(reader.memo[argument]),
    ),
    "GLOBAL": StackMachine.push_name,
    "STACK_GLOBAL": StackMachine.stack_global,
    "REDUCE": StackMachine.reduce,
    "BUILD": StackMachine.build,
    "TUPLE": gather(tuple),
    "TUPLE1": join(1),
    "TUPLE2": join(2),
    "TUPLE3": join(3),
    "LIST": gather(list),
    "DICT": gather_dict,
    "APPEND": lambda reader, _: reader.append([reader.stack.pop()]),
    "APPENDS": lambda reader, _: reader.append(reader.since_mark()),
    "SETITEM": set_item,
    "SETITEMS": lambda reader, _: reader.set_items(reader.since_mark()),
    "POP": lambda reader, _: reader.stack.pop(),
    "DUP": lambda reader, _: reader.stack.append(reader.stack[-1]),
}


def allowed(module: str, name: str) -> GlobalName:
    """One of the names that arrays need. Raises Forbidden for every other."""
    module = module.replace("numpy._core", "numpy.core")
    found = GlobalName(module, name)
    if found not in CALLS and found != GlobalName("numpy", "ndarray"):
        raise Forbidden(f"{module}.{name}")
    return found


def reconstruct(arguments: tuple[Any, ...]) -> PendingArray:
    if arguments[:1] != (GlobalName("numpy", "ndarray"),):
        raise Malformed("an array of another class")
    return PendingArray()


def pending_dtype(arguments: tuple[Any, ...]) -> PendingDtype:
    if not arguments or not isinstance(arguments[0], str):
        raise Malformed("a dtype without a name")
    return PendingDtype(arguments[0])


def scalar(arguments: tuple[Any, ...]) -> Any:
    dtype, data = arguments
    return filled(dtype, (), bytes_of(data), "C").item()


def from_buffer(arguments: tuple[Any, ...]) -> PendingArray:
    data, dtype, shape, order = arguments
    return PendingArray(filled(dtype, shape, bytes_of(data), order))


def encode(arguments: tuple[Any, ...]) -> bytes:
    text, codec = arguments
    if codec not in ("latin1", "latin-1"):
        raise Malformed(f"the codec {codec!r}")
    return bytes_of(text)


CALLS: dict[GlobalName, Callable[[tuple[Any, ...]], Any]] = {
    GlobalName(NUMPY, "_reconstruct"): reconstruct,
    GlobalName(NUMPY, "scalar"): scalar,
    GlobalName("numpy.core.numeric", "_frombuffer"): from_buffer,
    GlobalName("numpy", "dtype"): pending_dtype,
    GlobalName("_codecs", "encode"): encode,
    GlobalName("__builtin__", "bytes"): lambda arguments: bytes_of(*arguments or (b"",)),
    GlobalName("collections", "OrderedDict"): lambda arguments: dict(*arguments),
}


def call(function: GlobalName, arguments: tuple[Any, ...]) -> Any:
    """What a known function makes of its arguments."""
    if function not in CALLS:
        raise Malformed(f"a call of {function.module}.{function.name}")
    return CALLS[function](arguments)


def set_byte_order(dtype: PendingDtype, state: Any) -> None:
    """Take the byte order from a dtype's state; plain dtypes have nothing else in it."""
    if (
        not isinstance(state, tuple)
        or len(state) < 5
        or any(each is not None for each in state[2:5])
    ):
        raise Malformed("a dtype with fields")
    if state[1] not in ("<", ">", "|", "="):
        raise Malformed("a byte order that does not exist")
    dtype.order = state[1]


def array_of(state: Any) -> Any:
    """The array of a state (1, shape, dtype, is_fortran, data)."""
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise Malformed("an array with another state")
    shape, dtype, fortran, data = state[-4:]
    return filled(dtype, shape, data, "F" if fortran else "C")


def filled(dtype: Any, shape: Any, data: Any, order: Any) -> Any:
    """An array of plain numbers out of its bytes, or one of objects out of a list."""
    if not isinstance(dtype, PendingDtype) or order not in ("C", "F"):
        raise Malformed("an array without a plain dtype")
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(size) is int and size >= 0 for size in sizes) or len(sizes) > 32:
        raise Malformed(f"the shape {shape!r}"[:80])
    plain = dtype.dtype()
    count = math.prod(sizes)
    if plain.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise Malformed("an array of objects without as many of them")
        array = np.empty(count, object)
        for index, item in enumerate(data):
            array[index] = finished(item)
        return array.reshape(sizes, order=order)
    content = bytes_of(data)
    if len(content) != count * plain.itemsize:
        raise Malformed(f"{len(content)} bytes for {count} elements of {plain}")
    native = np.frombuffer(content, plain).astype(plain.newbyteorder("="), copy=False)
    return native.reshape(sizes, order=order)


def bytes_of(data: Any) -> bytes:
    """Bytes, or the text that stands for them in files of Python 2."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise Malformed(f"{type(data).__name__} where bytes should be")
    return bytes(data)


def finished(value: Any) -> Any:
    """`value` with arrays in the place of those that were pending, in all its containers."""
    containers: dict[int, Any] = {}
    return replaced(value, containers, 0)


MAX_DEPTH = 16
"""Dicts in lists in dicts: files of weights have three levels."""


def replaced(value: Any, containers: dict[int, Any], depth: int) -> Any:
    if isinstance(value, PendingArray):
        if value.value is None:
            raise Malformed("an array without a state")
        return value.value
    if isinstance(value, PendingDtype):
        return value.dtype()
    if isinstance(value, GlobalName) or value is MARK:
        raise Malformed("a function where data should be")
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == MAX_DEPTH:
        raise Malformed("containers that are nested too deep")
    if id(value) not in containers:
        inner = [replaced(each, containers, depth + 1) for each in contents(value)]
        containers[id(value)] = (
            dict(zip(value, inner, strict=True)) if isinstance(value, dict) else type(value)(inner)
        )
    return containers[id(value)]


def contents(container: Any) -> list[Any]:
    """The values in a container."""
    return list(container.values() if isinstance(container, dict) else container)
