"""Modules that call another module once for every step of a sequence.

A sequence is one tensor with time first, or a Lua table with an entry for each step. The steps
become one loop, whose body is walked once.

Source: Element-Research rnn Sequencer.lua, Repeater.lua, BiSequencer.lua, BiSequencerLM.lua,
RecurrentAttention.lua, MaskZero.lua, TrimZero.lua; Torch forgets all states before the first step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.containers import one_tensor
from porter.layer_maps.slices import Stack
from porter.maps import (
    INT,
    Accepts,
    Array,
    BadTable,
    LayerMap,
    MakesTable,
    Nested,
    OpContext,
    ShapeMismatch,
    Start,
    Table,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    forgetting,
    integer,
    integers_of,
    keep,
    leaves,
    loop,
    map_leaves,
    previous,
    same_structure,
    structure,
)


def stepped(module: TorchObject) -> TorchObject:
    """The module that is called at every step; old files have `module` or `rnn` only."""
    for name in ("module", "rnn"):
        if name in module:
            return module.object(name)
    children = module.list("modules")
    if not children or not isinstance(children[0], TorchObject):
        raise BadTable(f"{module.typename} holds no module for its steps")
    return children[0]


@structure("nn.Sequencer", over_time=True)
def sequencer(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Its module on every element of a tensor (T × …) or entry of a table, from zero states."""
    inner = stepped(module)
    if module.get("_remember") in ("eval", "both"):
        walk.note("Torch remembers the state between calls; here every call starts anew")

    def step(element: Nested[Value]) -> Nested[Value]:
        return walk(inner, element, at="1")

    if isinstance(x, Value):
        if x.type.rank < 2:
            raise ShapeMismatch("nn.Sequencer takes T × …", received=str(x.type))
        outputs = loop(walk, step, x)
        if not isinstance(outputs, Value):
            raise BadTable("nn.Sequencer makes a tensor of a tensor: its module made a table")
        return outputs
    if isinstance(x, dict) or not x:
        raise BadTable("nn.Sequencer should be given a tensor or a list with all steps")
    return over_table(walk, step, x)


def over_table(walk: Walk, step: Any, x: list[Nested[Value]]) -> Nested[Value]:
    """A loop over a table's entries where all are alike, else one call for each."""
    kinds = [[value.type for value in leaves(entry)] for entry in x]
    alike = all(same_structure(x[0], entry) for entry in x) and kinds.count(kinds[0]) == len(x)
    if not alike or len(x) == 1 or not kinds[0]:
        outputs: list[Nested[Value]] = []
        with forgetting(walk):
            for position, entry in enumerate(x):
                with walk.cloned("step", position):
                    outputs.append(step(entry))
        return outputs
    columns = [list(column) for column in zip(*(leaves(entry) for entry in x), strict=True)]
    stacked = [walk.run(Stack(axis=0), *column)[0] for column in columns]
    in_order = iter(stacked)
    stacked_outputs = loop(walk, step, map_leaves(lambda _: next(in_order), x[0]))
    for column, value in zip(columns, stacked, strict=True):
        if walk.resolve(value) is not value:
            for old, new in zip(column, walk.run(Unstack(), value), strict=True):
                walk.overwrite(old, new)
    return entries(walk, stacked_outputs, len(x))


def entries(walk: Walk, outputs: Nested[Value], count: int) -> list[Nested[Value]]:
    """Stacked outputs as a table with one entry for each step."""
    split = {value.id: walk.run(Unstack(), value) for value in leaves(outputs)}

    def entry(position: int) -> Nested[Value]:
        return map_leaves(lambda value: split[value.id][position], outputs)

    return [entry(position) for position in range(count)]


class Unstack(LayerMap, MakesTable):
    """The elements along the first axis, each a tensor."""

    moves = True

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        return (TensorType(x.shape[1:], x.dtype),) * x.static[0]

    def table_axis(self) -> int:
        return 0

    def reference(self, x: Array) -> tuple[Array, ...]:
        return tuple(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tuple(tf.unstack(x, num=len(at.outputs)))


@structure("nn.Repeater")
def repeater(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A table of its module's outputs in `rho` calls on the same input; states carry over."""
    inner, times = stepped(module), module.integer("rho")
    like = next(leaves(x), None)
    if like is None or times < 1:
        raise BadTable("nn.Repeater should be given a tensor, and repeat at least once")
    outputs = loop(walk, lambda _: walk(inner, x, at="1"), [], times, like)
    return entries(walk, outputs, times)


@structure("nn.BiSequencer", over_time=True)
def bi_sequencer(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Forward and backward over a table, merged step by step: the net in `modules[1]`."""
    return walk(walk.only_child(module), x, at="1")


class ZerosLike(LayerMap):
    """Zeros of the same shape."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.zeros_like(x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.zeros_like(x)


@structure("nn.BiSequencerLM", over_time=True)
def bi_sequencer_lm(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """A language model of both sides: step t joins what came before t and what comes after it.

    Forward runs on all steps but the last and is shifted by one, backward on all but the first;
    zeros replace the missing neighbours at both ends.
    """
    if not isinstance(x, list) or len(x) < 2:
        raise BadTable("nn.BiSequencerLM should be given a table of at least 2 steps")
    children = walk.children(module)
    if len(children) != 3:
        raise BadTable("nn.BiSequencerLM holds 3 modules", received=str(len(children)))
    before = walk(children[0], x[:-1], at="1")
    after = walk(children[1], x[1:], at="2")
    assert isinstance(before, list)
    assert isinstance(after, list)
    first, last = (
        map_leaves(lambda value: walk.run(ZerosLike(), value)[0], side[end])
        for side, end in ((before, 0), (after, -1))
    )
    return walk(children[2], [[first, *before], [*after, last]], at="3")


@structure("nn.RecurrentAttention")
def recurrent_attention(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """`nStep` glimpses at one input: where to look depends on what was seen before.

    The action module is first fed zeros of `hiddenSize`. In evaluate mode the recurrent module
    reuses its output's memory and Torch hands out no copies: every entry holds the last step, but
    for the first of nn.Recurrent.
    """
    rnn, action = module.object("rnn"), module.object("action")
    steps = module.integer("nStep")
    image = one_tensor(module, x)
    if steps < 1 or image.type.rank < 2:
        raise ShapeMismatch(
            "nn.RecurrentAttention takes N × … and looks once", received=str(image.type)
        )
    sizes = module.get("hiddenSize")
    hidden = sizes.list() if isinstance(sizes, Table) else module.list("hiddenSize")
    start = Start(
        (image.shape[0], *integers_of(hidden, f"'hiddenSize' of {module.typename}")), batched=True
    )

    def step(_: Nested[Value]) -> Nested[Value]:
        before = previous(walk, module, start, image)
        look = walk(action, before, at="2")
        output = walk(rnn, [image, look], at="1")
        keep(walk, module, output)
        return [output, look] if module.boolean("forwardActions", False) else output

    table = entries(walk, loop(walk, step, [], steps, image), steps)
    if walk.model.options.in_training(rnn, default=True):
        return table
    walk.note("as in Torch's evaluate mode, the entries of the table are the last step's output")
    first = last = table[-1]
    if rnn.typename == "nn.Recurrent":  # its first step is a module apart, with memory of its own
        first = table[0]
        if isinstance(first, list) and isinstance(last, list):
            first = [first[0], *last[1:]]
    return [first, *[last] * (steps - 1)]


class ZeroRows(LayerMap):
    """1 for each sample whose elements are all zero, else 0: N numbers, or one without a batch."""

    sample_rank = integer("nInputDim")

    def output_types(self, *inputs: TensorType) -> Types:
        (x,) = inputs
        return (TensorType(x.shape[: x.rank - self.sample_rank] or (1,), INT),)

    def reference(self, x: Array) -> Array:
        axes = tuple(range(x.ndim - self.sample_rank, x.ndim))
        zero: Array = np.all(x == 0, axis=axes).reshape(-1)
        return zero.astype(np.int64)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        zero = tf.reduce_all(tf.equal(x, 0), axis=list(range(rank - self.sample_rank, rank)))
        return tf.cast(tf.reshape(zero, [-1]), tf.int64)


class MaskedFill(LayerMap):
    """Zeros where the mask says 1, for a whole sample each, or for all where it is one number."""

    def output_types(self, *inputs: TensorType) -> Types:
        x, mask = inputs
        one_for_each = mask.shape in ((1,), x.shape[:1])
        self.require(one_for_each, "masks the samples of", x, mask)
        return (x,)

    def reference(self, x: Array, mask: Array) -> Array:
        return np.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)) == 1, 0, x)

    def apply(self, tf: Any, x: Any, mask: Any, at: OpContext) -> Any:
        for _ in range(at.inputs[0].rank - at.inputs[1].rank):
            mask = tf.expand_dims(mask, -1)
        return tf.where(tf.equal(mask, 1), tf.zeros_like(x), x)


@structure(
    "nn.MaskZero",
    "nn.TrimZero",
    note="TrimZero computes all samples and masks them: the same numbers",
)
def mask_zero(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """Its module, with zeros in every output for samples whose input is all zeros.

    The first tensor of a table decides; around the inner module of an LSTM (`maskZero`) this sets
    output and cell to zero, around the LSTM itself the output only.
    """
    sample_rank = module.integer("nInputDim")
    first = next(leaves(x), None)
    if first is None or first.type.rank - sample_rank not in (0, 1):
        raise ShapeMismatch(
            f"{module.typename} takes {sample_rank} dimensions, and a batch in front",
            received=str(first.type) if first is not None else "an empty table",
        )
    mask = walk.run(ZeroRows(sample_rank=sample_rank), first)[0]
    outputs = walk(stepped(module), x, at="1")
    return map_leaves(lambda value: walk.run(MaskedFill(), value, mask)[0], outputs)
