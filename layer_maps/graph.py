"""nngraph's gModule: a graph of modules, run in the order in which Torch saved it.

Source: torch/nngraph gmodule.lua (runForwardFunction) and node.lua.
"""

from __future__ import annotations

from typing import Any

from porter.maps import (
    BadTable,
    Nested,
    Table,
    TorchObject,
    Value,
    Walk,
    WalkError,
    describe,
    structure,
)

Inputs = dict[int, Nested[Value]]
"""What a node was given so far, by 1-based position among its inputs."""


@structure("nn.gModule")
def graph_module(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Visit `forwardnodes` in order, passing each output on to the node's children.

    A node with one input gets it unwrapped; a node without a module passes its input on;
    `selectindex` picks one entry of another node's table.
    """
    source, sink = module.object("innode"), module.object("outnode").table("data")
    count = module.integer("nInputs", len(children(source)))
    inputs = x if count > 1 else [x]
    if not isinstance(inputs, list) or len(inputs) != count:
        raise BadTable(
            f"nn.gModule takes {count} inputs",
            received=f"a table of {len(inputs)}" if isinstance(inputs, list) else "one tensor",
        )

    # Torch keeps a forward and a backward graph whose nodes are different objects over the same
    # `data` tables: a table is what identifies a node.
    received: dict[int, Inputs] = {source.table("data").index: dict(enumerate(inputs, start=1))}
    for position, item in enumerate(module.list("forwardnodes"), start=1):
        node = as_node(item)
        data = node.table("data")
        if data.index not in received:
            raise WalkError(f"node {position} of nn.gModule is run before its inputs are made")
        if data is sink:
            break
        output = run_node(walk, data, position, unwrap(walk, data, received[data.index]))
        for child in children(node):
            reader = child.table("data")
            received.setdefault(reader.index, {})[input_slot(reader, data)] = output
    if sink.index not in received:
        raise WalkError("the output node of nn.gModule is never reached")
    return unwrap(walk, sink, received[sink.index])


def run_node(walk: Walk, data: Table, position: int, x: Nested[Value]) -> Nested[Value]:
    """The output of one node on its input."""
    selected = data.get("selectindex")
    if selected is not None:
        if isinstance(x, list) and selected in range(1, len(x) + 1):
            return x[int(selected) - 1]
        raise BadTable(
            f"node {position} of nn.gModule picks an entry of a table: {describe(selected)}",
            received=f"a table of {len(x)}" if isinstance(x, list) else "no list",
        )
    inner = data.get("module")
    if inner is None:
        return x
    if not isinstance(inner, TorchObject):
        raise BadTable(
            f"node {position} of nn.gModule should hold a module", received=describe(inner)
        )
    return walk(inner, x, at=str(position))


def as_node(item: Any) -> TorchObject:
    """An entry of `forwardnodes` or `children`."""
    if isinstance(item, TorchObject):
        return item
    raise BadTable("a node of nn.gModule should be an nngraph.Node", received=describe(item))


def children(node: TorchObject) -> list[TorchObject]:
    """The nodes that read a node; the table also maps each of them to its position."""
    return [as_node(item) for item in node.table("children").list()]


def input_slot(reader: Table, data: Table) -> int:
    """The reader's input that a node feeds: Torch has `mapindex[data of the node] = position`."""
    mapping = reader.get("mapindex")
    if isinstance(mapping, Table):
        for position, source in enumerate(mapping.list(), start=1):
            if source is data:
                return position
    raise WalkError("an edge of nn.gModule has no position among its node's inputs")


def unwrap(walk: Walk, data: Table, entries: Inputs) -> Nested[Value]:
    """The table `data.input`, refilled by every call; a single entry is passed on unwrapped."""
    values = [entries[slot] for slot in sorted(entries)]
    if max(entries) != len(values):
        raise WalkError(f"a node of nn.gModule lacks one of {max(entries)} inputs")
    return values[0] if len(values) == 1 else walk.own_table(values, key=data.index)
