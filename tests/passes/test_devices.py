"""What is served runs on other devices: XLA compiles it, and each operation has a kernel on GPU."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow.python.framework import kernels

from porter.passes import LEVELS
from porter.system.tensorflow import tf
from tests.build import randn
from tests.passes.test_served import error, port_of, style_net

NO_KERNEL = {"Placeholder", "_Arg", "_Retval", "NoOp", "StatelessWhile", "StatelessIf"}
"""Replaced before anything runs, or written with other operations."""


@pytest.mark.parametrize("level", LEVELS)
def test_xla_compiles_what_is_served(level: str) -> None:
    x, net = randn(2, 3, 20, 24), style_net()
    port = port_of(net, x, level)
    fed = tf.constant(np.moveaxis(x, 1, -1))
    output = tf.function(port.module.__call__, jit_compile=True, autograph=False)(fed)
    assert error(np.moveaxis(output.numpy(), -1, 1), net, x) < 2e-5


@pytest.mark.parametrize("level", LEVELS)
def test_every_operation_has_a_kernel_on_gpu(level: str) -> None:
    port = port_of(style_net(128), randn(2, 3, 24, 28), level)
    definition = port.serve.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    without = {
        node.op
        for node in nodes
        if node.op not in NO_KERNEL
        and not any(
            kernel.device_type in ("GPU", "DEFAULT")
            for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
        )
    }
    assert not without
