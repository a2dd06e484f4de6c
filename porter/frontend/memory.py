"""Torch's memory: which tensor is which storage, and what is in it now.

A Lua tensor is an object with a window on a storage. Whoever holds it sees all that is done to it
later: a module that is called again writes into the tensor that it returned before, an in-place
layer writes into the storage of its input, a resize changes the window. Here the same objects stand
beside the values of the graph, which never change: reading a tensor gives the value that is in its
window now.

Source: torch7 lib/TH/generic/THTensor.c (resizeNd: a storage grows and is never left), THStorage.c.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from porter.errors import Overwritten
from porter.frontend.aliasing import Patchwork, Reinterpret
from porter.ir.graph import Shape, TensorType, Value
from porter.ir.layer_map import LayerMap
from porter.ir.nested import Nested
from porter.ir.window import Offsets, Window

Runs = tuple[tuple[int, int], ...]


@dataclass
class WindowGroup:
    """What is in windows with the same runs, by offset; one value for each shape."""

    values: dict[int, dict[Shape, Value]] = field(default_factory=dict)
    sorted: Offsets | None = None
    apart: bool | None = None
    """Whether no two of the windows share elements, where that was found out."""

    @property
    def offsets(self) -> Offsets:
        """The offsets as an array, in order."""
        if self.sorted is None:
            self.sorted = np.sort(np.fromiter(self.values, np.int64, len(self.values)))
            self.apart = None
        return self.sorted

    def are_apart(self, window: Window) -> bool:
        """Whether none of the windows, one of which is given, shares elements with another.

        Told at once where they lie at equal distances, as slices do: else False.
        """
        if len(self.values) == 1:
            return True
        offsets = self.offsets
        if self.apart is None:
            even = len(set(np.diff(offsets).tolist())) <= 1
            first = Window(int(offsets[0]), window.shape, window.strides)
            self.apart = even and int(first.meeting(window.runs, offsets).sum()) == 1
        return self.apart

    def drop(self, window: Window, runs: Runs) -> None:
        """Forget the windows, all with these runs, that share elements with another."""
        same = runs == window.runs and window.offset in self.values
        if same and self.are_apart(window):
            self.values[window.offset] = {}
            return
        met = self.offsets[window.meeting(runs, self.offsets)]
        for offset in met.tolist():
            if same and offset == window.offset:
                self.values[offset] = {}
            else:
                del self.values[offset]
                self.sorted = None


@dataclass
class TensorStorage:
    """One piece of memory: what is in which window now, and all that was ever written."""

    number: int
    groups: dict[Runs, WindowGroup] = field(default_factory=dict)
    written: list[tuple[Window, Value]] = field(default_factory=list)
    divided: list[tuple[Window, LayerMap, tuple[Window, ...]]] = field(default_factory=list)
    """Views that take a window apart: its window, the layer, and the windows of the parts."""

    def write(self, window: Window, value: Value) -> None:
        """Put a value in a window: whatever shares elements with it is no longer known."""
        for runs, group in list(self.groups.items()):
            group.drop(window, runs)
            if not group.values:
                del self.groups[runs]
        self.written.append((window, value))
        self.note(window, value)

    def note(self, window: Window, value: Value) -> None:
        """Remember that a value is what is in a window now."""
        group = self.groups.get(window.runs)
        if group is None:
            group = self.groups[window.runs] = WindowGroup()
        if window.offset not in group.values:
            group.sorted = None
        group.values.setdefault(window.offset, {})[window.shape] = value

    def forget(self, window: Window, value: Value) -> None:
        """Take back a note, if it still holds."""
        if self.find(window).get(window.shape) is value:
            del self.find(window)[window.shape]

    def find(self, window: Window) -> dict[Shape, Value]:
        """The values that are known to be in a window now, by their shape."""
        group = self.groups.get(window.runs)
        return {} if group is None else group.values.get(window.offset, {})


@dataclass(eq=False)
class TorchTensor:
    """A Lua tensor: an object that may be resized, and pointed at other memory.

    `value` names it in the graph: the node output that this tensor was last returned as.
    """

    storage: TensorStorage
    window: Window
    value: Value
    source: tuple[LayerMap, int, Window] | None = None
    """The view that made it: the layer, which of its outputs, and the window that it was fed."""


AppendNode = Callable[..., tuple[Value, ...]]
"""Add a node to the graph: layer, inputs, types of the outputs, and the storages they lie in."""


NameValue = Callable[[TensorType, int], Value]
"""A new value of a type that lies in a storage."""


class TensorMemory:
    """All tensors of one walk, the memory that modules own, and what is in it."""

    def __init__(self, append: AppendNode) -> None:
        self.append = append
        self.tensors: dict[int, TorchTensor] = {}
        """Torch's tensors by the ids of the values that stand for them."""
        self.outputs: dict[Hashable, TorchTensor] = {}
        """The tensors that modules return at every call."""
        self.tables: dict[Hashable, list[Nested[Value]]] = {}
        """The tables that modules return at every call."""
        self.notes: list[tuple[TensorStorage, Window, Value]] = []
        """What was found to be in memory, in order."""
        self.overwritten: list[TensorStorage] = []
        """Memory that was written to after it was made, in order."""

    def allocate(self, value: Value) -> TorchTensor:
        """A new tensor that holds a value, in memory of its own."""
        tensor = self.tensors[value.id] = self.constant(value)
        return tensor

    def tensor(self, value: Value) -> TorchTensor:
        """The tensor that a value stands for."""
        return self.tensors.get(value.id) or self.allocate(value)

    def constant(self, value: Value) -> TorchTensor:
        """A tensor that holds a value of the graph itself, whatever it stands for."""
        tensor = TorchTensor(TensorStorage(value.storage), contiguous(value.type), value)
        tensor.storage.write(tensor.window, value)
        return tensor

    def point(
        self, tensor: TorchTensor, storage: TensorStorage, window: Window, value: Value
    ) -> None:
        """Let a tensor see a window, in which `value` is now."""
        tensor.storage, tensor.window, tensor.value, tensor.source = storage, window, value, None
        self.tensors[value.id] = tensor

    def resize(self, tensor: TorchTensor, shape: Shape, name: NameValue) -> None:
        """Let a tensor see its first elements in another shape, whatever is there."""
        window = Window.contiguous(shape, tensor.window.offset)
        value = name(TensorType(shape, tensor.value.dtype), tensor.storage.number)
        self.point(tensor, tensor.storage, window, value)

    def write(self, storage: TensorStorage, window: Window, value: Value) -> None:
        """Overwrite what is in a window."""
        storage.write(window, value)
        self.overwritten.append(storage)
        self.notes.append((storage, window, value))

    def note(self, storage: TensorStorage, window: Window, value: Value) -> None:
        """Remember that a value is what is in a window now."""
        storage.note(window, value)
        self.notes.append((storage, window, value))

    def forget(self, since: int, before: int) -> None:
        """Take back what was noted, from place `since` on, of storages older than `before`."""
        for storage, window, value in self.notes[since:]:
            if storage.number < before:
                storage.forget(window, value)
        del self.notes[since:]

    # Reading ------------------------------------------------------------------------------------

    def read(self, tensor: TorchTensor) -> Value:
        """What a tensor holds now.

        Raises Overwritten where nothing was ever written to some of its elements.
        """
        storage, window = tensor.storage, tensor.window
        value = self.in_shape(storage, window)
        if value is None and tensor.source is not None:
            value = self.viewed_again(storage, *tensor.source)
        if value is None:
            value = self.joined_again(storage, window) or self.patched(storage, window)
        return value

    def in_shape(self, storage: TensorStorage, window: Window) -> Value | None:
        """What is in a window, where it is known in this shape or in another."""
        found = storage.find(window)
        if not found or window.shape in found:
            return found.get(window.shape)
        latest = next(reversed(found.values()))
        return self.derived(Reinterpret(shape=window.shape), [latest], storage, [window])[0]

    def viewed_again(
        self, storage: TensorStorage, view: LayerMap, position: int, source: Window
    ) -> Value | None:
        """A part of a tensor that was overwritten as a whole: the same view once more."""
        whole = self.in_shape(storage, source)
        if whole is None:
            return None
        types = view.output_types(whole.type)
        windows = view.views(source, types)
        assert None not in windows
        return self.derived(view, [whole], storage, windows)[position]  # type: ignore[arg-type]

    def joined_again(self, storage: TensorStorage, window: Window) -> Value | None:
        """A tensor that was overwritten part by part: the parts, joined as they were split."""
        for source, join, windows in reversed(storage.divided):
            if not source.same_elements(window):
                continue
            parts = [
                self.in_shape(storage, part) or self.joined_again(storage, part) for part in windows
            ]
            if None in parts:
                continue
            self.derived(join, parts, storage, [source])  # type: ignore[arg-type]
            return self.in_shape(storage, window)
        return None

    def patched(self, storage: TensorStorage, window: Window) -> Value:
        """Any window: each of its elements as it was written last."""
        elements = window.elements()
        places = np.full(elements.shape, -1, np.int64)
        parts: list[Value] = []
        offset = 0
        for written, value in reversed(storage.written):
            lies = written.elements().ravel()
            order = np.argsort(lies, kind="stable")
            found = np.searchsorted(lies, elements, sorter=order).clip(max=len(lies) - 1)
            hit = (places < 0) & (lies[order[found]] == elements)
            if hit.any():
                places[hit] = offset + order[found][hit]
                parts.append(value)
                offset += len(lies)
            if (places >= 0).all():
                patchwork = Patchwork(elements=places)
                return self.derived(patchwork, parts, storage, [window])[0]
        raise Overwritten(
            "a tensor is read that was made larger by a later call of its module, "
            "where Torch has not written anything",
            hint=CLONE,
        )

    def derived(
        self, op: LayerMap, inputs: list[Value], storage: TensorStorage, windows: Sequence[Window]
    ) -> tuple[Value, ...]:
        """A node that changes nothing: what it makes is what is in these windows now."""
        types = tuple(TensorType(window.shape, inputs[0].dtype) for window in windows)
        values = self.append(op, inputs, types, *[storage.number] * len(types))
        for window, value in zip(windows, values, strict=True):
            self.note(storage, window, value)
        return values


CLONE = (
    "Torch itself computes nothing useful here. Give each place a module of its own "
    "(`net:clone('weight', 'bias')` shares weights, not outputs) and save the model again."
)


@lru_cache(maxsize=4096)  # most tensors of a net have one of a few shapes
def contiguous(type: TensorType, offset: int = 0) -> Window:
    """The window of a new tensor; sizes that depend on the data count as 1."""
    shape = tuple(1 if extent is None else extent for extent in type.shape)
    return Window.contiguous(shape, offset)
