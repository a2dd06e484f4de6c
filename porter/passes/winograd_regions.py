"""Winograd regions: Winograd convolutions, and the layers between them, computed in tiles.

Tiles are assembled into an image only where a node outside the region reads it. The convolutions,
normalisations, ReLUs and sums of a residual block form a region, and so does a chain of such
blocks.

Where the image is too small for Winograd's algorithm, the region runs on untiled images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from porter.ir.fields import Array, Param
from porter.ir.graph import Graph, Node, TensorType, Types, Value
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import OpContext, Step, channels_last, size
from porter.ir.nested import leaves
from porter.passes.affine import FixedNormalization
from porter.passes.normalization import FusedNormalization
from porter.passes.winograd import WinogradConvolution, smallest_image
from porter.passes.winograd_tiles import Tiles


class WinogradRegion(LayerMap):
    """A group of nodes that begins with a Winograd convolution, run as one node."""

    accepts = Accepts.CHANNELS_LAST

    def __init__(
        self, nodes: tuple[Node, ...], inputs: tuple[Value, ...], outputs: tuple[Value, ...]
    ) -> None:
        super().__init__()
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs
        self.typename = nodes[0].typename

    @property
    def wants_one_sample(self) -> bool:
        """Whether it normalises per sample, which cannot be done on tiles of several samples."""
        found = (n.op.normalization for n in self.nodes if isinstance(n.op, FusedNormalization))
        return not all(each.over_batch for each in found)

    def params(self) -> dict[str, Param]:
        return {
            f"{node.path}.{name}": param
            for node in self.nodes
            for name, param in node.op.params().items()
        }

    def output_types(self, *inputs: TensorType) -> Types:
        types = dict(zip((value.id for value in self.inputs), inputs, strict=True))
        for node in self.nodes:
            output_types = node.op.output_types(*(types[value.id] for value in node.inputs))
            types |= zip((value.id for value in node.outputs), output_types, strict=True)
        return tuple(types[value.id] for value in self.outputs)

    def reference(self, *inputs: Any, **_: Any) -> Array | tuple[Array, ...]:
        arrays = dict(zip((value.id for value in self.inputs), inputs, strict=True))
        for node in self.nodes:
            arrays[node.outputs[0].id] = node.op.reference(
                *(arrays[value.id] for value in node.inputs)
            )
        return tuple(arrays[value.id] for value in self.outputs)

    def apply(self, tf: Any, *inputs: Any, at: OpContext) -> Any:
        inputs_by_id = {value.id: x for value, x in zip(self.inputs, inputs, strict=True)}

        def plain() -> list[Any]:
            tensors = dict(inputs_by_id)
            for node in self.nodes:
                arguments = (tensors[value.id] for value in node.inputs)
                tensors[node.outputs[0].id] = node.op.apply(tf, *arguments, at=inner(at, node))
            return [tensors[value.id] for value in self.outputs]

        first, x = self.nodes[0].op, inputs_by_id[self.nodes[0].inputs[0].id]
        assert isinstance(first, WinogradConvolution)
        height, width = first.output_extents(tf, x)

        def tiled() -> list[Any]:
            return self.tiled(tf, inputs_by_id, at, Tiles(tf, size(tf, x, 0), height, width))

        pixels, least = height * width, self.smallest_image()
        if self.wants_one_sample and x.shape[0] != 1:
            outputs = plain()
        elif isinstance(pixels, int):
            outputs = tiled() if pixels >= least else plain()
        else:
            outputs = tf.cond(tf.greater_equal(pixels, int(least)), tiled, plain)
        return tuple(
            tf.ensure_shape(y, [x.shape[0], None, None, value.type.shape[1]])
            for y, value in zip(outputs, self.outputs, strict=True)
        )

    def tiled(self, tf: Any, images: dict[int, Any], at: OpContext, tiles: Tiles) -> list[Any]:
        """The outputs as images; all intermediate values stay in tiles."""
        in_tiles: dict[int, Any] = {}

        def cut(value: Value) -> Any:
            if value.id not in in_tiles:
                in_tiles[value.id] = tiles.cut(images[value.id])
            return in_tiles[value.id]

        for node in self.nodes:
            op, inside = node.op, inner(at, node)
            if isinstance(op, WinogradConvolution):
                (source,) = node.inputs
                is_cut = source.id in in_tiles
                x = in_tiles[source.id] if is_cut else images[source.id]
                output = op.tiled(tf, x, inside, tiles, is_cut)
            elif isinstance(op, FusedNormalization):
                output = op.normalized(tf, cut(node.inputs[0]), inside, tiles.averaged)
            else:
                output = op.apply(tf, *map(cut, node.inputs), at=inside)
            in_tiles[node.outputs[0].id] = output
        return [tiles.joined(in_tiles[value.id]) for value in self.outputs]

    def smallest_image(self) -> float:
        """The number of pixels from which every convolution of the region is faster in tiles."""
        found = (n.op.convolution for n in self.nodes if isinstance(n.op, WinogradConvolution))
        return max(smallest_image(*each.weight.shape[1::-1]) for each in found)


IMAGE = channels_last(4, 2)


def inner(at: OpContext, node: Node) -> OpContext:
    """The context of a node inside the region."""
    return at.inner(Step(node, (IMAGE,) * len(node.inputs), (IMAGE,) * len(node.outputs)))


# Groups -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Group:
    """Nodes that become one region; `needs` are the groups that must run before it."""

    nodes: list[Node] = field(default_factory=list)
    needs: set[Group] = field(default_factory=set)

    def needs_all(self) -> set[Group]:
        """`needs`, transitively."""
        found: set[Group] = set()
        waiting = list(self.needs)
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += each.needs
        return found


def stay_in_tiles(graph: Graph) -> Graph:
    """Group Winograd convolutions with all nodes that can follow them in tiles."""
    owner: dict[int, Group] = {}
    # The groups that a value depends on, not counting those behind another group.
    behind: dict[int, frozenset[Group]] = {}
    placed: list[Node | Group] = []
    for node in graph.nodes:
        sources = {group for value in node.inputs for group in behind.get(value.id, ())}
        group = group_for(node, owner, behind)
        output_ids = [value.id for value in node.outputs]
        if group is None:
            placed.append(node)
            behind |= dict.fromkeys(output_ids, frozenset(sources))
            continue
        if not group.nodes:
            placed.append(group)
        group.nodes.append(node)
        group.needs |= sources - {group}
        owner |= dict.fromkeys(output_ids, group)
        behind |= dict.fromkeys(output_ids, frozenset({group}))
    return replace(graph, nodes=tuple(ordered(graph, placed)))


def group_for(
    node: Node, owner: dict[int, Group], behind: dict[int, frozenset[Group]]
) -> Group | None:
    """The group that a node joins: one that computes an input, a new one, or none.

    It must not join a group that has to finish before its other inputs can be computed.
    """
    op = node.op
    if not isinstance(op, WinogradConvolution):
        if not is_pixel_by_pixel(node):
            return None
        fits = True
    else:
        fits = op.keeps_size
    for group in (owner[value.id] for value in node.inputs if value.id in owner):
        others = [
            other
            for value in node.inputs
            if owner.get(value.id) is not group
            for other in behind.get(value.id, ())
        ]
        if fits and not any(group is other or group in other.needs_all() for other in others):
            return group
    return Group() if isinstance(op, WinogradConvolution) else None


def is_pixel_by_pixel(node: Node) -> bool:
    """Whether a node can be computed on tiles (see winograd_tiles.py)."""
    values = (*node.inputs, *node.outputs)
    if len(node.outputs) != 1 or len({value.type for value in values}) != 1:
        return False
    if node.outputs[0].type.rank != 4:
        return False
    if isinstance(node.op, FusedNormalization | FixedNormalization):
        return True
    # A parameter may hold a value for each pixel.
    return node.op.accepts is Accepts.ELEMENTWISE and not node.op.params()


def ordered(graph: Graph, placed: list[Node | Group]) -> Iterator[Node]:
    """The nodes, groups as one node each, in an order in which inputs come before their readers."""
    graph_outputs = {value.id for value in leaves(graph.outputs)}
    waiting = [
        region_node(each, graph, graph_outputs) if isinstance(each, Group) else each
        for each in placed
    ]
    ready = {value.id for value in leaves(graph.inputs)}
    while waiting:
        node = next(n for n in waiting if all(value.id in ready for value in n.inputs))
        waiting.remove(node)
        ready |= {value.id for value in node.outputs}
        yield node


def region_node(group: Group, graph: Graph, graph_outputs: set[int]) -> Node:
    """The group as a single node."""
    inside = {value.id: value for node in group.nodes for value in node.outputs}
    members = set(map(id, group.nodes))
    read = {
        v.id for node in graph.nodes if id(node) not in members for v in node.inputs
    } | graph_outputs
    inputs = {v.id: v for node in group.nodes for v in node.inputs if v.id not in inside}
    outputs = tuple(value for value in inside.values() if value.id in read)
    sources = tuple(inputs.values())
    op = WinogradRegion(tuple(group.nodes), sources, outputs)
    origin = tuple(path for node in group.nodes for path in node.origin)
    return Node(group.nodes[0].path, op, sources, outputs, origin)
