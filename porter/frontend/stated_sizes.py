"""Sizes that a file states: what Torch left in a module tells what the module was fed.

cudnn keeps the size of its last input in `iSize`; every module keeps its last `output` and
`gradInput`, convolutions also buffers with a column for each pixel, unless they were cleared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

from porter.errors import WalkError
from porter.frontend.probe import Reader, left_shape
from porter.ir.graph import Graph, Shape, TensorType, Value
from porter.torch7 import Storage, TorchObject

MAX_EXTENT = 1024
"""The largest height, width or number of steps that is looked for."""
MAX_CANDIDATES = 200
"""How many types that explain one leftover are tried."""


def stated_types(reader: Reader) -> Iterator[TensorType]:
    """Input types that explain what Torch left in a reader, the likeliest first."""
    hint, module = reader.hint, reader.module
    if reader.op is None:
        yield hint
        return
    for shape in input_shapes(module):
        full = (1, *shape) if len(shape) == hint.rank - 1 else shape
        if len(full) == hint.rank and hint.admits(full):
            yield replace(hint, shape=full)
    free = [axis for axis, size in enumerate(hint.shape) if size is None and axis > 0]
    output = left_shape(module, "output")
    if output is not None:
        yield from islice(inverted(reader, free, output), MAX_CANDIDATES)
    elif len(free) == 2:
        yield from islice(from_columns(reader, free), MAX_CANDIDATES)


def input_shapes(module: TorchObject) -> Iterator[Shape]:
    """Shapes that a module's last input had, as the file says outright."""
    size = module.get("iSize")
    if isinstance(size, Storage) and len(size.array) and min(size.array) > 0:
        yield tuple(int(extent) for extent in size.array)
    gradient = left_shape(module, "gradInput")
    if gradient is not None:
        yield gradient


def inverted(reader: Reader, free: list[int], output: Shape) -> Iterator[TensorType]:
    """Inputs of which the reader makes a tensor of shape `output`, each axis found apart."""
    table = output_extents(reader, free)
    rank = len(next(iter(table.values()), ()))
    if len(output) not in (rank, rank - 1):
        return
    full = output if len(output) == rank else (1, *output)
    choices = [
        sorted(
            (size for size, extents in table.items() if extents[axis] == full[axis]), key=roundness
        )
        for axis in free
    ]
    batch = reader.hint.shape[0] or full[0]
    for sizes in product(*choices):
        yield filled(reader.hint, batch, free, sizes)


def from_columns(reader: Reader, free: list[int]) -> Iterator[TensorType]:
    """Inputs with as many pixels, or that make as many, as a convolution's buffer has columns.

    Source: THNN SpatialConvolutionMM.c (`finput`: columns are output pixels) and
    SpatialFullConvolution.c (columns are input pixels).
    """
    columns = left_shape(reader.module, "finput")
    if columns is None:
        return
    table = output_extents(reader, free)
    by_axis = [{extents[axis]: size for size, extents in table.items()} for axis in free]
    for heights, widths in (by_axis, [{size: size for size in table}] * 2):
        pairs = [(rows, columns[-1] // rows) for rows in heights if columns[-1] % rows == 0]
        for rows, others in sorted(pairs, key=lambda pair: abs(pair[0] - pair[1])):
            if others in widths:
                yield filled(reader.hint, 1, free, (heights[rows], widths[others]))


def output_extents(reader: Reader, free: list[int]) -> dict[int, Shape]:
    """The shape that the reader makes of inputs of which every free axis has one extent."""
    table: dict[int, Shape] = {}
    if reader.op is None or reader.op.arity()[0] > 1:
        return table
    for extent in range(1, MAX_EXTENT + 1):
        type = filled(reader.hint, 1, free, (extent,) * len(free))
        try:
            table[extent] = reader.op.output_types(type)[0].static
        except WalkError:
            continue
    return table


def filled(hint: TensorType, batch: int, free: list[int], sizes: tuple[int, ...]) -> TensorType:
    """A hint with its free sizes filled in."""
    chosen = dict(zip(free, sizes, strict=True)) | {0: hint.shape[0] or batch}
    shape = (chosen[axis] if size is None else size for axis, size in enumerate(hint.shape))
    return replace(hint, shape=tuple(shape))


def roundness(extent: int) -> tuple[int, int]:
    """Sorts the extents that a stride rounds to the same: most divisible by two first."""
    return -(extent & -extent), extent


def agrees(graph: Graph) -> bool:
    """Whether a walk makes the shapes that Torch left, where it left any, whatever the batch."""
    for call in graph.calls:
        output = None if call.module is None else left_shape(call.module, "output")
        if output is None or not isinstance(call.output, Value):
            continue
        shape = call.output.shape
        if len(shape) == len(output) and shape[1:] != output[1:]:
            return False
    return True
