"""The reference keeps what it is asked for, and no more."""

from __future__ import annotations

import tracemalloc

import numpy as np

from porter.frontend.inputs import types_of
from porter.parity.compare import bind
from porter.runtime import reference
from tests.build import model, randn, sequential, torch_module

LAYERS = 12


def test_outputs_are_those_of_a_run_in_the_memory_of_a_few_layers() -> None:
    x = randn(4, 1 << 16)
    net = sequential(*(torch_module("nn.Tanh") for _ in range(LAYERS)))
    graph = model(net).walk(types_of(x))
    fed = bind(graph.inputs, x)
    peaks, found = [], []
    for run in (reference.run, reference.outputs):
        tracemalloc.start()
        found.append(run(graph, fed)[graph.outputs.id])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    np.testing.assert_array_equal(*found)
    everything, few = peaks
    assert everything > LAYERS * x.size * 8
    assert few < everything / 2
