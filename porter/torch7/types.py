"""What a `.t7` file is made of, once read.

    Lua value          here
    nil                None
    number             float (doubles; table keys with integral value become int)
    boolean            bool
    string             str, UTF-8 with surrogateescape: `s.encode("utf-8", "surrogateescape")`
                       gives the bytes back
    table, tds.*       Table
    function           LuaFunction (its bytecode is never kept, let alone run)
    torch.*Tensor      Tensor
    torch.*Storage     Storage
    any other class    TorchObject (objects.py)

Objects compare by identity: two fields that hold one Lua object hold one Python object.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, KeysView
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.errors import BadTable

Key = Any
Array = npt.NDArray[Any]
Values = list[Any]  # named here, since the classes below have a method `list`


class LuaBoolean(Enum):
    """`true` and `false` as table keys: Lua tells `t[true]` from `t[1]`, a Python dict cannot."""

    FALSE = False
    TRUE = True


def as_key(key: Key) -> Key:
    """`key` as `Table.items` has it."""
    return LuaBoolean(key) if isinstance(key, bool) else key


@dataclass(eq=False, repr=False, slots=True)
class Table:
    """A Lua table (or a tds.Hash / tds.Vec, named by `typename`), in file order.

    `items` has int, float, str, LuaBoolean and object keys; the methods take `True` and `False`
    for the boolean ones. Entries that are nil do not exist.
    """

    index: int
    items: dict[Key, Any] = field(default_factory=dict)
    typename: str = "table"

    def get(self, key: Key, default: Any = None) -> Any:
        """The value at `key`, or `default` where Lua would give nil."""
        return self.items.get(as_key(key), default)

    def keys(self) -> KeysView[Key]:
        """The keys in file order."""
        return self.items.keys()

    def list(self) -> Values:
        """The values at 1..n, where n counts all integer keys; other keys are ignored.

        Raises BadTable where 1..n has holes: Lua's `#` is then undefined.
        """
        count = sum(isinstance(key, int) for key in self.items)
        values = [self.items[i] for i in range(1, count + 1) if i in self.items]
        if len(values) == count:
            return values
        hole = next(i for i in range(1, count + 1) if i not in self.items)
        strays = sorted(k for k in self.items if isinstance(k, int) and not 1 <= k < hole)
        raise BadTable(
            f"A Lua table that should be a list 1..n has no entry {hole}.",
            received="entries " + ", ".join(map(str, strays[:8])) + " beside it",
            hint="The list was saved with a hole; fill the entry in Torch and save again.",
        )

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, key: Key) -> bool:
        return as_key(key) in self.items

    def __getitem__(self, key: Key) -> Any:
        return self.items[as_key(key)]

    def __repr__(self) -> str:
        return f"<{self.typename} #{self.index}, {len(self.items)} entries>"


@dataclass(eq=False, repr=False, slots=True)
class LuaFunction:
    """A serialised Lua function: where its bytecode lies (`offset`, `size` bytes), never what.

    `upvalues` is the table that File.lua writes after the bytecode; `index` is 0 for type 6,
    which has none.
    """

    index: int
    size: int
    offset: int
    upvalues: Table | None = None

    def __repr__(self) -> str:
        return f"<function #{self.index}, {self.size} bytes of bytecode>"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Storage:
    """A flat, read-only run of numbers; `array` has shape (size,) and is a view of the file.

    Cuda types have the dtype of their CPU type. (Copies instead of views: ASCII files, and
    LongStorage of files with 4-byte longs, which is widened to int64.)
    """

    typename: str
    array: Array
    index: int
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.array.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type."""
        return self.array.dtype

    def __repr__(self) -> str:
        return f"<{self.typename} #{self.index}, {self.size} elements>"


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Tensor:
    """A strided window on a Storage; `stride` and `offset` (0-based) count elements.

    The window was checked against the storage when it was read. `shape == ()` is Torch7's empty
    tensor (nDimension 0), not a scalar: Torch7 has none.
    """

    typename: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Storage | None
    index: int
    dtype: np.dtype[Any]

    @property
    def numel(self) -> int:
        """Number of elements; 0 for an empty tensor."""
        return math.prod(self.shape) if self.shape else 0

    @property
    def key(self) -> Hashable:
        """Equal for tensors that are the same window on the same storage (shared weights)."""
        if self.storage is None:
            return ("empty", self.index)
        return (self.storage.index, self.offset, self.shape, self.stride)

    @property
    def array(self) -> Array:
        """A read-only view of the file, of shape `shape` ((0,) if there are no dimensions)."""
        if self.storage is None or not self.shape:
            empty = np.empty(0, self.dtype)
            empty.flags.writeable = False
            return empty
        size = self.dtype.itemsize
        # The stride of a dimension of one element is never used, and may be anything.
        strides = tuple(
            s * size if d > 1 else size for d, s in zip(self.shape, self.stride, strict=True)
        )
        # np.ndarray, unlike as_strided, checks the window against the buffer once more.
        return np.ndarray(self.shape, self.dtype, self.storage.array, self.offset * size, strides)

    def __repr__(self) -> str:
        return f"<{self.typename} of {'x'.join(map(str, self.shape)) or 'nothing'} #{self.index}>"
