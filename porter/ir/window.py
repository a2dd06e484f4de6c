"""Which elements of a storage a tensor covers: Torch's offset, size and stride.

Source: torch7 lib/TH/generic/THTensor.c (isContiguous, resizeNd, select, unfold), View in
torch/Tensor.lua.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Offsets = NDArray[np.int64]
Flags = NDArray[np.bool_]
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Window:
    """A tensor's place in its storage, all in elements: `offset`, and a stride for each axis."""

    offset: int
    shape: Shape
    strides: tuple[int, ...]

    @classmethod
    def contiguous(cls, shape: Shape, offset: int = 0) -> Window:
        """A contiguous window, in row-major order."""
        strides = [1] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        return cls(offset, tuple(shape), tuple(strides))

    @cached_property
    def runs(self) -> Runs:
        """(size, stride) of axes that cannot be merged: equal for equal sequences of elements."""
        runs: list[tuple[int, int]] = []
        for size, stride in zip(self.shape, self.strides, strict=True):
            if size == 1:
                continue
            if runs and runs[-1][1] == size * stride:
                runs[-1] = (runs[-1][0] * size, stride)
            else:
                runs.append((size, stride))
        return tuple(runs)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements are contiguous in the storage."""
        return not self.runs or (len(self.runs) == 1 and self.runs[0][1] == 1)

    @property
    def repeats(self) -> int:
        """How often each element occurs: an expanded axis has stride 0."""
        return math.prod(size for size, stride in self.runs if stride == 0)

    @property
    def end(self) -> int:
        """One past the last element."""
        return self.offset + 1 + sum((size - 1) * stride for size, stride in self.runs)

    def same_elements(self, other: Window) -> bool:
        """Whether both cover the same elements in the same order, whatever their shapes."""
        return self.offset == other.offset and self.runs == other.runs

    def reshaped(self, shape: Shape) -> Window | None:
        """The same elements in another shape; None where no strides can express it."""
        if math.prod(shape) != math.prod(self.shape):
            return None
        strides = [1] * len(shape)
        axes = [axis for axis, size in enumerate(shape) if size != 1]
        for count, stride in reversed(self.runs):
            while count > 1:
                axis = axes.pop()
                if count % shape[axis]:
                    return None
                strides[axis] = stride
                stride, count = stride * shape[axis], count // shape[axis]
        return Window(self.offset, shape, tuple(strides))

    def selected(self, axis: int, index: int) -> Window:
        """Slice `index` across an axis, which is dropped."""
        return Window(
            self.offset + index * self.strides[axis],
            self.shape[:axis] + self.shape[axis + 1 :],
            self.strides[:axis] + self.strides[axis + 1 :],
        )

    def repeated(self, axis: int, count: int) -> Window:
        """A new axis of stride 0: all its entries are the same memory."""
        return Window(
            self.offset,
            (*self.shape[:axis], count, *self.shape[axis:]),
            (*self.strides[:axis], 0, *self.strides[axis:]),
        )

    def elements(self) -> NDArray[np.int64]:
        """The storage index of every element, in this window's shape."""
        numbers = np.full(self.shape, self.offset, np.int64)
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            steps = np.arange(size, dtype=np.int64) * stride
            numbers += steps.reshape(-1, *[1] * (len(self.shape) - axis - 1))
        return numbers

    def meets(self, other: Window) -> bool:
        """Whether the windows share elements."""
        return bool(self.meeting(other.runs, np.array([other.offset], np.int64))[0])

    def meeting(self, runs: Runs, offsets: Offsets) -> Flags:
        """Which of the windows with these runs, one for each offset, share elements with this one.

        Exact where both windows are nested in the strides of one tensor, as all views of nn are;
        elsewhere elements are compared one by one.
        """
        ours, theirs = cut(self.runs, runs), cut(runs, self.runs)
        decided, meeting = nested_meeting(
            np.full_like(offsets, self.offset), by_stride(ours), offsets, by_stride(theirs)
        )
        for place in np.flatnonzero(~decided):
            sizes, strides = zip(*runs, strict=True) if runs else ((), ())
            other = Window(int(offsets[place]), sizes, strides)
            meeting[place] = np.isin(self.elements(), other.elements()).any()
        return meeting


def cut(runs: Runs, others: Runs) -> Runs:
    """The runs, each split at the strides of others that divide it evenly."""
    pieces: list[tuple[int, int]] = []
    for size, stride in runs:
        for other in sorted({each for _, each in others if each > stride > 0}, reverse=True):
            if other % stride == 0 and size * stride % other == 0 and size * stride > other:
                pieces.append((size * stride // other, other))
                size = other // stride
        pieces.append((size, stride))
    return tuple(pieces)


def by_stride(runs: Runs) -> list[tuple[int, int]]:
    """Runs with the largest stride first; those of stride 0 add no elements."""
    return sorted((run for run in runs if run[1]), key=lambda run: -run[1])


def nested_meeting(
    first: Offsets, ours: list[tuple[int, int]], second: Offsets, theirs: list[tuple[int, int]]
) -> tuple[Flags, Flags]:
    """Whether that could be decided stride by stride, and whether windows at these offsets meet.

    The largest stride divides both into blocks. They meet if they share a block and meet inside it,
    unless one of them crosses from one block into the next.
    """
    if not ours and not theirs:
        return np.ones(len(first), bool), first == second
    stride = max(run[1] for run in (*ours[:1], *theirs[:1]))
    sizes, inner = [], []
    for runs in (ours, theirs):
        outermost = bool(runs) and runs[0][1] == stride
        sizes.append(runs[0][0] if outermost else 1)
        inner.append(runs[1:] if outermost else runs)
    (block, rest), (other_block, other_rest) = np.divmod(first, stride), np.divmod(second, stride)
    within = [sum((size - 1) * step for size, step in runs) for runs in inner]
    fits = (rest + within[0] < stride) & (other_rest + within[1] < stride)
    common = (block < other_block + sizes[1]) & (other_block < block + sizes[0])
    decided, meeting = nested_meeting(rest, inner[0], other_rest, inner[1])
    apart = (first > second + (sizes[1] - 1) * stride + within[1]) | (
        second > first + (sizes[0] - 1) * stride + within[0]
    )
    return apart | (fits & (decided | ~common)), ~apart & common & meeting
