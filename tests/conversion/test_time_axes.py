"""Axes of indices are called batch and time, whichever comes first."""

from __future__ import annotations

import pytest

from porter.conversion.free_axes import free_axes, free_text
from porter.conversion.time_axes import time_axes
from porter.frontend.dynamic import generalise
from porter.frontend.search import solve
from porter.torch7 import TorchObject
from tests.build import linear, model, parallel_table, randn, sequential, table, torch_module


def words() -> TorchObject:
    return torch_module("nn.LookupTable", weight=randn(9, 6))


def split(dimension: int) -> TorchObject:
    return torch_module("nn.SplitTable", dimension=dimension, nInputDims=0)


def mean(dimension: int) -> TorchObject:
    return torch_module("nn.Mean", dimension=dimension)


STEP = linear(6, 2)
STEPS = torch_module("nn.Sequencer", module=STEP, modules=table(STEP), _outputs=table())
WINDOWS = torch_module(
    "nn.TemporalConvolution",
    weight=randn(4, 18),
    bias=randn(4),
    inputFrameSize=6,
    outputFrameSize=4,
    kW=3,
    dW=1,
)


@pytest.mark.parametrize(
    ("layers", "free"),
    [
        ([split(1), STEPS], "free: time, batch"),
        ([split(2), STEPS], "free: batch, time"),
        ([STEPS], "free: time, batch"),
        ([mean(2)], "free: batch, time"),
        ([mean(1)], "free: time, batch"),
        ([WINDOWS], "free: batch, time"),
        ([torch_module("nn.SeqLSTM", weight=randn(11, 20), bias=randn(20))], "free: time, batch"),
        ([torch_module("nn.LSTM", weight=randn(11, 20), bias=randn(20))], "free: batch, time"),
        ([torch_module("nn.Tanh")], "free: dimension 1, dimension 2"),
    ],
)
def test_the_axis_of_steps_is_told_from_that_of_samples(
    layers: list[TorchObject], free: str
) -> None:
    net = model(sequential(words(), *layers))
    (types, *_) = solve(net).types
    assert free_text(free_axes(generalise(net, types), time_axes(net, types))) == free


def test_indices_beside_other_inputs_have_their_own_axes() -> None:
    join = torch_module("nn.JoinTable", dimension=2, nInputDims=0)
    net = model(sequential(parallel_table(linear(3, 4), sequential(words(), mean(2))), join))
    (types, *_) = solve(net).types
    said = free_text(free_axes(generalise(net, types), time_axes(net, types)))
    assert said == "free: input_1 batch; input_2 batch, time"


@pytest.mark.parametrize(
    ("batch_first", "free"), [(True, "free: batch, time"), (False, "free: time, batch")]
)
def test_sequences_of_features_have_a_batch_and_time(batch_first: bool, free: str) -> None:
    recurrent = torch_module(
        "nn.SeqLSTM", weight=randn(11, 20), bias=randn(20), batchfirst=batch_first
    )
    last = torch_module("nn.Select", dimension=2 if batch_first else 1, index=-1)
    net = model(sequential(recurrent, last))
    (types, *_) = solve(net).types
    assert free_text(free_axes(generalise(net, types), time_axes(net, types))) == free
