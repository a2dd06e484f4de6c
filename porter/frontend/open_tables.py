"""Tables that are as long as an axis is: kept in one tensor, so that the axis may be free.

`nn.SplitTable` makes a Lua table with an entry for every step, and a walk has a value for each. So
two walks over sequences of different lengths have different graphs. `stacked` rewrites both: a
table stays the tensor that its entries are slices of, with the steps in front. Who reads the whole
table, or a run of it, is given that; who reads one entry picks it by its place from the front or
from the end, whichever is the same in both walks; and layers that are called on every entry become
a loop. Where something else is done with a table, its graphs stay different, and the axis is fixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from porter.frontend.loop import Loop
from porter.ir.capabilities import MakesTable, Mergeable, ReadsTable, Skippable
from porter.ir.fields import Array, integer, optional_integer, raw
from porter.ir.graph import INT, Call, Graph, Node, Place, TensorType, Value, rename
from porter.ir.layer_map import Accepts, LayerMap
from porter.ir.layout import OpContext
from porter.ir.nested import Nested, leaves, map_leaves, same_structure

Key = tuple[str, int, int]
"""The path of a module, which call of it, and which of the tables that it makes; both from 1."""


@dataclass(frozen=True)
class OpenTables:
    """Which tables are as long as some axis: those that layers make, and those of the output."""

    inside: frozenset[Key] = frozenset()
    outputs: frozenset[Place] = frozenset()

    def __or__(self, other: OpenTables) -> OpenTables:
        return OpenTables(self.inside | other.inside, self.outputs | other.outputs)


NO_TABLES = OpenTables()


def open_tables(one: Graph, other: Graph) -> OpenTables:
    """The tables of which two walks of one model have different numbers of entries."""
    longer = table_lengths(other)
    lengths = table_lengths(one).items()
    inside = frozenset(key for key, length in lengths if longer.get(key, length) != length)
    if not inside:
        return NO_TABLES
    return OpenTables(inside, frozenset(unequal_lists(one.outputs, other.outputs)))


def table_lengths(graph: Graph) -> dict[Key, int]:
    """How many entries every table has that a layer makes."""
    return {key: len(node.outputs) for key, node in table_makers(graph)}


def table_makers(graph: Graph) -> Iterator[tuple[Key, Node]]:
    """The nodes that make tables of slices."""
    counts: Counter[tuple[str, int]] = Counter()
    for node in graph.nodes:
        if isinstance(node.op, MakesTable):
            call = node.path, node.count
            counts[call] += 1
            yield (*call, counts[call]), node


def unequal_lists(one: Nested[Value], other: Nested[Value], place: Place = ()) -> Iterator[Place]:
    """Where nested values hold lists that are not equally long."""
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield place
            return
        for position, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from unequal_lists(first, second, (*place, position))
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() & other.keys()):
            yield from unequal_lists(one[key], other[key], (*place, key))


def stacked(graph: Graph, tables: OpenTables) -> Graph:
    """The graph with these tables kept in tensors, and values numbered anew."""
    return Stacking(graph, tables).graph() if tables.inside else graph


def as_emitted(port: Graph, walked: Graph | None, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """The outputs of a walk in the structure of a graph in which some tables are stacked."""
    if not port.stacked:
        return arrays
    assert walked is not None
    in_order = iter(arrays)
    nested = map_leaves(lambda _: next(in_order), walked.outputs)
    return tuple(leaves(stacked_arrays(nested, port.stacked)))


def stacked_arrays(
    nested: Nested[Array], places: frozenset[Place], at: Place = ()
) -> Nested[Array]:
    """Arrays with the entries of the lists at some places stacked."""
    if isinstance(nested, dict):
        return {key: stacked_arrays(nested[key], places, (*at, key)) for key in sorted(nested)}
    if not isinstance(nested, list):
        return nested
    if at in places:
        columns = zip(*(leaves(entry) for entry in nested), strict=True)
        stacks = iter([np.stack(column) for column in columns])
        return map_leaves(lambda _: next(stacks), nested[0])
    return [stacked_arrays(each, places, (*at, i)) for i, each in enumerate(nested)]


# Layers on stacked tables -------------------------------------------------------------------------


class MoveAxis(LayerMap, Skippable):
    """One axis moved to another place, the others in their order."""

    source = integer("source")
    destination = integer("destination")
    moves = True

    def is_identity(self) -> bool:
        return self.source == self.destination

    def reference(self, x: Array) -> Array:
        return np.moveaxis(x, self.source, self.destination)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        order = [axis for axis in range(at.inputs[0].rank) if axis != self.source]
        order.insert(self.destination, self.source)
        return tf.transpose(x, order)


class Steps(LayerMap, Mergeable):
    """A run of steps of a sequence T × …, forwards or backwards, or one step without that axis.

    The first and the last step count from the front, from 0, and from the end, from -1; None where
    two lengths showed that it is not at the same place from there.
    """

    first = optional_integer("first")
    first_from_end = optional_integer("first_from_end")
    last = optional_integer("last")
    last_from_end = optional_integer("last_from_end")
    direction = integer("direction", 1)
    single = raw("single")
    moves = True

    def merged(self, other: object) -> Steps | None:
        if not isinstance(other, Steps):
            return None
        ends = ("first", "first_from_end", "last", "last_from_end")
        agreeing = {
            name: getattr(self, name) if getattr(self, name) == getattr(other, name) else None
            for name in ends
        }
        joint = self.evolve(**agreeing)
        alike = (self.direction, self.single) == (other.direction, other.single)
        return joint if alike and None not in joint.ends() else None

    def ends(self) -> tuple[int | None, int | None]:
        """The first and the last step, from the front where that is known."""
        return (
            self.first_from_end if self.first is None else self.first,
            self.last_from_end if self.last is None else self.last,
        )

    def bounds(self) -> tuple[int, int | None]:
        """Where a slice starts and stops, as Python counts; None: at the end."""
        start, last = self.ends()
        assert start is not None
        assert last is not None
        beyond = last + self.direction
        return start, None if (last < 0) != (beyond < 0) else beyond

    def reference(self, x: Array) -> Array:
        start, stop = self.bounds()
        run: Array = x[start : stop : self.direction]
        return run[0] if self.single else run

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        start, stop = self.bounds()
        end, to_the_end = (0, 1) if stop is None else (stop, 0)
        run = tf.strided_slice(x, [start], [end], [self.direction], end_mask=to_the_end)
        return tf.squeeze(run, [0]) if self.single else run


class Append(LayerMap):
    """Runs of steps T × … and single steps, one after the other."""

    runs = raw("runs")
    """Of each tensor whether it is a run."""
    moves = True

    def reference(self, *xs: Array) -> Array:
        return np.concatenate([x if run else x[None] for x, run in zip(xs, self.runs, strict=True)])

    def apply(self, tf: Any, *xs: Any, at: OpContext) -> Any:
        parts = zip(xs, self.runs, strict=True)
        return tf.concat([x if run else tf.expand_dims(x, 0) for x, run in parts], axis=0)


# The rewriting ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class StackedTable:
    """A table of `length` entries as one tensor, with the entries in front."""

    value: Value
    length: int


class Stacking:
    """One rewriting of one graph."""

    def __init__(self, graph: Graph, tables: OpenTables) -> None:
        self.old = graph
        self.tables = tables
        self.nodes: list[Node] = []
        self.numbered = 0
        self.values: dict[int, Value] = {}
        """What stands for a value of the old graph, by its id."""
        self.entries: dict[int, tuple[StackedTable, int]] = {}
        """Of values that are entries of a stacked table, which entry."""
        self.runs: dict[tuple[int, int, int], Value] = {}
        self.done: set[int] = set()
        self.readers: dict[int, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self.readers.setdefault(value.id, []).append(node)

    def graph(self) -> Graph:
        """The graph with its tables stacked."""
        inputs = map_leaves(lambda value: self.keep(value, self.new(value.type)), self.old.inputs)
        makers = {id(node): key for key, node in table_makers(self.old)}
        for node in self.old.nodes:
            if id(node) in self.done:
                continue
            if makers.get(id(node)) in self.tables.inside:
                self.make_table(node)
            elif not (self.read_table(node) or self.lift(node)):
                self.copy(node)
        outputs = self.outputs(self.old.outputs)
        calls = [call for each in self.old.calls if (call := self.call(each)) is not None]
        return Graph(
            inputs, tuple(self.nodes), outputs, tuple(calls), self.old.notes, self.tables.outputs
        )

    # Values and nodes -----------------------------------------------------------------------------

    def new(self, type: TensorType) -> Value:
        self.numbered += 1
        return Value(self.numbered, type, self.numbered)

    def keep(self, old: Value, new: Value) -> Value:
        self.values[old.id] = new
        return new

    def add(self, like: Node, op: LayerMap, inputs: Iterable[Value], *types: TensorType) -> Value:
        """A node at the place of another one; returns its first output."""
        outputs = tuple(map(self.new, types))
        self.nodes.append(replace(like, op=op, inputs=tuple(inputs), outputs=outputs))
        return outputs[0]

    def copy(self, node: Node) -> None:
        """The node itself, on what stands for its inputs."""
        op = node.op
        if isinstance(op, Loop):
            op = op.evolve(body=numbered_anew(op.body))
        inputs = [self.read(value, node) for value in node.inputs]
        self.add(node, op, inputs, *(value.type for value in node.outputs))
        for old, new in zip(node.outputs, self.nodes[-1].outputs, strict=True):
            self.keep(old, new)

    def read(self, value: Value, at: Node) -> Value:
        """What stands for a value: an entry is picked from its table."""
        if value.id not in self.values:
            table, index = self.entries[value.id]
            op = steps(table, index, index, single=True)
            self.keep(value, self.add(at, op, [table.value], value.type))
        return self.values[value.id]

    # Tables ---------------------------------------------------------------------------------------

    def make_table(self, node: Node) -> None:
        """The tensor that a table is made of, with the table's axis in front."""
        (whole,) = node.inputs
        axis = node.op.table_axis()  # type: ignore[attr-defined]
        value = self.read(whole, node)
        if axis != 0:
            shape = (len(node.outputs), *node.outputs[0].shape)
            move = MoveAxis(source=axis, destination=0)
            value = self.add(node, move, [value], TensorType(shape, whole.dtype))
        self.note_table(node.outputs, value)

    def note_table(self, entries: Sequence[Value], value: Value) -> None:
        table = StackedTable(value, len(entries))
        for index, entry in enumerate(entries):
            self.entries[entry.id] = table, index

    def together(self, values: Sequence[Value], at: Node) -> Value | None:
        """Values stacked, the runs of tables among them taken whole; None without a run."""
        runs = list(runs_of([self.entries.get(value.id) for value in values]))
        if all(run is None for run, _ in runs):
            return None
        single = values[0].type
        parts: list[Value] = []
        position = 0
        for run, count in runs:
            if run is None:
                parts += [self.read(each, at) for each in values[position : position + count]]
            else:
                parts.append(self.run(*run, single, at))
            position += count
        if len(parts) == 1:
            return parts[0]
        is_run = tuple(flag for run, count in runs for flag in ([True] if run else [False] * count))
        type = TensorType((len(values), *single.shape), single.dtype)
        return self.add(at, Append(runs=is_run), parts, type)

    def run(
        self, table: StackedTable, first: int, last: int, single: TensorType, at: Node
    ) -> Value:
        """Entries of a table from the first to the last, which may stand before it."""
        if (first, last) == (0, table.length - 1):
            return table.value
        key = table.value.id, first, last
        if key not in self.runs:
            type = TensorType((abs(last - first) + 1, *single.shape), single.dtype)
            self.runs[key] = self.add(at, steps(table, first, last), [table.value], type)
        return self.runs[key]

    def read_table(self, node: Node) -> bool:
        """Whether a node reads a table as a whole: then it is given that stacked."""
        op = node.op.on_stacked() if isinstance(node.op, ReadsTable) else None
        whole = None if op is None else self.together(node.inputs, node)
        if op is None or whole is None:
            return False
        (output,) = node.outputs
        is_whole = isinstance(op, Skippable) and op.is_identity()
        self.keep(output, whole if is_whole else self.add(node, op, [whole], output.type))
        return True

    def lift(self, node: Node) -> bool:
        """Whether a node is the first of those that call a layer on every entry of a table.

        They become one, a loop where the layer does not compute number by number.
        """
        from_tables = [p for p, value in enumerate(node.inputs) if value.id in self.entries]
        if not from_tables:
            return False
        group = self.alike(node, from_tables[0])
        if group is None:
            return False
        columns = [[each.inputs[p] for each in group] for p in range(len(node.inputs))]
        tables = {p: self.together(columns[p], node) for p in from_tables}
        if None in tables.values():
            return False
        self.done.update(map(id, group))
        types = [TensorType((len(group), *output.shape), output.dtype) for output in node.outputs]
        if len(columns) == 1 and node.op.accepts is Accepts.ELEMENTWISE:
            self.add(node, node.op, tables.values(), *types)  # type: ignore[arg-type]
        else:
            others = [p for p in range(len(node.inputs)) if p not in tables]
            number = Value(0, TensorType((), INT))
            element = {p: Value(p + 1, value.type) for p, value in enumerate(node.inputs)}
            results = [
                Value(len(element) + i, value.type) for i, value in enumerate(node.outputs, start=1)
            ]
            step = replace(node, inputs=tuple(element.values()), outputs=tuple(results))
            fed = [element[p] for p in (*tables, *others)]
            body = Graph([number, *fed], (step,), list(results))
            loop = Loop(body=body, sequences=len(tables), states=0, steps=None)
            outside = [self.read(node.inputs[p], node) for p in others]
            self.add(node, loop, [*tables.values(), *outside], *types)  # type: ignore[list-item]
        for position, value in enumerate(self.nodes[-1].outputs):
            self.note_table([each.outputs[position] for each in group], value)
        return True

    def alike(self, node: Node, position: int) -> list[Node] | None:
        """The nodes that do with each entry of a table what one does with one, in its order."""
        table, _ = self.entries[node.inputs[position].id]
        members = [value for value, each in self.entries.items() if each[0] is table]
        group: list[Node] = []
        for member in members:
            candidates = (
                other
                for other in self.readers.get(member, ())
                if id(other) not in self.done
                and other.op.same_as(node.op)
                and len(other.inputs) == len(node.inputs)
                and other.inputs[position].id == member
                and self.reads_alike(other, node)
            )
            found = next(candidates, None)
            if found is None:
                return None
            group.append(found)
        return group

    def reads_alike(self, one: Node, other: Node) -> bool:
        """Whether two nodes read the same, or entries of the same tables."""
        return all(
            self.entries[a.id][0] is self.entries[b.id][0]
            if a.id in self.entries and b.id in self.entries
            else a.id == b.id
            for a, b in zip(one.inputs, other.inputs, strict=True)
        )

    # Outputs --------------------------------------------------------------------------------------

    def outputs(self, nested: Nested[Value], place: Place = ()) -> Nested[Value]:
        """What the graph gives: tables that are as long as an axis as one tensor."""
        if isinstance(nested, dict):
            return {key: self.outputs(nested[key], (*place, key)) for key in sorted(nested)}
        if not isinstance(nested, list):
            return self.read(nested, self.old.nodes[-1])
        if place in self.tables.outputs:
            whole = self.columns(nested)
            if whole is not None:
                return whole
        return [self.outputs(each, (*place, i)) for i, each in enumerate(nested)]

    def columns(self, entries: list[Nested[Value]]) -> Nested[Value] | None:
        """A table of entries that are alike as one entry, with the table's axis in front of it."""
        if not entries or not all(same_structure(entries[0], each) for each in entries):
            return None
        columns = zip(*(leaves(entry) for entry in entries), strict=True)
        last = self.old.nodes[-1]
        whole = [value for column in columns if (value := self.together(column, last)) is not None]
        if len(whole) < sum(1 for _ in leaves(entries[0])):
            return None
        in_order = iter(whole)
        return map_leaves(lambda _: next(in_order), entries[0])

    def call(self, call: Call) -> Call | None:
        """A call whose output is computed, a table of it perhaps as one tensor."""
        output: Nested[Value] | None = None
        values = list(leaves(call.output))
        tables = [self.entries.get(value.id) for value in values]
        if all(value.id in self.values for value in values):
            output = map_leaves(lambda value: self.values[value.id], call.output)
        elif isinstance(call.output, list) and None not in tables:
            ((run, _), *others) = runs_of(tables)
            if not others and run is not None and run[1:] == (0, run[0].length - 1):
                output = run[0].value
        return None if output is None else replace(call, output=output)


def steps(table: StackedTable, first: int, last: int, single: bool = False) -> Steps:
    """Entries of a table, counted from both ends."""
    return Steps(
        first=first,
        first_from_end=first - table.length,
        last=last,
        last_from_end=last - table.length,
        direction=1 if last >= first else -1,
        single=single,
    )


Run = tuple[StackedTable, int, int]


def runs_of(
    entries: Sequence[tuple[StackedTable, int] | None],
) -> Iterator[tuple[Run | None, int]]:
    """The runs of entries of one table, each with its first and last; how many belong to none."""
    position = 0
    while position < len(entries):
        start = entries[position]
        end = position + 1
        direction = 0
        while start is not None and end < len(entries):
            before, after = entries[end - 1], entries[end]
            assert before is not None
            if after is None or after[0] is not start[0]:
                break
            step = after[1] - before[1]
            if abs(step) != 1 or step == -direction:
                break
            direction, end = step, end + 1
        if end - position == 1:
            yield None, 1
        else:
            assert start is not None
            last = entries[end - 1]
            assert last is not None
            yield (start[0], start[1], last[1]), end - position
        position = end


def numbered_anew(body: Graph) -> Graph:
    """The body of a loop with its values numbered from 1, wherever the loop stands."""
    number = {value.id: i for i, value in enumerate(body.values(), start=1)}
    nodes = [
        replace(node, op=node.op.evolve(body=numbered_anew(node.op.body)))
        if isinstance(node.op, Loop)
        else node
        for node in body.nodes
    ]
    values = {value.id: replace(value, id=number[value.id], storage=-1) for value in body.values()}
    return rename(replace(body, nodes=tuple(nodes)), values)
