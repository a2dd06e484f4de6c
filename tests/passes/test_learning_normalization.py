"""The gradient of instance normalisation that is written down is that of its layer."""

from __future__ import annotations

import numpy as np
import pytest

from porter.frontend.inputs import types_of
from porter.ir.graph import Graph
from porter.ir.layout import plan
from porter.passes.learning_normalization import LearningNormalization, learn_normalizations
from porter.runtime.runner import Variables, apply_step
from porter.system.tensorflow import tf
from porter.torch7 import TorchObject
from tests.build import Array, batch_norm, model, randn, sequential, torch_module

PLANES = 5


def instance_norm(affine: bool) -> TorchObject:
    learned = {n: randn(PLANES, seed=s) for s, n in enumerate(("weight", "bias"), 1) if affine}
    return torch_module("nn.InstanceNormalization", nOutput=PLANES, eps=1e-5, **learned)


def trained(graph: Graph, x: Array) -> list[Array]:
    """The output in training, and its gradient by the input and by every weight."""
    (node,) = plan(graph).node_steps()
    image, variables = tf.constant(np.moveaxis(x, 1, -1)), Variables(learning=True)
    with tf.GradientTape() as tape:
        tape.watch(image)
        output = apply_step(node, [image], variables, training=True)[0]
        loss = tf.reduce_sum(np.moveaxis(randn(*x.shape, seed=9), 1, -1) * output)
    learned = [variables.by_name[name] for name in sorted(variables.by_name)]
    return [each.numpy() for each in (output, *tape.gradient(loss, [image, *learned]))]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_output_and_gradients_are_those_of_the_layer(affine: bool, batch: int) -> None:
    x = randn(batch, PLANES, 9, 8)
    x[:, 1] += 100  # A mean that is large beside the deviations.
    x[:, 2] = 3  # No deviations.
    walked = model(sequential(instance_norm(affine))).walk(types_of(x))
    graph = learn_normalizations(walked)
    assert [type(node.op) for node in graph.nodes] == [LearningNormalization]
    (output, *gradients), (learned, *found) = trained(walked, x), trained(graph, x)
    np.testing.assert_array_equal(learned, output)
    assert len(found) == len(gradients) == 1 + 2 * affine
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * np.abs(other).max())


def test_normalisation_over_the_batch_keeps_its_statistics() -> None:
    net, x = sequential(batch_norm(PLANES, train=True)), randn(2, PLANES, 4, 4)
    walked = model(net).walk(types_of(x))
    assert learn_normalizations(walked).nodes == walked.nodes
