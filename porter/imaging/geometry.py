"""The input sizes that a net takes, and its output sizes: found by walking it with sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from porter.errors import WalkError
from porter.frontend.walker import Model
from porter.ir.graph import Graph, TensorType, Value
from porter.ir.nested import leaves

MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ODD_ONES = ((0, 1), (1, 3), (2, 0), (3, 2))
"""Multiples added to a large enough size, so that every remainder modulo 4 occurs on both axes."""
UNITS = (64, 128, 256, 512)
"""Steps in which the input size is raised, to measure how the output size grows.

If the net's strides do not divide a step, it grows unevenly, and the next larger step is tried. The
encoder of pix2pix halves the size eight times.
"""
LARGE = 192
"""No published net that works on all sizes needs more rows than this."""


@dataclass(frozen=True)
class Geometry:
    """Height and width must be multiples of `multiple`; size n becomes `scale`·n − `margin`.

    Nets with strides round that up where n is not a multiple of theirs. `flat`: Torch's net
    flattens its output image at the end (as waifu2x does), so it must be reshaped. `size` is the
    only height and width that the net takes, if there is only one; `multiple` is then unused.
    """

    multiple: int = 1
    scale: int = 1
    margin: int = 0
    flat: bool = False
    size: tuple[int, int] | None = None


def output_image(graph: Graph) -> Value | None:
    """The output image of a net: its output, or the value that a last layer flattens to it."""
    outputs = list(leaves(graph.outputs))
    if len(outputs) != 1:
        return None
    (output,) = outputs
    if output.type.rank == 4:
        return output
    for node in graph.nodes:
        if output in node.outputs and node.op.is_view and node.inputs[0].type.rank == 4:
            return node.inputs[0]
    return None


def measure(model: Model, type: TensorType) -> Geometry:
    """The geometry of a net that takes images like `type` (N×C×H×W)."""
    planes, (height, width) = type.static[1], type.static[2:]
    multiple = next((m for m in MULTIPLES if takes_multiples(model, planes, m)), None)
    if multiple is None:
        graph = model.walk(type)
        picture = output_image(graph)
        output_height = height if picture is None else picture.shape[2]
        scale = max(1, round(output_height / height))
        return Geometry(1, scale, scale * height - output_height, is_flat(graph), (height, width))
    for unit in (each for each in UNITS if each >= multiple):
        sizes = [unit * count for count in (3, 4, 5)]
        graphs = [model.walk(image(planes, size, size)) for size in sizes]
        pictures = [picture.shape[2] for graph in graphs if (picture := output_image(graph))]
        if len(pictures) < len(graphs):
            return Geometry(multiple)
        growth = [after - before for before, after in pairwise(pictures)]
        if growth[0] == growth[1]:
            break
    scale = growth[0] // unit
    if multiple >= UNITS[0]:
        multiple = unit
    return Geometry(multiple, scale, scale * sizes[0] - pictures[0], is_flat(graphs[0]))


def is_flat(graph: Graph) -> bool:
    """Whether the output image is flattened at the end."""
    picture = output_image(graph)
    return picture is not None and picture not in leaves(graph.outputs)


def takes_multiples(model: Model, planes: int, multiple: int) -> bool:
    """Whether the net takes all multiples of a number, tried on several sizes."""
    least = -(-LARGE // multiple)
    sizes = [((least + a) * multiple, (least + b) * multiple) for a, b in ODD_ONES]
    try:
        for height, width in sizes:
            (outputs,) = leaves(model.walk(image(planes, height, width)).outputs)
            if outputs.type.static[0] != 2:
                return False
    except (WalkError, ValueError):
        return False
    return True


def image(planes: int, height: int, width: int) -> TensorType:
    """Two images, so that no module drops a batch of one."""
    return TensorType((2, planes, height, width))
