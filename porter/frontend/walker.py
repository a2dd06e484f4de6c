"""Call a module tree on values, as Torch would, and write down what happens: the graph.

Walking is abstract interpretation on concrete shapes. A module is called on a value or a table of
values and returns one. Layer maps make nodes; structure rules (containers, table modules) are plain
functions over Python lists and make none.

Memory. Torch's `nn.ReLU(true)` overwrites its input, and a module that is called again overwrites
what its last call returned; whoever holds the same memory sees it. The values that structure rules
are given therefore stand for Torch's tensors (`memory.py`): a tensor is read where a node takes it,
and what is read is what was written last. Tables are Python lists, and a container that returns the
same Lua table at every call returns the same list. The graph stays functional.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any, cast

from porter.errors import (
    BadField,
    BadTable,
    Endless,
    Overwritten,
    PorterError,
    ShapeMismatch,
    TooLarge,
    UnmappedModules,
)
from porter.frontend.aliasing import MakeBatch
from porter.frontend.frozen import freeze, frozen_memory
from porter.frontend.memory import CLONE, TensorMemory, TensorStorage, TorchTensor, contiguous
from porter.ir.capabilities import KeepsFirstInput, MakesBatch
from porter.ir.graph import Call, Graph, Node, TensorType, Value, verify
from porter.ir.layer_map import LayerMap
from porter.ir.map_errors import attribute
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.ir.registry import Handler, Registry, StructureRule, is_layer_map
from porter.ir.window import Window
from porter.torch7 import TorchObject, describe

MAX_DEPTH = 400
"""Containers in containers; the deepest published nets stay below 30."""
MAX_CALLS = 10_000
"""Calls of modules in one walk: a ResNet-1202 makes 6,000, shared modules can ask for 2**40."""
MAX_VALUES = 1_000_000
"""Tensors in one walk: splitting a long axis makes one for each element."""
MAX_HANDED = 1_000_000
"""Entries of tables that modules take and hand on, counted at every call."""
MAX_ELEMENTS = 2**31
"""Elements of one tensor: a field may ask for a billion copies, or a padding of a billion."""
MAX_GRAPHS = 8
"""Graphs that a model keeps: search and verification ask for the same few sizes."""
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
    graphs: dict[Hashable, Graph] = field(default_factory=dict, repr=False)
    """What `walk` returned last, by the types of the inputs; the latest is the last."""
    generalised: dict[Hashable, Graph] = field(default_factory=dict, repr=False)
    """The last graphs with free sizes, likewise: `frontend/dynamic.py` fills them in."""

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
        """The graph for inputs of these types; the last few are kept."""
        return kept(self.graphs, hashable(inputs), lambda: self.walk_with(Walk, inputs))

    def keep(self, inputs: Nested[TensorType], graph: Graph) -> None:
        """Let `walk` return a graph that another kind of walk found."""
        kept(self.graphs, hashable(inputs), lambda: graph)

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


def kept(graphs: dict[Hashable, Graph], key: Hashable, make: Callable[[], Graph]) -> Graph:
    """The graph of a key, made where it is not among the last few."""
    graph = graphs.pop(key, None)
    if graph is None:
        graph = make()
    graphs[key] = graph
    if len(graphs) > MAX_GRAPHS:
        del graphs[next(iter(graphs))]
    return graph


def hashable(inputs: Nested[TensorType]) -> Hashable:
    """Nested types as tuples."""
    if isinstance(inputs, list):
        return tuple(hashable(item) for item in inputs)
    if isinstance(inputs, dict):
        return frozenset((key, hashable(item)) for key, item in inputs.items())
    return inputs


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
        self.values = 0
        self.handed = 0
        self.memory = TensorMemory(self.append)
        self.clone: tuple[Hashable, ...] = ()
        """Which clone of the modules is called."""
        self.active: list[TorchObject] = []
        self.emitted: list[int] = []
        """How many nodes with outputs of its own each active module has made in this call."""
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
        caller = self.path
        self.enter(module, at)
        # No context managers: this is called for every module of every walk.
        try:
            return self.call(module, x)
        except PorterError as error:
            error.where = error.where or f"{self.path or 'the root'} ({module.typename})"
            raise
        finally:
            self.active.pop()
            self.emitted.pop()
            self.path = caller

    def call(self, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
        """Call the active module on `x`, and write the call down."""
        handler = self.model.handler(module)
        treated = self.model.registry.treated(module)
        if treated is not module:
            self.note(f"treated as {treated.typename}, as asked for")
        calls_before = len(self.calls)
        x = self.current(x)
        output: Nested[Value]
        try:
            if is_layer_map(handler):
                output = self.call_layer(module, x)
            else:
                output = cast(StructureRule, handler)(self, treated, x)
        except Exception as error:
            attribute(error, handler, self.path, module.typename)
            raise
        self.counts[self.path] += 1
        is_leaf = len(self.calls) == calls_before
        self.calls.append(
            Call(
                self.path,
                module.typename,
                self.resolve_all(output),
                self.counts[self.path],
                is_leaf,
                module,
            )
        )
        return output

    def call_layer(self, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
        """Call a module that is a layer: one node, on one tensor or a flat table of tensors."""
        op = self.model.op(module)
        if isinstance(x, Value):
            if op.takes_table:
                raise BadTable(f"{module.typename} should be given a table", received="one tensor")
            if isinstance(op, KeepsFirstInput):
                first = self.shared.setdefault((KeepsFirstInput, self.clone, module.index), x.type)
                op = op if first.rank == x.type.rank else op.met(first)
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

    def enter(self, module: TorchObject, at: str) -> None:
        """Let a module be the active one. Raises Endless where it may not be called."""
        before = self.path
        if module in self.active:  # TorchObjects compare by identity
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
        self.emitted.append(0)

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
        children = self.children(module)
        if not children:
            raise BadField(f"modules of {module.typename} should hold a module", received="none")
        return children[0]

    def note(self, text: str) -> None:
        """Tell the report something about the module being walked."""
        self.notes[self.path] = text

    # Making values ------------------------------------------------------------------------------

    def new_value(self, type: TensorType) -> Value:
        """A value that stands for a tensor with memory of its own."""
        value = self.count_value(type)
        self.memory.allocate(value)
        return value

    def count_value(self, type: TensorType, storage: int | None = None) -> Value:
        """One more value, in new memory where no storage is given.

        Raises TooLarge where tensors or their elements become too many.
        """
        self.values += 1
        number = self.values
        if number > MAX_VALUES:
            raise TooLarge(f"the model makes more than {MAX_VALUES:,} tensors")
        shape = type.shape
        sizes = (size for size in shape if size is not None) if None in shape else shape
        if math.prod(sizes) > MAX_ELEMENTS:  # type: ignore[arg-type]
            raise TooLarge(f"a tensor of more than {MAX_ELEMENTS:,} elements", received=str(type))
        return Value(number, type, number if storage is None else storage)

    def append(
        self,
        op: LayerMap,
        inputs: Sequence[Value],
        types: tuple[TensorType, ...],
        *storages: int | None,
    ) -> tuple[Value, ...]:
        """Add a node that reads these values themselves, whatever is in memory now.

        `storages` are those that the outputs lie in, as far as they are not new.
        """
        places = zip_longest(types, storages[: len(types)])
        outputs = tuple(self.count_value(type, storage) for type, storage in places)
        count = self.counts[self.path] + 1
        self.nodes.append(Node(self.path, op, tuple(inputs), outputs, (self.path,), count))
        return outputs

    def emit(self, op: LayerMap, *inputs: Value) -> Nested[Value]:
        """Add a node; returns its output, or the list of its outputs."""
        outputs = self.run(op, *inputs)
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def run(self, op: LayerMap, *inputs: Value) -> tuple[Value, ...]:
        """Add a node; returns its outputs as a tuple."""
        tensors = [self.memory.tensor(value) for value in inputs]
        if (
            len(tensors) == 1
            and isinstance(op, MakesBatch)
            and op.makes_batch(tensors[0].value.type)
        ):
            self.make_batch(tensors[0])
        # In place on an expanded tensor (stride 0), Torch writes each element once per repeat.
        for _ in range(tensors[0].window.repeats - 1 if op.inplace and tensors else 0):
            self.call_op(op, tensors)
        return self.call_op(op, tensors)

    def call_op(self, op: LayerMap, inputs: list[TorchTensor]) -> tuple[Value, ...]:
        """Add a node that reads tensors, and write its outputs where Torch writes them."""
        trainable, op = op, freeze(op, self.model.frozen)
        if op is not trainable:
            self.note("frozen: its accGradParameters is a function of the file's")
        fewest, most = op.arity()
        if not fewest <= len(inputs) <= most:
            raise ShapeMismatch(
                f"{op.typename} takes {fewest} tensor(s)" + ("" if fewest == most else " or more"),
                received=", ".join(str(each.value.type) for each in inputs) or "an empty table",
            )
        types = op.output_types(*(tensor.value.type for tensor in inputs))
        for note in op.notes_on(*(tensor.value.type for tensor in inputs)):
            self.note(note)
        keys = self.output_keys(op, len(types))
        windows: tuple[Window | None, ...] = (None,)
        if inputs and op.inplace:
            windows = (inputs[0].window,)
        elif inputs and op.is_view and (inputs[0].window.is_contiguous or not op.copies_scattered):
            windows = op.views(inputs[0].window, types)
        if None in windows and op.is_view and len(keys) == 1 and keys[0] is not None:
            return self.copy_input(op, inputs, types, keys[0])
        if None in windows:
            return self.write_outputs(op, inputs, types, keys)
        return self.view_input(op, inputs, types, keys, cast(tuple[Window, ...], windows))

    def output_keys(self, op: LayerMap, count: int) -> list[Hashable]:
        """What names the tensors that the active module returns at each of its calls.

        None for tensors that it makes anew.
        """
        if op.fresh_output or not self.active:
            return [None] * count
        place = (self.clone, self.active[-1].index, self.emitted[-1])
        self.emitted[-1] += 1
        return [(*place, position) for position in range(count)]

    def view_input(
        self,
        op: LayerMap,
        inputs: list[TorchTensor],
        types: tuple[TensorType, ...],
        keys: list[Hashable],
        windows: tuple[Window, ...],
    ) -> tuple[Value, ...]:
        """A node whose outputs lie in the memory of its first input, written anew or not."""
        storage, source = inputs[0].storage, inputs[0].window
        if op.inplace:
            # The module points its output at the first entry before it reads the others.
            returned = self.memory.outputs.get(keys[0])
            others = [inputs[0] if tensor is returned else tensor for tensor in inputs[1:]]
            op = self.fed_own_output(op, others, storage, source, first=1)
        values = self.append(
            op,
            [self.memory.read(tensor) for tensor in inputs],
            types,
            *[storage.number] * len(types),
        )
        join = op.put_together()
        if join is not None:
            storage.divided.append((source, join, windows))
        for position, (key, window, value) in enumerate(zip(keys, windows, values, strict=True)):
            if op.inplace:
                self.memory.write(storage, window, value)
            else:
                self.memory.note(storage, window, value)
            tensor = self.memory.outputs.get(key) or TorchTensor(storage, window, value)
            self.memory.point(tensor, storage, window, value)
            if not op.inplace and len(inputs) == 1:
                tensor.source = op, position, source
            if key is not None:
                self.memory.outputs[key] = tensor
        return values

    def write_outputs(
        self,
        op: LayerMap,
        inputs: list[TorchTensor],
        types: tuple[TensorType, ...],
        keys: list[Hashable],
    ) -> tuple[Value, ...]:
        """A node whose outputs have memory of their own: what the module wrote to before."""
        contents = [self.memory.read(tensor) for tensor in inputs]
        tensors = [self.memory.outputs.get(key) for key in keys]
        windows = [
            contiguous(type, 0 if tensor is None else tensor.window.offset)
            for type, tensor in zip(types, tensors, strict=True)
        ]
        for tensor, window in zip(tensors, windows, strict=True):
            if tensor is not None:
                op = self.fed_own_output(op, inputs, tensor.storage, window)
        storages = [None if tensor is None else tensor.storage.number for tensor in tensors]
        values = self.append(op, contents, types, *storages)
        for key, tensor, window, value in zip(keys, tensors, windows, values, strict=True):
            if tensor is None:
                tensor = self.memory.allocate(value)
            else:
                storage = tensor.storage
                self.memory.write(storage, window, value)
                shape = op.written_as(value.type)
                if shape is not None:
                    self.memory.resize(tensor, shape, self.count_value)
                    tensor = TorchTensor(storage, window, value)
                self.memory.point(tensor, storage, window, value)
            if key is not None:
                self.memory.outputs[key] = tensor
        return values

    def copy_input(
        self, op: LayerMap, inputs: list[TorchTensor], types: tuple[TensorType, ...], key: Hashable
    ) -> tuple[Value, ...]:
        """A view that is a copy after all: the output is set to a buffer that the module keeps."""
        returned = self.memory.outputs.get(key)
        if op.copies_to_output:
            if returned is None or returned.storage is not inputs[0].storage:
                return self.write_outputs(op, inputs, types, [key])
            values = self.write_outputs(op, inputs, types, [None])
        else:
            values = self.write_outputs(op, inputs, types, [("copy", key)])
        copied = self.memory.tensor(values[0])
        tensor = returned or TorchTensor(copied.storage, copied.window, values[0])
        self.memory.point(tensor, copied.storage, copied.window, values[0])
        self.memory.outputs[key] = tensor
        return values

    def fed_own_output(
        self,
        op: LayerMap,
        inputs: list[TorchTensor],
        storage: TensorStorage,
        window: Window,
        first: int = 0,
    ) -> LayerMap:
        """What `op` computes where some inputs, counted from `first`, lie where it writes."""
        shared = {
            position: tensor.window
            for position, tensor in enumerate(inputs, start=first)
            if tensor.storage is storage and tensor.window.meets(window)
        }
        if not shared:
            return op
        whole = all(each.same_elements(window) for each in shared.values())
        computed = op.fed_own_output(tuple(shared)) if whole else None
        if computed is None:
            raise Overwritten(
                f"{op.typename} is fed memory that it writes to: Torch reads what it has "
                "already overwritten",
                hint=CLONE,
            )
        return computed

    # Memory -------------------------------------------------------------------------------------

    def make_batch(self, tensor: TorchTensor) -> None:
        """Give a tensor a batch of one; whoever else holds it sees that (addSingletonDimension)."""
        window = tensor.window.reshaped((1, *tensor.window.shape))
        assert window is not None
        op, content = MakeBatch(), self.memory.read(tensor)
        types = op.output_types(content.type)
        (batch,) = self.append(op, [content], types, tensor.storage.number)
        self.memory.note(tensor.storage, window, batch)
        self.memory.overwritten.append(tensor.storage)
        self.memory.point(tensor, tensor.storage, window, batch)

    def overwrite(self, old: Value, new: Value) -> None:
        """Write what `new` holds into the memory that `old` sees."""
        tensor, content = self.memory.tensor(old), self.resolve(new)
        self.memory.write(tensor.storage, tensor.window, content)

    @contextmanager
    def cloned(self, *key: Hashable) -> Iterator[None]:
        """Call other clones of the modules: with the same weights, and outputs of their own."""
        outer = self.clone
        self.clone = (*outer, *key)
        try:
            yield
        finally:
            self.clone = outer

    def set_output(self, x: Value) -> Value:
        """The tensor that the active module returns at every call, set to what `x` sees."""
        key = (self.clone, self.active[-1].index, "set")
        source = self.memory.tensor(x)
        value = self.count_value(source.value.type, source.storage.number)
        tensor = self.memory.outputs.setdefault(
            key, TorchTensor(source.storage, source.window, value)
        )
        self.memory.point(tensor, source.storage, source.window, value)
        tensor.source = source.source
        return value

    def copied(self, x: Nested[Value], key: Hashable = "copy") -> Nested[Value]:
        """The active module's own tensors and tables at every call, with what `x` holds now."""
        if isinstance(x, list):
            return self.own_table((self.copied(item, (key, i)) for i, item in enumerate(x)), key)
        if isinstance(x, dict):
            return {name: self.copied(item, (key, name)) for name, item in x.items()}
        content = self.resolve(x)
        kept = self.memory.outputs.get((self.clone, self.active[-1].index, key))
        if kept is None:
            value = self.count_value(content.type)
            window = contiguous(content.type)
            kept = TorchTensor(TensorStorage(value.storage), window, value)
            self.memory.outputs[self.clone, self.active[-1].index, key] = kept
        else:
            value = self.count_value(content.type, kept.storage.number)
            window = contiguous(content.type, kept.window.offset)
        self.memory.write(kept.storage, window, content)
        self.memory.point(kept, kept.storage, window, value)
        return value

    def own_table(
        self, entries: Iterable[Nested[Value]], key: Hashable = None
    ) -> list[Nested[Value]]:
        """The table that the active module returns at every call, with other entries now.

        Entries are taken one after the other, as they are made.
        """
        kept = self.memory.tables.setdefault((self.clone, self.active[-1].index, key), [])
        filled = 0
        for entry in entries:
            kept[filled : filled + 1] = [entry]
            filled += 1
        del kept[filled:]
        return kept

    def current(self, nested: Nested[Value]) -> Nested[Value]:
        """The same tensors and tables, each tensor by the value of its present shape."""
        self.count_handed()
        if isinstance(nested, list):
            nested[:] = [self.current(item) for item in nested]
            return nested
        if isinstance(nested, dict):
            nested.update({key: self.current(item) for key, item in nested.items()})
            return nested
        return self.memory.tensor(nested).value

    def resolve(self, value: Value) -> Value:
        """What is now in the tensor that `value` stands for."""
        return self.memory.read(self.memory.tensor(value))

    def resolve_all(self, nested: Nested[Value]) -> Nested[Value]:
        """`resolve` for every value of a table. Raises Endless where tables hold too much.

        Tables may share tables: what is small in memory can be astronomical to go through.
        """
        self.count_handed()
        if isinstance(nested, list):
            return [self.resolve_all(item) for item in nested]
        if isinstance(nested, dict):
            return {key: self.resolve_all(nested[key]) for key in sorted(nested)}
        return self.resolve(nested)

    def count_handed(self) -> None:
        """One more entry of a table. Raises Endless."""
        self.handed += 1
        if self.handed > MAX_HANDED:
            raise Endless(f"the model hands on more than {MAX_HANDED:,} entries of tables")
