"""Call a module tree on values, as Torch would, and write down what happens: the graph.

Walking is abstract interpretation on concrete shapes. A module is called on a value or a table of
values and returns one. Layer maps make nodes; structure rules (containers, table modules) are plain
functions over Python lists and make none.

In-place layers. Torch's `nn.ReLU(true)` overwrites its input, and whoever holds the same memory
sees it. The walker therefore knows the storage of every value: an in-place node makes a new value
and marks the old ones of that storage as overwritten; whoever reads an old value afterwards gets
the new one. The graph stays functional.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from porter.errors import (
    BadField,
    BadTable,
    Endless,
    PorterError,
    ShapeMismatch,
    TooLarge,
    UnmappedModules,
    WalkError,
)
from porter.frontend.aliasing import AliasTracker, MakeBatch, Overwritten, Reinterpret
from porter.frontend.frozen import freeze, frozen_memory
from porter.ir.graph import Call, Graph, Node, TensorType, Value, verify
from porter.ir.layer_map import LayerMap
from porter.ir.map_errors import attribute_errors
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.ir.registry import Handler, Registry, StructureRule, is_layer_map
from porter.torch7 import TorchObject, describe

MAX_DEPTH = 400
"""Containers in containers; the deepest published nets stay below 30."""
MAX_CALLS = 10_000
"""Calls of modules in one walk: a ResNet-1202 makes 6,000, shared modules can ask for 2**40."""
MAX_VALUES = 1_000_000
"""Tensors in one walk: splitting a long axis makes one for each element."""
MAX_HANDED = 500_000
"""Entries of tables that modules hand on, counted at every call."""
MAX_ELEMENTS = 2**31
"""Elements of one tensor: a field may ask for a billion copies, or a padding of a billion."""
FRAMES_PER_LEVEL = 12
"""Python frames that one level of nesting may take, with room to spare."""


@dataclass
class Model:
    """A module tree with its layer maps, made once and walked with as many shapes as needed."""

    root: TorchObject
    registry: Registry
    options: Options = field(default_factory=Options)
    ops: dict[int, LayerMap] = field(default_factory=dict)
    calls: int = 0
    """Calls of modules in all walks so far, also in those that ended early."""

    @cached_property
    def frozen(self) -> frozenset[Hashable]:
        """The memory of tensors that the file says are not learned."""
        return frozen_memory(self.root)

    def op(self, module: TorchObject) -> LayerMap:
        """The layer map of a module; one module used twice has one map and one set of weights."""
        if module.index not in self.ops:
            handler = self.handler(module)
            if not is_layer_map(handler):
                raise BadField("a layer is needed here", received=f"a {module.typename}")
            treated = self.registry.treated(module)
            self.ops[module.index] = handler.from_torch(treated, self.options)
        return self.ops[module.index]

    def handler(self, module: TorchObject) -> Handler:
        """The layer map or structure rule of a module's class. Raises UnmappedModules."""
        if module.typename not in self.registry:
            raise UnmappedModules(
                f"{module.typename} has no layer map",
                hint="write one with `porter scaffold` and pass it with `layer_maps=`",
            )
        return self.registry[module.typename]

    def walk(self, inputs: Nested[TensorType]) -> Graph:
        """The graph for inputs of these types."""
        return self.walk_with(Walk, inputs)

    def walk_with(self, kind: type[Walk], inputs: Nested[TensorType]) -> Graph:
        """The same with a walk of another kind."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, FRAMES_PER_LEVEL * MAX_DEPTH))
        try:
            return kind(self).graph(inputs)
        except RecursionError:
            raise Endless("tables or modules are nested too deep, or inside themselves") from None
        finally:
            sys.setrecursionlimit(limit)


class Walk:
    """One pass over a module tree. Structure rules are handed this object."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.calls: list[Call] = []
        self.notes: dict[str, str] = {}
        self.path = ""
        self.begun = 0
        """Calls of modules so far, those inside loops included."""
        self.made = 0
        self.handed = 0
        self.memory: dict[int, list[Value]] = {}
        self.windows = AliasTracker()
        self.overwritten: dict[int, Value | Overwritten] = {}
        self.active: list[TorchObject] = []
        self.counts: Counter[str] = Counter()
        self.shared: dict[Any, Any] = {}
        """For structure rules that hand something on, such as pooling indices to an unpooling."""

    def graph(self, inputs: Nested[TensorType]) -> Graph:
        """Walk from the root."""
        values = map_leaves(self.new_value, inputs)
        outputs = self.resolve_all(self(self.model.root, values))
        graph = Graph(
            values,
            tuple(self.nodes),
            outputs,
            tuple(self.calls),
            tuple(sorted(self.notes.items())),
        )
        verify(graph)
        return graph

    # Calling modules ----------------------------------------------------------------------------

    def __call__(self, module: TorchObject, x: Nested[Value], at: str = "") -> Nested[Value]:
        """Call a module on `x`; `at` is its number below the module that calls it."""
        with self.entered(module, at):
            handler = self.model.handler(module)
            treated = self.model.registry.treated(module)
            if treated is not module:
                self.note(f"treated as {treated.typename}, as asked for")
            calls_before = len(self.calls)
            made: Nested[Value]
            with attribute_errors(handler, self.path, module.typename):
                if is_layer_map(handler):
                    made = self.call_layer(module, x)
                else:
                    made = cast(StructureRule, handler)(self, treated, x)
            output = self.resolve_all(made)
            self.counts[self.path] += 1
            is_leaf = len(self.calls) == calls_before
            self.calls.append(
                Call(self.path, module.typename, output, self.counts[self.path], is_leaf, module)
            )
            return output

    def call_layer(self, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
        """Call a module that is a layer: one node, on one tensor or a flat table of tensors."""
        op = self.model.op(module)
        if isinstance(x, Value):
            if op.takes_table:
                raise BadTable(f"{module.typename} should be given a table", received="one tensor")
            return self.emit(op, x)
        tensors = [item for item in x if isinstance(item, Value)]
        if isinstance(x, dict) or len(tensors) < len(x):
            raise BadTable(
                f"{module.typename} should be given tensors",
                received="a table with string keys" if isinstance(x, dict) else "a table of tables",
            )
        if op.arity()[1] == 1:
            raise BadTable(
                f"{module.typename} should be given one tensor", received=f"a table of {len(x)}"
            )
        return self.emit(op, *tensors)

    @contextmanager
    def entered(self, module: TorchObject, at: str) -> Iterator[None]:
        """Keep the path while a module is called, and name it in errors that pass through."""
        before = self.path
        if any(module is other for other in self.active):
            raise Endless(f"{module.typename} contains itself", where=self.path or "the root")
        if len(self.active) >= MAX_DEPTH:
            raise Endless(
                f"more than {MAX_DEPTH} modules inside each other", where=self.path or "the root"
            )
        if self.begun >= MAX_CALLS:
            raise Endless(f"the model calls its modules more than {MAX_CALLS:,} times")
        self.begun += 1
        self.model.calls += 1
        self.path = f"{before}.{at}" if before and at else before or at
        self.active.append(module)
        try:
            yield
        except PorterError as error:
            error.where = error.where or f"{self.path or 'the root'} ({module.typename})"
            raise
        finally:
            self.active.pop()
            self.path = before

    def children(self, module: TorchObject) -> list[TorchObject]:
        """The modules that a container holds, in order."""
        items = module.list("modules")
        for position, item in enumerate(items, start=1):
            if not isinstance(item, TorchObject):
                raise BadField(
                    f"modules[{position}] of {module.typename} should be a module",
                    received=describe(item),
                )
        return list(items)

    def only_child(self, module: TorchObject) -> TorchObject:
        """The module that a decorator holds, or a composite that is built of others."""
        held = self.children(module)
        if not held:
            raise BadField(f"modules of {module.typename} should hold a module", received="none")
        return held[0]

    def note(self, text: str) -> None:
        """Tell the report something about the module being walked."""
        self.notes[self.path] = text

    # Making values ------------------------------------------------------------------------------

    def new_value(self, type: TensorType) -> Value:
        """A value with memory of its own."""
        self.count_value(type)
        value = Value(self.made, type, storage=self.made)
        self.memory[value.storage] = [value]
        return value

    def view(self, of: Value, type: TensorType) -> Value:
        """A value that shares the memory of another."""
        self.count_value(type)
        seen, held = math.prod(type.static), math.prod(of.shape)
        repeats = of.repeats * (seen // held if held and seen > held else 1)
        value = Value(self.made, type, of.storage, repeats)
        self.memory[of.storage].append(value)
        return value

    def count_value(self, type: TensorType) -> None:
        """One more tensor. Raises TooLarge where tensors or their elements become too many."""
        self.made += 1
        if self.made > MAX_VALUES:
            raise TooLarge(f"the model makes more than {MAX_VALUES:,} tensors")
        if math.prod(size for size in type.shape if size is not None) > MAX_ELEMENTS:
            raise TooLarge(f"a tensor of more than {MAX_ELEMENTS:,} elements", received=str(type))

    def emit(self, op: LayerMap, *inputs: Value) -> Nested[Value]:
        """Add a node; returns its output, or the list of its outputs."""
        outputs = self.run(op, *inputs)
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def run(self, op: LayerMap, *inputs: Value) -> tuple[Value, ...]:
        """Add a node; returns its outputs as a tuple."""
        resolved = tuple(self.resolve(value) for value in inputs)
        if len(resolved) == 1 and op.makes_batch(resolved[0].type):
            resolved = (self.make_batch(resolved[0]),)
        if op.inplace and resolved and resolved[0].repeats > 1:
            return self.run_repeatedly(op, resolved)
        return self.add_node(op, resolved)

    def run_repeatedly(self, op: LayerMap, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """In place on an expanded tensor (stride 0), Torch writes each element once per repeat."""
        outputs: tuple[Value, ...] = ()
        for _ in range(inputs[0].repeats):
            outputs = self.add_node(op, inputs)
            inputs = (outputs[0], *inputs[1:])
        return outputs

    def add_node(self, op: LayerMap, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        """Append a node for `op` and account for the memory of its outputs."""
        if self.model.frozen and freeze(op, self.model.frozen):
            self.note("frozen: its accGradParameters is a function of the file's")
        fewest, most = op.arity()
        if not fewest <= len(inputs) <= most:
            raise ShapeMismatch(
                f"{op.typename} takes {fewest} tensor(s)" + ("" if fewest == most else " or more"),
                received=", ".join(str(value.type) for value in inputs) or "an empty table",
            )
        types = op.output_types(*(value.type for value in inputs))
        outputs: list[Value] = []
        shares = bool(inputs) and (bool(op.inplace) or self.aliases_input(op, inputs[0]))
        for type in types:
            if shares:
                outputs.append(self.view(inputs[0], type))
            else:
                outputs.append(self.new_value(type))
        node = Node(self.path, op, inputs, tuple(outputs), (self.path,), self.counts[self.path] + 1)
        self.nodes.append(node)
        if shares:
            self.windows.add(node)
        for note in op.notes:
            self.note(note)
        if op.inplace and inputs:
            self.overwrite(inputs[0], outputs[0])
        return tuple(outputs)

    # In-place aliasing --------------------------------------------------------------------------

    def aliases_input(self, op: LayerMap, x: Value) -> bool:
        """Whether Torch's output shares the memory of `x`."""
        return op.is_view and not (op.copies_scattered and self.windows.scattered(x))

    def overwrite(self, old: Value, new: Value) -> None:
        """Everything that shares elements with `old` now holds what `new` holds."""
        current: list[Value] = []
        for value in self.memory[old.storage]:
            # What was overwritten before leads, by what overwrote it, to the newest value.
            if value.id in self.overwritten:
                continue
            if value.id == new.id:
                current.append(value)
            elif self.windows.agree(value, old):
                self.overwritten[value.id] = new
            elif self.windows.meet(value, old):
                self.overwritten[value.id] = Overwritten(by=self.path, now=new)
            else:
                current.append(value)
        self.memory[old.storage] = current

    def make_batch(self, value: Value) -> Value:
        """Give a tensor a batch of one; whoever else holds it sees that (addSingletonDimension)."""
        (batch,) = self.add_node(MakeBatch(), (value,))
        self.overwritten[value.id] = batch
        return batch

    def resolve(self, value: Value) -> Value:
        """What memory holds now where `value` was written."""
        passed: list[int] = []
        while value.id in self.overwritten:
            current = self.overwritten[value.id]
            if isinstance(current, Overwritten):
                current = self.reshaped(value, current)
            passed.append(value.id)
            value = current
        # The next who asks need not follow the whole chain again.
        self.overwritten.update(dict.fromkeys(passed, value))
        return value

    def resolve_all(self, nested: Nested[Value]) -> Nested[Value]:
        """`resolve` for every value of a table. Raises Endless where tables hold too much.

        Tables may share tables: what is small in memory can be astronomical to go through.
        """
        self.handed += 1
        if self.handed > MAX_HANDED:
            raise Endless(f"the model hands on more than {MAX_HANDED:,} entries of tables")
        if isinstance(nested, list):
            return [self.resolve_all(item) for item in nested]
        if isinstance(nested, dict):
            return {key: self.resolve_all(nested[key]) for key in sorted(nested)}
        return self.resolve(nested)

    def reshaped(self, value: Value, overwritten: Overwritten) -> Value:
        """An overwritten value seen with its own shape: possible where both see all elements."""
        now = self.resolve(overwritten.now)
        if not self.windows.agree(value, now, as_shaped=False):
            raise WalkError(
                f"module {overwritten.by} overwrites part of a tensor that this module reads",
                hint="clear its `inplace` flag in Torch and save the model again",
            )
        (result,) = self.add_node(Reinterpret(shape=value.shape), (now,))
        return result
