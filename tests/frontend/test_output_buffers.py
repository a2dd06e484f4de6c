"""Modules that are called more than once: each has one output, which the next call overwrites.

Random nets of such modules are compared with Torch's memory rules, spelled out in NumPy.

`python -m tests.frontend.test_output_buffers 500 SEED` runs more of them.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from porter.errors import Overwritten, PorterError, ShapeMismatch, WalkError
from porter.frontend.inputs import types_of
from porter.frontend.search import solve
from porter.ir import graph as graphs
from porter.ir.nested import Nested, leaves
from porter.parity import compare as parity
from porter.parity.measure import compare
from porter.runtime import reference
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    batch_norm,
    concat_table,
    container,
    conv,
    identity,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    run,
    sequential,
    torch_module,
    view,
)
from tests.torch_memory import Torch, Unusable, arrays, tensor_of

X = randn(2, 3, 4, 4).astype(np.float64)
NEGATIVE, POSITIVE = -np.abs(X), np.abs(X)


def outputs_of(net: TorchObject, x: Any) -> list[Array]:
    output: Nested[Array] = run(net, x)
    return list(leaves(output))


def plus(value: float) -> TorchObject:
    return torch_module("nn.AddConstant", constant_scalar=value)


@pytest.mark.parametrize(
    ("module", "second"),
    [
        pytest.param(torch_module("nn.Tanh"), np.tanh(NEGATIVE), id="own buffer"),
        pytest.param(relu(inplace=True), np.zeros_like(X), id="set in place"),
        pytest.param(view(3, 16), NEGATIVE.reshape(2, 3, 16), id="View sets its output"),
        pytest.param(torch_module("nn.Squeeze"), NEGATIVE, id="Squeeze sets its output"),
        pytest.param(torch_module("nn.GradientReversal"), NEGATIVE, id="set to the input"),
        pytest.param(sequential(plus(1), relu()), np.maximum(NEGATIVE + 1, 0), id="of the child"),
    ],
)
def test_what_the_first_call_returned_is_what_the_second_did(
    module: TorchObject, second: Array
) -> None:
    for output in outputs_of(parallel_table(module, module), [POSITIVE, NEGATIVE]):
        np.testing.assert_array_equal(output, second)


@pytest.mark.parametrize("module", [identity(), torch_module("nn.L1Penalty", l1weight=1)])
def test_a_module_that_returns_its_input_has_no_output_of_its_own(module: TorchObject) -> None:
    first, second = outputs_of(parallel_table(module, module), [POSITIVE, NEGATIVE])
    np.testing.assert_array_equal(first, POSITIVE)
    np.testing.assert_array_equal(second, NEGATIVE)


def test_the_table_of_a_container_is_filled_again() -> None:
    """The first entry is the input itself, which no later call overwrites; but the table is one."""
    both = concat_table(identity(), torch_module("nn.Tanh"))
    outputs = outputs_of(parallel_table(both, both), [POSITIVE, NEGATIVE])
    for output, expected in zip(outputs, [NEGATIVE, np.tanh(NEGATIVE)] * 2, strict=True):
        np.testing.assert_array_equal(output, expected)


def test_slices_are_new_tensors_at_every_call() -> None:
    split = sequential(torch_module("nn.SplitTable", dimension=1))
    outputs = outputs_of(parallel_table(split, split), [POSITIVE, NEGATIVE])
    for output, expected in zip(outputs, [*POSITIVE, *NEGATIVE], strict=True):
        np.testing.assert_array_equal(output, expected)


def test_clones_of_a_map_table_have_outputs_of_their_own() -> None:
    tanh = torch_module("nn.Tanh")
    each = container("nn.MapTable", tanh, module=tanh)
    first, second = outputs_of(each, [POSITIVE, NEGATIVE])
    np.testing.assert_array_equal(first, np.tanh(POSITIVE))
    np.testing.assert_array_equal(second, np.tanh(NEGATIVE))


def test_a_smaller_second_call_resizes_what_the_first_returned() -> None:
    tanh = torch_module("nn.Tanh")
    first, second = outputs_of(parallel_table(tanh, tanh), [POSITIVE, NEGATIVE[:1]])
    np.testing.assert_array_equal(first, np.tanh(NEGATIVE[:1]))
    np.testing.assert_array_equal(second, np.tanh(NEGATIVE[:1]))


def test_a_view_sees_the_first_elements_of_a_resized_tensor() -> None:
    """The storage is kept: behind the new elements lie those of the first call."""
    tanh = torch_module("nn.Tanh")
    net = parallel_table(sequential(tanh, view(96)), tanh)
    first, _ = outputs_of(net, [POSITIVE, NEGATIVE[:1]])
    expected = [*np.tanh(NEGATIVE[0]).ravel(), *np.tanh(POSITIVE[1]).ravel()]
    np.testing.assert_array_equal(first, expected)


def test_rows_of_a_shared_lookup_table_lose_their_batch() -> None:
    """LookupTable.lua views its output as N×T×D after it wrote N·T rows: nobody views the first."""
    table = torch_module("nn.LookupTable", weight=randn(5, 2))
    words = [np.array([[1, 2, 3]]), np.array([[3, 4, 5]])]
    first, second = outputs_of(parallel_table(table, table), words)
    assert (first.shape, second.shape) == ((3, 2), (1, 3, 2))
    np.testing.assert_array_equal(first, second[0])


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(linear(4, 4), id="Linear"),
        pytest.param(
            torch_module("nn.SpatialMaxPooling", kW=3, kH=3, dW=1, dH=1, padW=1, padH=1),
            id="pooling",
        ),
        pytest.param(conv(3, 3, kernel=2), id="a convolution that resizes its input"),
    ],
)
def test_a_module_that_reads_what_it_writes_is_refused(module: TorchObject) -> None:
    x = randn(2, 4) if module.typename == "nn.Linear" else X
    with pytest.raises(WalkError, match="is fed memory that it writes to") as caught:
        run(sequential(module, module), x)
    assert "clone" in str(caught.value.hint)


def test_what_is_read_before_it_is_written_may_be_fed_its_own_output() -> None:
    for module in (conv(3, 3, pad=1), torch_module("nn.Tanh"), batch_norm(3, train=False)):
        once = run(module, X)
        (twice,) = outputs_of(sequential(module, module), X)
        np.testing.assert_array_equal(twice, run(module, once))


@pytest.mark.parametrize("train", [True, False])
def test_steps_of_a_recurrent_module_share_an_output_in_evaluation_only(train: bool) -> None:
    """AbstractRecurrent.lua: in training each step is a clone's."""
    inner = sequential(torch_module("nn.CAddTable"), torch_module("nn.Tanh"))
    cell = torch_module(
        "nn.Recurrence", recurrentModule=inner, outputSize=3, nInputDim=1, train=train
    )
    x = [randn(2, 3, seed=seed).astype(np.float64) for seed in (1, 2)]
    first = np.tanh(x[0])
    second = np.tanh(x[1] + first)
    outputs = outputs_of(parallel_table(cell, cell), x)
    np.testing.assert_allclose(outputs[0], first if train else second, rtol=1e-6)
    np.testing.assert_allclose(outputs[1], second, rtol=1e-6)


def test_a_second_call_of_a_sequencer_overwrites_the_steps_of_the_first() -> None:
    """Sequencer.lua copies each step to a tensor that it keeps."""
    steps = torch_module("nn.Sequencer", module=torch_module("nn.Tanh"))
    x = [[randn(2, 3, seed=seed + i).astype(np.float64) for i in range(2)] for seed in (0, 5)]
    outputs = outputs_of(parallel_table(steps, steps), x)
    for output, entry in zip(outputs, [*x[1], *x[1]], strict=True):
        np.testing.assert_allclose(output, np.tanh(entry), rtol=1e-6)


@pytest.mark.parametrize(
    "module",
    [
        torch_module("nn.Reshape", size=[6], batchMode=False),
        torch_module("nn.Collapse", nInputDim=2),
        torch_module("nn.Contiguous"),
    ],
    ids=["Reshape", "Collapse", "Contiguous"],
)
def test_a_view_that_has_to_copy_leaves_alone_what_it_saw_before(module: TorchObject) -> None:
    """First set to the whole, then a copy of a column of it: in a buffer of its own."""
    x = np.arange(12.0).reshape(2, 3, 2)
    column = sequential(
        torch_module("nn.SplitTable", dimension=3), torch_module("nn.SelectTable", index=1), module
    )
    whole = sequential(torch_module("nn.SplitTable", dimension=1), parallel_table(module))
    _, copied, again = outputs_of(concat_table(whole, column, identity()), x)
    np.testing.assert_array_equal(copied.ravel(), x[..., 0].ravel())
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("typename", ["nn.DataParallelTable", "nn.DataParallel"])
def test_replicas_return_copies_in_a_tensor_of_their_container(typename: str) -> None:
    """DataParallelTable.lua `_concat`, AbstractParallel.lua `updateOutput`."""
    replicas = container(typename, identity(), dimension=1)
    for output in outputs_of(parallel_table(replicas, replicas), [POSITIVE, NEGATIVE]):
        np.testing.assert_array_equal(output, NEGATIVE)
    changed = concat_table(identity(), sequential(replicas, relu(inplace=True)))
    before, after = outputs_of(changed, X)
    np.testing.assert_array_equal(before, X)
    np.testing.assert_array_equal(after, np.maximum(X, 0))


def test_replicas_return_tables_of_copies() -> None:
    replicas = container("nn.DataParallelTable", concat_table(identity(), plus(1)), dimension=1)
    in_place = parallel_table(relu(inplace=True), identity())
    first, second, third = outputs_of(
        sequential(
            concat_table(identity(), sequential(replicas, in_place)),
            torch_module("nn.FlattenTable"),
        ),
        X,
    )
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, np.maximum(X, 0))
    np.testing.assert_array_equal(third, X + 1)


@pytest.mark.parametrize(
    ("typename", "fields", "is_copied"),
    [
        ("nn.DataParallelTable", {"dimension": 1}, True),
        ("nn.DataParallel", {"dimension": 1}, False),
        ("nn.GPU", {"device": 1}, False),
        ("nn.DontCast", {"castin": False, "castout": False}, False),
        ("nn.DontCast", {"castin": True, "castout": True, "moduleType": "torch.Double"}, True),
        (
            "nn.DontCast",
            {"castin": True, "castout": True, "moduleType": "torch.FloatTensor"},
            False,
        ),
    ],
)
def test_what_works_in_place_inside_changes_the_input_unless_that_was_copied(
    typename: str, fields: dict[str, Any], is_copied: bool
) -> None:
    """The share of an nn.DataParallel's own GPU is a view of its input."""
    inside = container(typename, relu(inplace=True), output=randn(1), **fields)
    before, after = outputs_of(concat_table(identity(), inside), X)
    np.testing.assert_array_equal(before, X if is_copied else np.maximum(X, 0))
    np.testing.assert_array_equal(after, np.maximum(X, 0))


def test_entries_that_are_the_output_are_added_as_they_are_by_then() -> None:
    """CAddTable(true): the third entry is the first, to which the second was added."""
    halves = concat_table(plus(0.5), identity())
    net = sequential(
        halves,
        concat_table(
            torch_module("nn.SelectTable", index=1),
            torch_module("nn.SelectTable", index=2),
            sequential(torch_module("nn.SelectTable", index=1), view(3, 4, 4)),
        ),
        torch_module("nn.CAddTable", inplace=True),
    )
    (output,) = outputs_of(net, X)
    np.testing.assert_allclose(output, 2 * (X + 0.5 + X))


def test_a_layer_that_reads_its_own_output_is_all_that_is_said() -> None:
    """No input size mends that, so that none is asked for."""
    again = linear(6, 6)
    small = torch_module("nn.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2)
    net = sequential(conv(3, 4, pad=1), small, view(64, sample_rank=3), linear(64, 6), again, again)
    with pytest.raises(Overwritten, match="memory that it writes to") as caught:
        solve(model(net))
    assert caught.value.where == "6 (nn.Linear)"
    assert "size" not in str(caught.value)


def test_an_unsqueeze_counts_dimensions_as_at_its_first_call() -> None:
    """Unsqueeze.lua `_getActualPosition` keeps `numInputDims`, also where the file has none."""
    unsqueeze = torch_module("nn.Unsqueeze", pos=2)
    matrix = sequential(torch_module("nn.Select", dimension=1, index=1), view(3, 16))
    small_first = concat_table(sequential(matrix, unsqueeze), sequential(identity(), unsqueeze))
    shapes = [value.shape for value in leaves(model(small_first).walk(types_of(X)).outputs)]
    assert shapes[1] == (2, 3, 4, 1, 4)
    large_first = concat_table(unsqueeze, sequential(matrix, unsqueeze))
    with pytest.raises(ShapeMismatch, match="adds dimension 2"):
        model(large_first).walk(types_of(X))


PLANES = 3
NETS = 60


class Generator:
    """Nets from an image to images; with `reuse`, modules that were made before come again."""

    def __init__(self, seed: int, reuse: float) -> None:
        self.random = random.Random(seed)
        self.reuse = reuse
        self.modules: dict[str, list[TorchObject]] = {}

    def again(self, kind: str, make: Any) -> TorchObject:
        """A module of this kind: a new one, or with some luck one that is there already."""
        of_kind = self.modules.setdefault(kind, [])
        if of_kind and self.random.random() < self.reuse:
            return self.random.choice(of_kind)
        of_kind.append(make())
        return of_kind[-1]

    def layer(self) -> TorchObject:
        """A layer that keeps the shape of an image."""
        seed = self.random.randrange(9)
        kinds = {
            "conv3": lambda: conv(PLANES, PLANES, pad=1, seed=seed),
            "conv1": lambda: conv(PLANES, PLANES, kernel=1, seed=seed),
            "pool": lambda: torch_module(
                "nn.SpatialMaxPooling", kW=3, kH=3, dW=1, dH=1, padW=1, padH=1
            ),
            "bn": lambda: batch_norm(PLANES, seed=seed, train=False),
            "relu": relu,
            "relu in place": lambda: relu(inplace=True),
            "leaky in place": lambda: torch_module("nn.LeakyReLU", negval=0.2, inplace=True),
            "tanh": lambda: torch_module("nn.Tanh"),
            "square": lambda: torch_module("nn.Square"),
            "times": lambda: torch_module("nn.MulConstant", constant_scalar=2, inplace=True),
            "plus": lambda: torch_module("nn.AddConstant", constant_scalar=-0.5),
            "identity": identity,
            "contiguous": lambda: torch_module("nn.Contiguous"),
        }
        kind = self.random.choice(list(kinds))
        return self.again(kind, kinds[kind])

    def views(self) -> TorchObject:
        """Through views and back to the same shape."""
        inner = self.layer_for_anything()
        kind = self.random.choice(["unsqueeze", "flat", "slices", "replicate"])
        if kind == "unsqueeze":
            return sequential(
                self.again("unsqueeze", lambda: torch_module("nn.Unsqueeze", pos=2)),
                inner,
                self.again("squeeze", lambda: torch_module("nn.Squeeze", dim=2)),
            )
        if kind == "replicate":
            return sequential(
                self.again("rep", lambda: torch_module("nn.Replicate", nfeatures=2, dim=1)),
                inner,
                self.again("first", lambda: torch_module("nn.SplitTable", dimension=1)),
                torch_module("nn.SelectTable", index=self.random.choice([1, 2, -1])),
            )
        if kind == "flat":
            return sequential(
                self.again("flat", lambda: view(PLANES, 16)),
                inner,
                self.again("unflat", lambda: view(PLANES, 4, 4)),
            )
        parts = [self.layer_for_anything() for _ in range(PLANES)]
        unsqueezes = [
            self.again("unsqueeze", lambda: torch_module("nn.Unsqueeze", pos=2))
            for _ in range(PLANES)
        ]
        return sequential(
            torch_module("nn.SplitTable", dimension=2),
            parallel_table(*parts),
            parallel_table(*unsqueezes),
            self.again("join", lambda: torch_module("nn.JoinTable", dimension=2)),
        )

    def layer_for_anything(self) -> TorchObject:
        """A layer for tensors of any shape."""
        kinds = {
            "relu": relu,
            "relu in place": lambda: relu(inplace=True),
            "tanh": lambda: torch_module("nn.Tanh"),
            "times": lambda: torch_module("nn.MulConstant", constant_scalar=2, inplace=True),
            "plus in place": lambda: torch_module(
                "nn.AddConstant", constant_scalar=0.5, inplace=True
            ),
            "identity": identity,
        }
        kind = self.random.choice(list(kinds))
        return self.again(kind, kinds[kind])

    def merge(self, count: int) -> list[TorchObject]:
        """A table of images made one image."""
        kind = self.random.choice(["add", "add in place", "mul", "max", "select", "join"])
        if kind == "join":
            joined = [self.again("join", lambda: torch_module("nn.JoinTable", dimension=2))]
            return [*joined, self.again(f"less {count}", lambda: conv(PLANES * count, PLANES, 1))]
        if kind == "select":
            return [torch_module("nn.SelectTable", index=self.random.randint(1, count))]
        table = {"mul": "nn.CMulTable", "max": "nn.CMaxTable"}.get(kind, "nn.CAddTable")
        inplace = kind == "add in place"
        return [self.again(kind, lambda: torch_module(table, inplace=inplace))]

    def block(self, depth: int) -> TorchObject:
        """A net from an image to one of the same shape."""
        kinds = ["layer", "layer", "views", "chain", "branches", "concat", "tables"]
        kind = self.random.choice(kinds[: 3 if depth == 0 else None])
        if kind == "layer":
            return self.layer()
        if kind == "views":
            return self.views()
        if self.random.random() < self.reuse / 3:
            return self.again("block", lambda: self.new_block(kind, depth))
        return self.new_block(kind, depth)

    def new_block(self, kind: str, depth: int) -> TorchObject:
        parts = [self.block(depth - 1) for _ in range(self.random.randint(2, 3))]
        if kind == "chain":
            return sequential(*parts)
        if kind == "concat":
            joined = container("nn.Concat", *parts, dimension=2)
            fewer = self.again(
                f"less {len(parts)}", lambda: conv(PLANES * len(parts), PLANES, kernel=1)
            )
            return sequential(joined, fewer)
        branches = concat_table(*parts)
        if kind == "branches":
            return sequential(branches, *self.merge(len(parts)))
        nested = concat_table(branches, self.block(depth - 1))
        flat = torch_module("nn.FlattenTable")
        if self.random.random() < 0.5:
            narrow = torch_module("nn.NarrowTable", offset=self.random.randint(1, 2), length=2)
            return sequential(nested, flat, narrow, *self.merge(2))
        each = parallel_table(*(self.block(depth - 1) for _ in range(len(parts) + 1)))
        return sequential(nested, flat, each, *self.merge(len(parts) + 1))

    def net(self) -> TorchObject:
        start = conv(3, PLANES, pad=1, seed=self.random.randrange(9))
        body = [self.block(depth=2) for _ in range(self.random.randint(1, 3))]
        if self.random.random() < 0.3:
            body.append(concat_table(self.block(1), self.block(1)))
        if self.random.random() < self.reuse / 2:
            # At another size: what was returned before is resized.
            smaller = torch_module("nn.SpatialMaxPooling", kW=2, kH=2, dW=2, dH=2)
            body += [smaller, self.layer_for_anything(), self.layer_for_anything()]
        return sequential(start, *body)


def check(seed: int) -> str:
    """Compare a random net with Torch's rules; returns what came of it."""
    chance = random.Random(seed)
    net = Generator(seed, reuse=chance.choice([0.0, 0.3, 0.6])).net()
    x = randn(chance.randint(2, 3), 3, 4, 4, seed=seed)
    try:
        expected = [*leaves(arrays(Torch().forward(net, tensor_of(x))))]
    except Unusable as refused:
        with pytest.raises(PorterError):
            model(net).walk(types_of(x))
        return f"refused: {refused}"
    graph = model(net).walk(types_of(x))
    graphs.verify(graph)
    values = reference.run(graph, parity.bind(graph.inputs, x))
    outputs = [values[value.id] for value in leaves(graph.outputs)]
    assert [each.shape for each in outputs] == [each.shape for each in expected]
    for mine, theirs in zip(outputs, expected, strict=True):
        assert compare(theirs, mine).within(1e-12), f"seed {seed}"
    return "agrees"


@pytest.mark.parametrize("seed", range(NETS))
def test_a_net_with_shared_modules_means_what_torch_does(seed: int) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        check(seed)


if __name__ == "__main__":
    count, first = int(sys.argv[1]), int(sys.argv[2])
    print(Counter(check(seed) for seed in range(first, first + count)))
