"""From bytes to objects: torch7 `File.lua`, `readObject`, made safe for untrusted files.

    object    int kind, then by kind:
    0 nil     -
    1 number  double
    2 string  int length, characters
    3 table   int index [first time: int count, count x (object key, object value)]
    4 torch   int index [first time: class, body]
              class: int length, "V <version>", int length, name; or, before versions, the name
              body:  the class's own (tensor, storage, tds, ...), else one object: its fields
    5 boolean int 0 or 1
    6 function int size, bytecode, object upvalues
    7, 8      int index [first time: as 6]

The parser keeps its own stack of half-read objects, so that nesting is bounded by MAX_DEPTH and
not by Python's. Body methods are generators: they yield the body of a nested object and are sent
that object when it is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import Any

from torchfile import (
    LEGACY_TYPE_RECUR_FUNCTION,
    TYPE_BOOLEAN,
    TYPE_FUNCTION,
    TYPE_NIL,
    TYPE_NUMBER,
    TYPE_RECUR_FUNCTION,
    TYPE_STRING,
    TYPE_TABLE,
    TYPE_TORCH,
)

from porter.errors import Corrupt, T7Error, Unsupported, printable
from porter.torch7.cursor import Cursor
from porter.torch7.heap import Heap, decode
from porter.torch7.objects import TorchObject, describe
from porter.torch7.path import format_path
from porter.torch7.tensors import TensorReader
from porter.torch7.types import Key, LuaBoolean, LuaFunction, Table

MAX_DEPTH = 10_000  # Torch itself overflows the Lua stack at 5,000 nested nn.Sequential
GENERATOR_SIZE = 5_048  # sizeof(THGenerator), written raw by torch7 Generator.c

Body = Generator[Any, Any, Any]


class Parser:
    """Reads one object from a cursor; `path` leads to what is being read."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.path: list[Key] = []
        self.heap = Heap(cursor)
        self.tensors = TensorReader(self.heap)

    def read(self) -> Any:
        """The next object, with everything in it. Raises T7Error, located."""
        try:
            root = self._object()
            return self._run(root) if isinstance(root, GeneratorType) else root
        except T7Error as error:
            error.object_path = format_path(self.path)
            if error.offset is None:
                error.offset = self.cursor.position
            raise

    def _run(self, root: Body) -> Any:
        bodies, value = [root], None
        while bodies:
            try:
                nested = bodies[-1].send(value)
            except StopIteration as end:
                bodies.pop()
                value = end.value
            else:
                if len(bodies) == MAX_DEPTH:
                    raise Unsupported(
                        f"Objects are nested more than {MAX_DEPTH:,} deep.",
                        hint="Torch7 could not load this file either; it is damaged or hostile.",
                    )
                bodies.append(nested)
                value = None
        return value

    def _object(self) -> Any:
        """A complete object, or the body of one that is new."""
        cursor = self.cursor
        start = cursor.position
        kind = cursor.integer("the type of an object")
        if kind == TYPE_NUMBER:
            return cursor.double("a number")
        if kind == TYPE_STRING:
            return self._string()
        if kind == TYPE_NIL:
            return None
        if kind == TYPE_BOOLEAN:
            return self._boolean()
        if kind == TYPE_FUNCTION:
            return self._function_body(0)
        if kind not in (TYPE_TABLE, TYPE_TORCH, TYPE_RECUR_FUNCTION, LEGACY_TYPE_RECUR_FUNCTION):
            raise Corrupt(
                "An object has an unknown type (0 to 8 exist).",
                received=f"type {kind}",
                offset=start,
                hint="The file is damaged, or was changed by a text-mode transfer.",
            )
        index = self.heap.read_index()
        if index in self.heap:
            return self.heap.reference(kind, index, start)
        if kind == TYPE_TABLE:
            return self._table_body(index)
        if kind == TYPE_TORCH:
            return self._torch(index, start)
        return self._function_body(index, kind)

    def _string(self) -> str:
        length = self.cursor.integer("the length of a string")
        return decode(self.cursor.characters(length, "a string"))

    def _boolean(self) -> bool:
        value = self.cursor.integer("a boolean")
        if value not in (0, 1):
            raise Corrupt("A boolean must be 0 or 1.", received=f"{value}")
        return value == 1

    # --- tables -------------------------------------------------------------------------------

    def _table_body(self, index: int) -> Body:
        table = Table(index)
        self.heap.define(TYPE_TABLE, index, table)
        count = self.cursor.integer("the number of entries of a table")
        self._require_objects(2 * count, "a table")
        for _ in range(count):
            key = self._table_key((yield from self._part("<key>")))
            value = yield from self._part(key)
            if value is None:  # t[key] = nil removes the entry, and so does reading one
                table.items.pop(key, None)
            else:
                table.items[key] = value
        return table

    def _part(self, label: Key) -> Body:
        """The object that follows, as part `label` of the one being read."""
        self.path.append(label)
        value = self._object()
        if isinstance(value, GeneratorType):
            value = yield value
        self.path.pop()
        return value

    def _table_key(self, key: Any) -> Key:
        if key is None or (isinstance(key, float) and math.isnan(key)):
            raise Corrupt("A table key cannot be nil or NaN.", received=describe(key))
        if isinstance(key, bool):
            return LuaBoolean(key)
        if isinstance(key, float) and abs(key) < 2**63 and key.is_integer():
            return int(key)
        return key

    def _require_objects(self, count: int, what: str) -> None:
        self.cursor.require(count, count * self.cursor.smallest_object, what)

    # --- functions ----------------------------------------------------------------------------

    def _function_body(self, index: int, kind: int = TYPE_FUNCTION) -> Body:
        size = self.cursor.integer("the size of a Lua function")
        offset = self.cursor.skip(size, "the bytecode of a Lua function")
        function = LuaFunction(index, size, offset)
        if kind != TYPE_FUNCTION:
            self.heap.define(kind, index, function)
        upvalues = yield from self._table_in("<upvalues>", "What follows a Lua function")
        function.upvalues = upvalues
        return function

    # --- instances of Torch classes -----------------------------------------------------------

    def _torch(self, index: int, start: int) -> Any:
        """A tensor or storage, complete; or the body of an instance of any other class."""
        typename, version = self.heap.read_class()
        numeric = self.tensors.read(typename, index, start)
        if numeric is not None:
            return numeric
        if typename in ("tds.Hash", "tds.Vec"):
            return self._tds_body(index, typename)
        return self._instance_body(TorchObject(typename, index, version, start))

    def _instance_body(self, instance: TorchObject) -> Body:
        self.heap.define(TYPE_TORCH, instance.index, instance)
        yield from _OWN_BODIES.get(instance.typename, Parser._fields)(self, instance)
        return instance

    def _table_in(self, label: str, what: str) -> Body:
        """The table that must follow, as part `label` of the object being read."""
        value = yield from self._part(label)
        if not isinstance(value, Table):
            raise Corrupt(f"{what} must be a table.", received=describe(value))
        return value

    def _fields(self, instance: TorchObject) -> Body:
        body = yield from self._table_in("", f"The body of {printable(instance.typename)}")
        # Shared, not copied: the body can be a table that is still being read (a cycle).
        instance.fields = body.items

    def _gpu(self, instance: TorchObject) -> Body:
        """nn.GPU (GPU.lua, write): {type, device} for the reader, then the fields."""
        yield from self._table_in("<device>", "The header of nn.GPU")
        yield from self._fields(instance)

    def _data_parallel(self, instance: TorchObject) -> Body:
        """nn.DataParallelTable (cunn DataParallelTable.lua): since version 2 GPU numbers first."""
        if instance.version >= 2:
            yield from self._table_in("<gpus>", "The header of nn.DataParallelTable")
        yield from self._fields(instance)

    def _model_parallel(self, instance: TorchObject) -> Body:
        """nn.ModelParallelTable (multipathnet ModelParallelTable.lua): since version 2 the numbers
        of GPUs, a module for each of them, and then the other fields."""
        if instance.version < 2:
            yield from self._fields(instance)
            return
        gpus = yield from self._table_in("<gpus>", "The header of nn.ModelParallelTable")
        modules = Table(0)
        for position in range(1, len(gpus.items) + 1):
            modules.items[position] = yield from self._part(position)
        yield from self._fields(instance)
        instance.fields["modules"] = modules

    def _generator(self, instance: TorchObject) -> Body:
        """torch.Generator (torch7 Generator.c): the state of the C struct."""
        self.cursor.skip(GENERATOR_SIZE, "the state of torch.Generator")
        yield from ()

    def _timer(self, instance: TorchObject) -> Body:
        """torch.Timer (torch7 Timer.c): nothing."""
        yield from ()

    def _tds_body(self, index: int, typename: str) -> Body:
        """tds.Hash: long count, key and value objects; tds.Vec: long count, objects."""
        table = Table(index, typename=typename)
        self.heap.define(TYPE_TORCH, index, table)
        count = self.cursor.long(f"the number of entries of {typename}")
        keyed = typename == "tds.Hash"
        self._require_objects(count * (2 if keyed else 1), typename)
        for position in range(1, count + 1):
            key = self._table_key((yield from self._part("<key>"))) if keyed else position
            table.items[key] = yield from self._part(key)
        return table


_OWN_BODIES: dict[str, Callable[[Parser, TorchObject], Body]] = {
    "nn.GPU": Parser._gpu,
    "nn.DataParallelTable": Parser._data_parallel,
    "nn.ModelParallelTable": Parser._model_parallel,
    "torch.Generator": Parser._generator,
    "torch.Timer": Parser._timer,
}
