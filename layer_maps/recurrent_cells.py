"""Modules that remember their output of the previous step.

Each calls its `recurrentModule` on the input and its own last output, starting from zeros. The
inner module is an ordinary net of nn modules, saved in the file: gates, dropout, batch
normalization inside an LSTM and its nngraph spelling need no rule of their own.

Source: Element-Research rnn AbstractRecurrent.lua, LSTM.lua, FastLSTM.lua, GRU.lua, MuFuRu.lua,
Recurrent.lua, Recurrence.lua, Recursor.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor
from porter.layer_maps.sequence_rnn import SeqLSTM
from porter.maps import (
    Array,
    BadField,
    BadTable,
    LayerMap,
    Nested,
    OpContext,
    Param,
    Shape,
    ShapeMismatch,
    Start,
    Storage,
    Table,
    Tensor,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    as_param,
    integers_of,
    keep,
    leaves,
    memory,
    previous,
    step_clone,
    structure,
)


def inner_module(module: TorchObject) -> TorchObject:
    """The module of one step: rnn stores it twice, and calls `recurrentModule`."""
    if "recurrentModule" in module:
        return module.object("recurrentModule")
    children = module.list("modules")
    if not children or not isinstance(children[0], TorchObject):
        raise BadField(f"{module.typename} holds no module for its steps")
    return children[0]


def constant(name: str, tensor: Tensor) -> Param:
    """A tensor of the file that is no weight."""
    return as_param(name, tensor, "ABCDEFGH"[: tensor.array.ndim], trainable=False)


def hidden_start(module: TorchObject, x: Value, user_field: str) -> Start:
    """The hidden state before the first step: the user's, or N×`outputSize` zeros."""
    saved = module.optional_tensor(user_field)
    if saved is not None:
        tensor = constant(user_field, saved)
        return Start(tensor.shape, batched=False, initial=tensor)
    # getHiddenState: an input of 2 dimensions is a batch, any other is one sample.
    batched = x.type.rank == 2
    batch = (x.shape[0],) if batched else ()
    return Start((*batch, module.integer("outputSize")), batched)


@structure("nn.LSTM", "nn.FastLSTM")
def lstm(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """h, c = recurrentModule{x, h, c}; gives h."""
    if "weight" in module and module.typename == "nn.LSTM":
        return torch_rnn_lstm(walk, module, x)
    x = one_tensor(module, x)
    start: list[Nested[Start]] = [
        hidden_start(module, x, "userPrevOutput"),
        hidden_start(module, x, "userPrevCell"),
    ]
    before = previous(walk, module, start, x)
    assert isinstance(before, list)
    with step_clone(walk, module):
        outputs = walk(inner_module(module), [x, *before], at="1")
    if not isinstance(outputs, list) or len(outputs) != 2:
        raise BadTable(f"the inner module of {module.typename} should make an output and a cell")
    keep(walk, module, outputs)
    return outputs[0]


def torch_rnn_lstm(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The class of the same name in jcjohnson/torch-rnn: a whole sequence, batch first."""
    op = SeqLSTM.from_torch(module, walk.model.options).evolve(batch_first=True)
    walk.note("torch-rnn's nn.LSTM: N×T×D; it starts from zero state at every call")
    return walk.emit(op, *leaves(x))


@structure("nn.GRU", "nn.MuFuRu")
def gru(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """h = recurrentModule{x, h}."""
    x = one_tensor(module, x)
    before = previous(walk, module, hidden_start(module, x, "userPrevOutput"), x)
    with step_clone(walk, module):
        outputs = walk(inner_module(module), [x, before], at="1")
    keep(walk, module, outputs)
    return outputs


@structure("nn.Recursor")
def recursor(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The output of the module inside, which holds the state."""
    with step_clone(walk, module):
        return walk(inner_module(module), x, at="1")


@structure("nn.Recurrence")
def recurrence(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """y = module{x, y}, y starting from zeros of `outputSize`, which may be a table of sizes."""
    first = next(leaves(x), None)
    if first is None:
        raise BadTable("nn.Recurrence should be given a tensor", received="an empty table")
    sample_rank = module.integer("nInputDim")
    extra = first.type.rank - sample_rank
    if extra not in (0, 1):
        raise ShapeMismatch(
            f"nn.Recurrence takes {sample_rank} dimensions, and a batch in front",
            received=str(first.type),
        )
    batch = first.shape[:extra]
    saved = module.optional_tensor("userPrevOutput")
    start: Nested[Start]
    if saved is not None:
        tensor = constant("userPrevOutput", saved)
        start = Start(tensor.shape, batched=False, initial=tensor)
    else:
        start = zeros_of(module, module.get("outputSize"), batch)
    before = previous(walk, module, start, first)
    with step_clone(walk, module):
        outputs = walk(inner_module(module), [x, before], at="1")
    keep(walk, module, outputs)
    return outputs


def zeros_of(module: TorchObject, size: Any, batch: Shape) -> Nested[Start]:
    """Recurrence.lua `recursiveResizeZero`: a list of numbers is a shape, of tables a table."""
    if isinstance(size, Storage):
        numbers: list[Any] = np.asarray(size.array).tolist()
    elif isinstance(size, Table):
        numbers = size.list()
    else:
        numbers = [size]
    if numbers and isinstance(numbers[-1], Table | Storage):
        return [zeros_of(module, each, batch) for each in numbers]
    sizes = integers_of(numbers, f"'outputSize' of {module.typename}")
    if min(sizes, default=0) < 0:
        raise BadField(f"'outputSize' of {module.typename} should hold sizes", received=str(sizes))
    return Start((*batch, *sizes), bool(batch))


class FirstStep(LayerMap):
    """One value at the first step of a loop, another at all later ones."""

    def output_types(self, *inputs: TensorType) -> Types:
        _, first, later = inputs
        self.require(first == later, "makes the same shape at every step", first, later)
        return (first,)

    def reference(self, number: Array, first: Array, later: Array) -> Array:
        return first if number == 0 else later

    def apply(self, tf: Any, number: Any, first: Any, later: Any, at: OpContext) -> Any:
        return tf.where(tf.equal(number, 0), first, later)


@structure("nn.Recurrent")
def recurrent(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """y = transfer(merge{input(x), feedback(y)}); at the first step transfer(start(input(x))).

    In a loop both are computed and the step's number chooses; the input module, which Torch has
    cloned with shared weights, runs once.
    """
    states = memory(walk)
    with step_clone(walk, module):
        from_input = walk(module.object("inputModule"), x, at="2")
        if module.index in states.last:
            before = walk.current(states.last[module.index])
            output = later_step(walk, module, x, from_input, before)
        else:
            # Recurrent.lua `buildInitialModule` clones what the first step has in common.
            with walk.cloned("first step"):
                started = walk(module.object("startModule"), from_input, at="1")
                output = walk(module.object("transferModule"), started, at="4")
        if module.index not in states.last and states.frame is not None:
            first, like = one_tensor(module, output), next(leaves(x))
            batched = first.type.rank > 1 and first.shape[0] == like.shape[0]
            before = previous(walk, module, Start(first.shape, batched), like)
            later = one_tensor(module, later_step(walk, module, x, from_input, before))
            output = walk.emit(FirstStep(), states.frame.number, first, later)
    keep(walk, module, output)
    return output


def later_step(
    walk: Walk,
    module: TorchObject,
    x: Nested[Value],
    from_input: Nested[Value],
    before: Nested[Value],
) -> Nested[Value]:
    """transfer(merge{input(x), feedback(y)}), or the module that `maskZero` wrapped around it."""
    inner = module.get("recurrentModule")
    if isinstance(inner, TorchObject) and inner.typename in ("nn.MaskZero", "nn.TrimZero"):
        return walk(inner, [x, before], at="1")
    from_output = walk(module.object("feedbackModule"), before, at="3")
    merged = walk(module.object("mergeModule"), [from_input, from_output], at="5")
    return walk(module.object("transferModule"), merged, at="4")
