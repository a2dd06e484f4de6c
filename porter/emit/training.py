"""A port that goes on learning: `port(x, training=True)` computes what Torch does in training.

    variables = Variables()                                      # porter/runtime/runner.py
    port = widest(model, types, lambda graph: Trainable(graph, variables))  # frontend/dynamic.py
    with tf.GradientTape() as tape:
        loss = criterion(port(x, training=True), target)
    gradients = tape.gradient(loss, port.trainable_variables)
    optimizer.apply_gradients(zip(gradients, port.trainable_variables))

`port(x)` evaluates. A call with `training=True` also updates what Torch keeps beside the learned
parameters: the running statistics of batch normalisation. Inputs and outputs lie as in every port:
images channels-last unless `data_format` says otherwise, nested as Torch's tables are.

Variables are named by Torch path (`3.weight:0`). `trainable_variables` are those that Torch would
train; a variable that the graph never reads in differentiable ways gets the gradient None.
"""

from __future__ import annotations

from typing import Any

from porter.ir.graph import Graph
from porter.ir.layout import plan
from porter.ir.nested import Nested, map_leaves, named_leaves
from porter.passes.borders import join_borders
from porter.runtime.runner import Variables, run, signature
from porter.system.tensorflow import tf


class Trainable(tf.Module):  # type: ignore[misc]
    """A graph as a callable with variables; saved as a SavedModel it keeps both ways of running.

    Raises NotDynamic if a layer needs a size that the graph leaves open.
    """

    # Plain lists in place of tf.Module's properties, which a SavedModel does not keep.
    variables: Any = ()
    trainable_variables: Any = ()

    def __init__(
        self, graph: Graph, variables: Variables, data_format: str = "channels_last"
    ) -> None:
        super().__init__(name="port")
        variables.learning = True
        layout = plan(join_borders(graph), data_format)

        def forward(*tensors: Any, training: bool) -> Nested[Any]:
            inputs = dict(zip(layout.inputs, tensors, strict=True))
            outputs = run(layout, inputs, variables, training=training)
            return map_leaves(lambda value: tf.identity(outputs[value.id]), graph.outputs)

        self.forward = forward
        fed = [
            signature(name, value, layout.inputs[value.id], variables.precision)
            for name, value in named_leaves(graph.inputs, "input")
        ]
        # Training first: it reads every variable, and TensorFlow lets the first trace make them.
        # One trace serves all sizes that are free: calls find it and make no other.
        for training in (True, False):
            self.__call__.get_concrete_function(*fed, training=training)
        self.variables = list(variables.by_key.values())
        self.trainable_variables = [each for each in self.variables if each.trainable]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def __call__(self, *tensors: Any, training: bool = False) -> Nested[Any]:
        """The outputs, nested as Torch's table is; `training` says which of Torch's modes."""
        return self.forward(*tensors, training=training)
