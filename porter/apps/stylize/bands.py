"""A large picture through a net in bands, with the numbers of the whole.

    bands = Bands(graph, variables)          a graph walked for the picture's size
    bands.run(x, bands.rows_within(free))    N×H×W×C of one picture

What a row of a layer's output is computed from is known of most layers (`ir/reach.py`). So the rows
of a band are pulled backwards through the net, which tells how many more of the picture each layer
needs, and then computed forwards; where bands meet, rows are computed twice, from the same numbers.

A layer that needs the whole plane ends that: its input is stored whole, and bands go on behind it.
Of a normalisation only the statistics need the plane; they are computed first, in float64. All
else that is stored is what such a layer's successors read from before it. A value that is larger
than all that it is computed from is not stored but computed once more, behind the statistics.

Numbers differ from those of an undivided run by float32 rounding at most: convolutions add in the
same order unless the library chooses another kernel for another size, statistics are more exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from porter.ir.capabilities import NormalizesPlanes, PlaneNormalization, reach_of
from porter.ir.fields import Array
from porter.ir.graph import Graph, with_shapes
from porter.ir.layout import LayoutConversion, Plan, Step, plan
from porter.ir.liveness import dead_after
from porter.ir.nested import leaves
from porter.ir.reach import POINTWISE, Reach, Rows
from porter.passes.fold import drop_identities
from porter.runtime.interpreter import StoredValue, read_by, written_by
from porter.runtime.runner import Variables, apply_step
from porter.system.tensorflow import tf

NUMBER = 4
"""Bytes of float32."""
SLAB = 2**24
"""Bytes of which sums are taken at once."""
COPIES = 4
"""What TensorFlow holds of a band, in units of the tensors that are alive: its convolutions keep
copies in an order of their own, and freed memory is not always given back."""


@dataclass(frozen=True)
class RowCall:
    """A step of the plan. `reach` is None where it needs its whole inputs, `statistics` what it
    first needs of them."""

    step: Step | LayoutConversion
    reads: tuple[StoredValue, ...]
    writes: tuple[StoredValue, ...]
    reach: Reach | None
    statistics: PlaneNormalization | None = None


@dataclass(frozen=True)
class RowPart:
    """A call on rows of its inputs, for the sake of some rows of its outputs."""

    call: RowCall
    reach: Reach
    read: Rows
    written: Rows


class Bands:
    """The plan of one picture's net; `axis` is the longer one of the picture, in Torch's order."""

    def __init__(self, graph: Graph, variables: Variables) -> None:
        self.plan: Plan = plan(drop_identities(graph))
        self.variables, self.dtype = variables, np.dtype(variables.precision)
        (image,), (output,) = leaves(self.plan.graph.inputs), leaves(self.plan.graph.outputs)
        self.axis = 2 if image.shape[2] >= image.shape[3] else 3
        self.source = (image.id, self.plan.inputs[image.id])
        self.target = (output.id, self.plan.outputs[output.id])
        self.values = {value.id: value for value in self.plan.graph.values()}
        self.calls = [self.call(step) for step in self.plan.steps]
        self.maker = {key: at for at, call in enumerate(self.calls) for key in call.writes}
        self.stored = self.stored_values()
        self.leave_out_large()
        sources = [self.sources(key) for key in self.stored]
        self.rows = 1
        self.arrays: dict[StoredValue, Array] = {}
        self.moments: dict[StoredValue, tuple[Array, Array]] = {}
        self.dead = dead_after(
            ([key, *read] for key, read in zip(self.stored, sources, strict=True)), [self.target]
        )

    # What is computed from what ------------------------------------------------------------------

    def call(self, step: Step | LayoutConversion) -> RowCall:
        if isinstance(step, LayoutConversion):
            flat = step.before.flat or step.after.flat or step.source.type.rank != 4
            ends = ((step.source.id, step.before),), ((step.source.id, step.after),)
            return RowCall(step, *ends, None if flat else POINTWISE)
        reads, writes = tuple(read_by(step)), tuple(written_by(step))
        reach, op = reach_of(step.node, self.axis), step.node.op
        if reach is None and isinstance(op, NormalizesPlanes) and len(reads) == 1:
            normalization = op.plane_normalization()
            if normalization is not None and self.values[reads[0][0]].type.rank == 4:
                return RowCall(step, reads, writes, POINTWISE, normalization)
        return RowCall(step, reads, writes, reach)

    def stored_values(self) -> list[StoredValue]:
        """What is kept whole, in the order in which it is computed.

        What needs a whole plane divides the net into levels. Inside of one everything can be pulled
        from rows; what a later level reads of an earlier one is stored.
        """
        level = {self.source: 0}
        stored = {self.target}
        for call in self.calls:
            needs_plane = call.reach is None or call.statistics is not None
            before = max((level[key] for key in call.reads), default=0)
            stored.update(key for key in call.reads if needs_plane or level[key] < before)
            stored.update(call.writes if call.reach is None else ())
            level |= dict.fromkeys(call.writes, before + needs_plane)
        return sorted(stored - {self.source}, key=self.maker.__getitem__)

    def leave_out_large(self) -> None:
        """Do not store what takes more memory than all that it is computed from.

        If only statistics are taken of it, it is computed twice, and nothing in between is.
        """
        readers = Counter(read for call in self.calls for read in call.reads)
        left_out: set[StoredValue] = set()
        for key in list(self.stored):
            alone = readers[key] == 1 and any(c.statistics and key in c.reads for c in self.calls)
            if key == self.target or not alone or self.calls[self.maker[key]].reach is None:
                continue
            parts = self.parts(key, (0, self.extent(key)))
            twice = any(left_out.intersection(part.call.reads) for part in parts)
            if not twice and self.size(key) > sum(map(self.size, self.sources(key))):
                self.stored.remove(key)
                left_out.add(key)

    def sources(self, key: StoredValue) -> set[StoredValue]:
        """The stored values that a stored value is computed from."""
        call = self.calls[self.maker[key]]
        if call.reach is None:
            return set(call.reads)
        parts = self.parts(key, (0, self.extent(key)))
        return {read for part in parts for read in part.call.reads} & {self.source, *self.stored}

    def parts(self, key: StoredValue, rows: Rows) -> list[RowPart]:
        """The calls that compute rows of a value from stored ones."""
        needed, parts = {key: rows}, []
        for call in reversed(self.calls[: self.maker[key] + 1]):
            outputs = [each for each in call.writes if each == key or each not in self.stored]
            written = [needed[each] for each in outputs if each in needed]
            if call.reach is None or not written:
                continue
            output = hull(written)
            read = call.reach.rows(output, self.extent(call.reads[0]))
            for each in call.reads:
                needed[each] = hull([read, needed.get(each, read)])
            parts.append(RowPart(call, call.reach, read, output))
        return parts[::-1]

    # Memory --------------------------------------------------------------------------------------

    def rows_within(self, free: float) -> int | None:
        """How many rows of each band fit into so many bytes; None if none do."""
        rows = max(map(self.extent, self.stored), default=1)
        while rows > 1 and self.memory(rows) > free:
            rows = -(-rows // 2)
        return rows if self.memory(rows) <= free else None

    def memory(self, rows: int) -> int:
        """Bytes that bands of so many rows take, at most."""
        whole = most = 0
        for at, key in enumerate(self.stored):
            whole += self.size(key)
            most = max(most, whole + COPIES * self.band_memory(key, rows))
            whole -= sum(map(self.size, self.dead.get(at, ())))
        return most

    def band_memory(self, key: StoredValue, rows: int) -> int:
        """Bytes of the tensors that are alive at once while a band is computed."""
        call, extent = self.calls[self.maker[key]], self.extent(key)
        if call.reach is None:
            return sum(map(self.size, (*call.reads, *call.writes)))
        first = max((extent - rows) // 2, 0)
        parts = self.parts(key, (first, min(first + rows, extent)))
        alive = most = 0
        sizes: dict[StoredValue, int] = {}
        for part, dead in zip(parts, self.dying(parts, key), strict=True):
            read = {each: self.size(each, length(part.read)) for each in part.call.reads}
            computed = {each: self.size(each, length(part.written)) for each in part.call.writes}
            new = {each: n for each, n in (read | computed).items() if each not in sizes}
            sizes |= new
            alive += sum(new.values())
            most = max(most, alive)
            alive -= sum(sizes[each] for each in dead)
        return most

    def dying(self, parts: Sequence[RowPart], key: StoredValue) -> Iterator[list[StoredValue]]:
        """What each part is the last to use."""
        used = ((*part.call.reads, *part.call.writes) for part in parts)
        dead = dead_after(used, [key])
        yield from (dead.get(at, []) for at in range(len(parts)))

    def size(self, key: StoredValue, rows: int | None = None) -> int:
        """Bytes of a value, or of some rows of it."""
        elements = math.prod(self.values[key[0]].shape) * NUMBER
        return elements if rows is None else elements * rows // self.extent(key)

    def extent(self, key: StoredValue) -> int:
        """How many rows a value has."""
        shape = self.values[key[0]].shape
        return shape[self.axis] if len(shape) == 4 else 1

    # Running -------------------------------------------------------------------------------------

    def run(self, x: Array, rows: int) -> Array:
        """The net's output for one picture, both N×H×W×C, in bands of so many rows."""
        self.arrays, self.rows = {self.source: x}, rows
        self.moments.clear()
        for at, key in enumerate(self.stored):
            call = self.calls[self.maker[key]]
            if call.reach is not None:
                self.arrays[key] = self.filled(key)
            elif key not in self.arrays:
                outputs = self.compute(call, [self.arrays[read] for read in call.reads])
                self.arrays |= zip(call.writes, map(np.asarray, outputs), strict=True)
            for each in self.dead.get(at, ()):
                del self.arrays[each]
        return self.arrays.pop(self.target)

    def filled(self, key: StoredValue) -> Array:
        """A value, computed band by band."""
        value, layout = self.values[key[0]], key[1]
        whole = np.empty([value.shape[axis] for axis in layout.order], self.dtype)
        for band in self.bands(key):
            whole[self.cut(key, band)] = self.band(key, band)
        return whole

    def slabs(self, key: StoredValue) -> Iterator[Array]:
        """A value, part by part."""
        whole = self.arrays.get(key)
        if whole is not None:
            yield from np.array_split(whole, max(whole.nbytes // SLAB, 1), key[1].axis(self.axis))
        else:
            yield from (np.asarray(self.band(key, band)) for band in self.bands(key))

    def bands(self, key: StoredValue) -> Iterator[Rows]:
        """The rows of each band of a value."""
        extent = self.extent(key)
        for first in range(0, extent, self.rows):
            yield first, min(first + self.rows, extent)

    def band(self, key: StoredValue, rows: Rows) -> Any:
        """Rows of a value."""
        parts = self.parts(key, rows)
        tensors: dict[StoredValue, tuple[Any, int]] = {}
        for part, dead in zip(parts, self.dying(parts, key), strict=True):
            inputs = []
            for each in part.call.reads:
                whole, first = tensors.get(each) or (self.arrays[each], 0)
                inputs.append(whole[self.cut(each, part.read, first)])
            start = part.reach.start(part.read[0])
            outputs = self.compute(part.call, inputs, banded=True)
            for each, output in zip(part.call.writes, outputs, strict=True):
                tensors[each] = output[self.cut(each, part.written, start)], part.written[0]
            for each in dead:
                tensors.pop(each, None)
        return tensors[key][0]

    def compute(self, call: RowCall, inputs: Sequence[Any], banded: bool = False) -> Sequence[Any]:
        """The outputs of a call on tensors, which may be rows of its inputs."""
        tensors = [tf.convert_to_tensor(x) for x in inputs]
        if isinstance(call.step, LayoutConversion):
            return [call.step.apply(tf, tensors[0])]
        if call.statistics is not None:
            mean, scale, offset = self.normalization(call.reads[0], call.statistics)
            return [(tensors[0] - mean) * scale + offset]
        step = self.on_rows(call.step, tensors) if banded else call.step
        return apply_step(step, tensors, self.variables)

    def on_rows(self, step: Step, tensors: Sequence[Any]) -> Step:
        """The step with the types of such tensors."""
        shapes = [
            [tensor.shape[layout.axis(axis)] for axis in range(4)]
            for layout, tensor in zip(step.inputs, tensors, strict=True)
        ]
        return replace(step, node=with_shapes(step.node, shapes))

    def cut(self, key: StoredValue, rows: Rows, first: int = 0) -> tuple[slice, ...]:
        """The index of rows of a stored tensor that begins at row `first`."""
        axis = key[1].axis(self.axis)
        return (*[slice(None)] * axis, slice(rows[0] - first, rows[1] - first))

    def normalization(self, key: StoredValue, by: PlaneNormalization) -> tuple[Array, ...]:
        """Mean, scale and offset of each plane of a stored value: y = (x − mean)·scale + offset."""
        if key not in self.moments:
            self.moments[key] = moments(self.slabs(key), key[1].axis(1))
        mean, variance = self.moments[key]
        scale = 1 / np.sqrt(variance + by.eps)
        shape = [-1 if axis == 1 else 1 for axis in key[1].order]
        if by.weight is not None:
            scale = scale * by.weight.array
        rounded = mean.astype(self.dtype)
        offset = (rounded - mean) * scale + (0 if by.bias is None else by.bias.array)
        return tuple(each.astype(self.dtype).reshape(shape) for each in (rounded, scale, offset))


def hull(ranges: Iterable[Rows]) -> Rows:
    """The smallest range that holds all of them."""
    firsts, ends = zip(*ranges, strict=True)
    return min(firsts), max(ends)


def length(rows: Rows) -> int:
    """How many rows there are."""
    return rows[1] - rows[0]


def moments(slabs: Iterable[Array], planes: int) -> tuple[Array, Array]:
    """Mean and variance in float64 of each plane (an axis), of the parts of an image.

    Merged as in Chan, Golub and LeVeque, Updating Formulae (1979).
    """
    count, mean, squares = 0, np.float64(0), np.float64(0)
    for slab in slabs:
        others = tuple(axis for axis in range(slab.ndim) if axis != planes)
        more = slab.size // slab.shape[planes]
        average = slab.mean(others, np.float64, keepdims=True)
        apart = average.ravel() - mean
        squares = squares + np.square(slab - average).sum(others)
        squares = squares + np.square(apart) * (count * more / (count + more))
        mean = mean + apart * (more / (count + more))
        count += more
    return np.asarray(mean), np.asarray(squares) / count
