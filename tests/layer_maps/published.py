"""Modules of published systems that no recording covers, spelled as their sources write them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from porter.ir.nested import Nested
from porter.torch7 import TorchObject
from tests.build import (
    Array,
    container,
    graph_module,
    graph_node,
    linear,
    link,
    randn,
    sequential,
    torch_module,
)

Built = tuple[TorchObject, Nested[Array]]


def positive(*shape: int, seed: int = 7) -> Array:
    """Numbers that may be divided by."""
    numbers: Array = 1 + np.abs(randn(*shape, seed=seed))
    return numbers


def boxes(typename: str, *others: Array) -> Built:
    return torch_module(typename), [positive(5, 4), *others]


def anchored(typename: str, **fields: float) -> TorchObject:
    return torch_module(typename, anchors=positive(2, 3), x0=8.5, y0=7, sx=16, sy=12, **fields)


def masked_softmax() -> Built:
    mask = np.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], np.uint8)
    return torch_module("nn.maskSoftMax"), [randn(3, 4), mask]


def wrapped(typename: str, field: str = "net") -> Built:
    """OpenNMT keeps the net twice: in a field, and in `modules`."""
    net = sequential(linear(4, 3), torch_module("nn.Tanh"))
    return container(typename, net, **{field: net}), randn(5, 4)


def generator(typename: str) -> Built:
    words = sequential(linear(4, 6), torch_module("nn.LogSoftMax"))
    net = container("nn.ConcatTable", words)
    return container(typename, net, net=net), [randn(5, 4)]


def step_of_sequence(typename: str) -> Built:
    """h, x → tanh(W·h + V·x): what an encoder does for each word."""
    state, word = graph_node(selectindex=1), graph_node(selectindex=2)
    total = graph_node(torch_module("nn.CAddTable"))
    source, output, sink = graph_node(), graph_node(torch_module("nn.Tanh")), graph_node()
    first, second = graph_node(linear(3, 3)), graph_node(linear(4, 3))
    link(source, state, word)
    link(state, first)
    link(word, second)
    for node in (first, second):
        link(node, total)
    link(total, output)
    link(output, sink)
    net = graph_module(source, state, word, first, second, total, output, sink)
    return container(typename, net, network=net), [randn(5, 3), randn(5, 4)]


def join_replicated() -> Built:
    module = torch_module("onmt.JoinReplicateTable", dimensionReplicate=2, dimensionJoin=3)
    return module, [randn(2, 1, 3), randn(2, 5, 4)]


NETWORKS = (
    "onmt.Bridge",
    "onmt.FeaturesEmbedding",
    "onmt.GRU",
    "onmt.GlobalAttention",
    "onmt.LSTM",
    "onmt.MaskedSoftmax",
    "onmt.Network",
    "onmt.NoAttention",
    "onmt.WordEmbedding",
)
SEQUENCERS = ("onmt.Decoder", "onmt.Encoder", "onmt.Sequencer")

PUBLISHED: dict[str, Callable[[], Built]] = {
    "Embedding": lambda: (
        torch_module("Embedding", outputSize=4, weight=randn(9, 4)),
        np.array([3, 9, 1, 3], np.int64),
    ),
    "nn.AppendBias": lambda: (torch_module("nn.AppendBias"), randn(2, 5, 3)),
    "nn.ApplyBoxTransform": lambda: boxes("nn.ApplyBoxTransform", randn(5, 4, seed=3)),
    "nn.BatchBilinearSamplerBHWD": lambda: (
        torch_module("nn.BatchBilinearSamplerBHWD"),
        [randn(6, 7, 3), randn(4, 5, 2, 2)],
    ),
    "nn.BoxToAffine": lambda: (torch_module("nn.BoxToAffine", H=480, W=720), positive(5, 4)),
    "nn.CAddTableMulConstant": lambda: (
        torch_module("nn.CAddTableMulConstant", constant_scalar=0.7071),
        [randn(2, 3, 4), randn(2, 3, 4, seed=2), randn(2, 3, 4, seed=3)],
    ),
    "nn.CRowAddTable": lambda: (torch_module("nn.CRowAddTable"), [randn(5, 3), randn(3)]),
    "nn.Calibrate": lambda: (torch_module("nn.Calibrate"), randn(1, 3, 4, 5)),
    "nn.GradientRescale": lambda: (
        torch_module("nn.GradientRescale", scaleFactor=0.7071),
        randn(2, 3, 4),
    ),
    "nn.InvertBoxTransform": lambda: boxes("nn.InvertBoxTransform", positive(5, 4, seed=3)),
    "nn.MakeAnchors": lambda: (anchored("nn.MakeAnchors"), randn(2, 3, 4, 5)),
    "nn.Normalize2": lambda: (torch_module("nn.Normalize2"), randn(2, 3, 4, 5)),
    "nn.RegularizeLayer": lambda: (torch_module("nn.RegularizeLayer", w=0.1), randn(5, 4)),
    "nn.ScalarDivTable": lambda: (torch_module("nn.ScalarDivTable"), [randn(2, 5), positive(1)]),
    "nn.SeqMultiply": lambda: (torch_module("nn.SeqMultiply"), [randn(2, 5, 3), randn(2, 7, 3)]),
    "nn.SpatialLinear": lambda: (
        torch_module("nn.SpatialLinear", weight=randn(5, 3), bias=randn(5), fanin=3, fanout=5),
        randn(3, 6, 7),
    ),
    "nn.SpatialReSampling": lambda: (
        torch_module("nn.SpatialReSampling", oheight=9, owidth=4),
        randn(2, 3, 6, 7),
    ),
    "nn.StereoJoin": lambda: (
        torch_module("nn.StereoJoin", disp_max=3, direction=-1),
        randn(2, 3, 4, 6),
    ),
    "nn.TemporalConvolutionTBC": lambda: (
        torch_module("nn.TemporalConvolutionTBC", weight=randn(3, 4, 5), bias=randn(5), pad=1),
        randn(6, 2, 4),
    ),
    "nn.VanillaRNN": lambda: (
        torch_module("nn.VanillaRNN", weight=0.3 * randn(4 + 3, 3), bias=randn(3)),
        [randn(2, 3), randn(2, 5, 4)],
    ),
    "nn.maskSoftMax": masked_softmax,
    "onmt.FeaturesGenerator": lambda: generator("onmt.FeaturesGenerator"),
    "onmt.Generator": lambda: generator("onmt.Generator"),
    "onmt.JoinReplicateTable": join_replicated,
    "onmt.VariationalDropout": lambda: (
        torch_module("onmt.VariationalDropout", p=0.3),
        randn(3, 4),
    ),
    "treelstm.CRowAddTable": lambda: (
        torch_module("treelstm.CRowAddTable"),
        [randn(5, 3), randn(3)],
    ),
    **{name: lambda name=name: wrapped(name) for name in NETWORKS},  # type: ignore[misc]
    **{name: lambda name=name: step_of_sequence(name) for name in SEQUENCERS},  # type: ignore[misc]
}
"""A module and an input for each of these classes."""
