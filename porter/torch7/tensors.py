"""Tensors and storages: torch7 `generic/Tensor.c` and `generic/Storage.c`, `torch_Tensor_(write)`.

    tensor    int n, n x long size, n x long stride, long offset (1-based), object storage
    storage   long count, count x element

Torch believes the numbers and reads outside the storage if they are wrong; here they are checked.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torchfile import TYPE_NIL, TYPE_TORCH

from porter.errors import Corrupt, Unsupported, printable
from porter.torch7.heap import Heap
from porter.torch7.objects import describe
from porter.torch7.types import Storage, Tensor

MAX_DIMENSIONS = 32
# A tensor may have more elements than its storage (expand gives stride 0), but a few bytes must
# not stand for terabytes as soon as somebody copies it.
MAX_EXPANDED = 2**28

DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        "Byte": np.uint8,
        "Char": np.int8,
        "Short": np.int16,
        "Int": np.int32,
        "Long": np.int64,
        "Half": np.float16,
        "Float": np.float32,
        "Double": np.float64,
    }.items()
}
DTYPES |= {f"Cuda{name}": dtype for name, dtype in DTYPES.items()} | {"Cuda": np.dtype(np.float32)}
_CLASS = re.compile(r"torch\.(\w*)(Tensor|Storage)")


class TensorReader:
    """Reads them from the cursor of a heap; `completed` counts them."""

    def __init__(self, heap: Heap) -> None:
        self.heap = heap
        self.cursor = heap.cursor
        self.completed = 0

    def read(self, typename: str, index: int, start: int) -> Tensor | Storage | None:
        """The tensor or storage of class `typename`; None for any other class."""
        match = _CLASS.fullmatch(typename)
        if match is None:
            return None
        dtype = DTYPES.get(match[1])
        if dtype is None:
            raise Unsupported(
                f"{typename} is not a type that Torch7 has.",
                offset=start,
                hint="Convert it in Torch with :float() and save the model again.",
            )
        read = self._tensor if match[2] == "Tensor" else self._storage
        return read(typename, dtype, index)

    def _storage(self, typename: str, dtype: np.dtype[Any], index: int) -> Storage:
        count = self.cursor.long("the size of a storage")
        offset = self.cursor.position
        array = self.cursor.numbers(dtype, count, f"the data of a {typename}")
        storage = Storage(typename, array, index, offset)
        self.heap.define(TYPE_TORCH, index, storage)
        self.completed += 1
        return storage

    def _tensor(self, typename: str, dtype: np.dtype[Any], index: int) -> Tensor:
        cursor = self.cursor
        start = cursor.position
        dimensions = cursor.integer("the number of dimensions of a tensor")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise Corrupt(
                f"A {typename} must have 0 to {MAX_DIMENSIONS} dimensions.",
                received=f"{dimensions:,}",
                offset=start,
            )
        shape = cursor.longs(dimensions, "the sizes of a tensor")
        stride = cursor.longs(dimensions, "the strides of a tensor")
        offset = cursor.long("the storage offset of a tensor") - 1
        self.heap.define(TYPE_TORCH, index)
        storage = self._storage_of(typename, dtype)
        tensor = Tensor(typename, shape, stride, offset, storage, index, dtype)
        _check_window(tensor, start)
        self.heap.define(TYPE_TORCH, index, tensor)
        self.completed += 1
        return tensor

    def _storage_of(self, typename: str, dtype: np.dtype[Any]) -> Storage | None:
        """What must follow the sizes of a tensor: nil, or a storage of its type, known or new.

        Anything else ends here, so that tensors in tensors cannot nest.
        """
        start = self.cursor.position
        expected = f"{typename.removesuffix('Tensor')}Storage"
        kind = self.cursor.integer("the storage of a tensor")
        if kind == TYPE_NIL:
            return None
        received = f"an object of type {kind}"
        if kind == TYPE_TORCH:
            index = self.heap.read_index()
            if index in self.heap:
                referred = self.heap.reference(kind, index, start)
                if isinstance(referred, Storage) and referred.typename == expected:
                    return referred
                received = describe(referred)
            else:
                name = self.heap.read_class()[0]
                if name == expected:
                    return self._storage(name, dtype, index)
                received = f"an object of class {printable(name)}"
        raise Corrupt(f"A {typename} must have a {expected}.", received=received, offset=start)


def _check_window(tensor: Tensor, start: int) -> None:
    """Raises Corrupt unless every element of `tensor` lies in its storage.

    Torch7 never makes a size of 0: its empty tensors have no dimensions.
    """
    shape, stride, storage = tensor.shape, tensor.stride, tensor.storage
    if not shape and not storage:
        return
    room = storage.size if storage else 0
    last = tensor.offset + sum((d - 1) * s for d, s in zip(shape, stride, strict=True))
    if min(shape, default=1) < 1 or min(stride, default=0) < 0:
        problem = "has a size below 1 or a stride below 0"
    elif tensor.numel > max(room, MAX_EXPANDED):
        problem = "has more elements than its storage can stand for"
    elif tensor.numel and (tensor.offset < 0 or last >= room):
        problem = "reaches outside its storage"
    else:
        return
    raise Corrupt(
        f"A {tensor.typename} {problem}.",
        received=f"sizes {shape}, strides {stride}, offset {tensor.offset + 1}, "
        + (describe(storage) if storage else "no storage"),
        offset=start,
    )
