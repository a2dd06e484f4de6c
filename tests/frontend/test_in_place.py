"""In-place layers: whoever holds the same memory sees what they write, as in Torch."""

from __future__ import annotations

import numpy as np
import pytest

from porter.ir.merge import merge
from porter.ir.nested import Nested, leaves
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    concat_table,
    container,
    conv,
    identity,
    image,
    model,
    parallel_table,
    relu,
    run,
    sequential,
    torch_module,
    view,
)

X = np.array([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]])
POSITIVE = np.maximum(X, 0)


def overwrite() -> TorchObject:
    return relu(inplace=True)


def double() -> TorchObject:
    return torch_module("nn.MulConstant", constant_scalar=2, inplace=True)


def split(dimension: int) -> TorchObject:
    return torch_module("nn.SplitTable", dimension=dimension)


def reshape(*size: int, batch: bool | None = None) -> TorchObject:
    return torch_module("nn.Reshape", size=list(size), batchMode=batch)


def first() -> TorchObject:
    return torch_module("nn.SelectTable", index=1)


def outputs_of(net: TorchObject) -> list[Array]:
    output: Nested[Array] = run(net, X)
    return list(leaves(output))


SHARED = [
    pytest.param(identity(), POSITIVE, id="Identity"),
    pytest.param(view(6), POSITIVE.reshape(6), id="View"),
    pytest.param(reshape(6), POSITIVE.reshape(6), id="Reshape"),
    pytest.param(torch_module("nn.Unsqueeze", pos=1), POSITIVE[None], id="Unsqueeze"),
    pytest.param(torch_module("nn.Squeeze"), POSITIVE, id="Squeeze"),
]

COPIED = [
    pytest.param(torch_module("nn.Select", dimension=1, index=1), POSITIVE[0], id="Select"),
    pytest.param(
        torch_module("nn.Narrow", dimension=1, index=1, length=1), POSITIVE[:1], id="Narrow"
    ),
    pytest.param(torch_module("nn.Transpose", permutations=[[1, 2]]), POSITIVE.T, id="Transpose"),
]


@pytest.mark.parametrize(("module", "expected"), SHARED)
def test_a_view_and_its_input_see_each_other(module: TorchObject, expected: Array) -> None:
    through, whole = outputs_of(concat_table(sequential(module, overwrite()), identity()))
    np.testing.assert_array_equal(through, expected)
    np.testing.assert_array_equal(whole, POSITIVE)


@pytest.mark.parametrize(("module", "expected"), COPIED)
def test_a_copy_leaves_its_input_alone(module: TorchObject, expected: Array) -> None:
    through, whole = outputs_of(concat_table(sequential(module, overwrite()), identity()))
    np.testing.assert_array_equal(through, expected)
    np.testing.assert_array_equal(whole, X)


def test_concat_copies_after_all_children_ran() -> None:
    net = container("nn.Concat", identity(), sequential(identity(), overwrite()), dimension=1)
    np.testing.assert_array_equal(outputs_of(net)[0], np.concatenate([POSITIVE, POSITIVE]))


def test_slices_of_one_tensor_do_not_see_each_other() -> None:
    pieces = outputs_of(sequential(split(1), parallel_table(overwrite(), identity())))
    np.testing.assert_array_equal(pieces, [POSITIVE[0], X[1]])


def test_parallel_runs_in_place_on_its_slices() -> None:
    net = container("nn.Parallel", overwrite(), identity(), inputDimension=1, outputDimension=1)
    np.testing.assert_array_equal(outputs_of(net)[0], [*POSITIVE[0], *X[1]])


def test_the_whole_is_read_as_its_slices_were_overwritten() -> None:
    through, whole = outputs_of(
        concat_table(sequential(split(1), first(), overwrite()), identity())
    )
    np.testing.assert_array_equal(through, POSITIVE[0])
    np.testing.assert_array_equal(whole, [POSITIVE[0], X[1]])


def test_reshape_copies_what_is_not_contiguous() -> None:
    column = sequential(split(2), first(), reshape(2, 1), overwrite())
    through, whole = outputs_of(concat_table(column, identity()))
    np.testing.assert_array_equal(through, POSITIVE[:, :1])
    np.testing.assert_array_equal(whole, X)


@pytest.mark.parametrize(("copied", "factor"), [(False, 8), (True, 2)])
def test_in_place_on_an_expanded_tensor_writes_each_element_once_per_repeat(
    copied: bool, factor: int
) -> None:
    between = [reshape(2, 3, batch=True)] if copied else []
    (out,) = outputs_of(sequential(torch_module("nn.Replicate", nfeatures=3), *between, double()))
    np.testing.assert_array_equal(out, np.stack([X * factor] * 3))


def test_a_value_overwritten_twice_is_read_as_it_is_last() -> None:
    net = concat_table(
        view(6), sequential(view(3, 2), overwrite()), sequential(identity(), view(6), double())
    )
    for out in outputs_of(net):
        np.testing.assert_array_equal(out.reshape(6), 2 * POSITIVE.reshape(6))


@pytest.mark.parametrize(
    "through",
    [
        sequential(torch_module("nn.Squeeze", dim=2), overwrite()),
        sequential(torch_module("nn.View", size=[16], numInputDims=3), overwrite()),
        sequential(split(2), parallel_table(overwrite())),
    ],
    ids=["Squeeze", "View", "SplitTable"],
)
def test_sizes_stay_open_where_the_original_is_read_again(through: TorchObject) -> None:
    net = sequential(conv(3, 1, pad=1), concat_table(through, identity()))
    walked = model(net)
    one, other = (walked.walk(image(batch, 3, 4, 4)) for batch in (2, 5))
    merged = merge(one, other)
    assert merged is not None
    *_, whole = leaves(merged.outputs)
    assert whole.type.shape == (None, 1, 4, 4)
