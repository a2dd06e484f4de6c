"""Which sizes of an input are free, found by walking the model with others."""

from __future__ import annotations

import pytest

from porter.emit.port import build_widest
from porter.frontend.dynamic import candidates, generalise
from porter.frontend.least_sizes import least_sizes
from porter.ir.graph import TensorType, verify
from porter.ir.nested import Nested, leaves
from porter.runtime.runner import Variables
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import (
    classifier,
    conv,
    image,
    linear,
    model,
    parallel_table,
    randn,
    relu,
    sequential,
    small_net,
    torch_module,
    view,
)

Sizes = list[tuple[int | None, ...]]


def free(net: TorchObject, types: Nested[TensorType], keep: int = 0) -> tuple[Sizes, Sizes]:
    """Shapes of inputs and outputs with what is free left open."""
    graph = generalise(model(net), types, keep)
    verify(graph)
    return (
        [value.type.shape for value in leaves(graph.inputs)],
        [value.type.shape for value in leaves(graph.outputs)],
    )


def test_a_convolutional_net_takes_any_batch_height_and_width() -> None:
    assert free(small_net(), image(2, 3, 8, 8)) == (
        [(None, 3, None, None)],
        [(None, 2, None, None)],
    )


def test_freedom_can_be_given_up() -> None:
    assert free(small_net(), image(2, 3, 8, 8), keep=1)[0] == [(None, 3, 8, 8)]
    assert free(small_net(), image(2, 3, 8, 8), keep=2)[0] == [(2, 3, 8, 8)]


def test_a_net_with_a_linear_layer_keeps_its_size_and_any_batch() -> None:
    assert free(classifier(), image(2, 3, 8, 8)) == ([(None, 3, 8, 8)], [(None, 5)])


def test_a_net_that_rounds_one_more_row_away_keeps_its_size() -> None:
    # 8 rows and 7 make the same 4 rows: only twice as many tell that the size is fixed.
    net = sequential(conv(3, 4, pad=1, stride=2), relu(), view(64, sample_rank=3), linear(64, 5))
    assert free(net, image(2, 3, 7, 7))[0] == [(None, 3, 7, 7)]


def test_height_and_width_are_free_alone() -> None:
    flatten_width = sequential(conv(3, 2, kernel=1), view(2, -1, sample_rank=3))
    inputs, outputs = free(flatten_width, image(2, 3, 4, 6))
    assert inputs == [(None, 3, None, None)]
    assert outputs == [(None, 2, None)]
    assert free(sequential(relu(), view(4, 6)), image(2, 4, 6))[0] == [(None, 4, 6)]


def test_a_fixed_view_without_batch_leaves_nothing_free() -> None:
    reshape = torch_module("nn.Reshape", size=[6, 8], batchMode=False)
    assert free(sequential(relu(), reshape), image(2, 4, 6)) == ([(2, 4, 6)], [(6, 8)])


def test_two_inputs_to_be_added_change_together() -> None:
    net = sequential(parallel_table(relu(), relu()), torch_module("nn.CAddTable"))
    inputs, outputs = free(net, [image(2, 3, 8, 9), image(2, 3, 8, 9)])
    assert inputs == [(None, None, None, None)] * 2
    assert outputs == [(None, None, None, None)]


def test_two_inputs_that_have_nothing_in_common_are_free_each_by_itself() -> None:
    net = parallel_table(conv(3, 2), linear(7, 4))
    inputs, outputs = free(net, [image(2, 3, 8, 9), image(2, 7)])
    assert inputs == [(None, 3, None, None), (None, 7)]
    assert outputs == [(None, 2, None, None), (None, 4)]


@pytest.mark.parametrize("steps", [2, 7])
def test_the_batch_behind_time_is_that_of_other_inputs(steps: int) -> None:
    last = torch_module("nn.Select", dimension=1, index=-1)
    recurrent = torch_module("nn.SeqLSTM", weight=randn(11, 20), bias=randn(20))
    join = torch_module("nn.JoinTable", dimension=2, nInputDims=0)
    net = sequential(parallel_table(sequential(recurrent, last), linear(4, 5)), join)
    types = [TensorType((steps, 2, 6)), TensorType((2, 4))]
    graph = generalise(model(net), types)
    assert [value.type.shape for value in leaves(graph.inputs)] == [(None, None, 6), (None, 4)]
    assert least_sizes(model(net), types, graph) == {}


def test_batches_are_tried_together_first() -> None:
    groups = list(candidates([image(2, 3), image(2, 5)], batch_only=False))
    assert groups[0] == ((0, 0), (1, 0))
    assert list(candidates([image(2, 3), image(2, 5)], batch_only=True)) == groups[:1]


def test_a_reshape_keeps_its_batch_and_refuses_other_sizes() -> None:
    for batch in (None, True):
        net = model(sequential(relu(), torch_module("nn.Reshape", size=[6], batchMode=batch)))
        port = build_widest(net, image(2, 6, 1, 1), Variables())
        assert port.module.serve(tf.ones((3, 1, 1, 6)))["output"].shape == (3, 6)
        with pytest.raises(tf.errors.InvalidArgumentError, match="with 72 values"):
            port.serve(tf.ones((3, 2, 2, 6)))
