"""The port that people write by hand: each Torch layer as the first TensorFlow call that fits.

Images lie channels-last; borders grow by one pixel at a time with `tf.pad`, normalisations are
`tf.nn.moments` and `tf.nn.batch_normalization`. Walking is porter's, so that it is the same net.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from porter.ir.graph import Graph, Node
from porter.ir.nested import leaves


def handwritten(graph: Graph) -> Callable[[Any], list[Any]]:
    """A function of an N×H×W×C tensor to the net's outputs, images channels-last."""
    layers = [(node, LAYERS[kind(node)], constants(node)) for node in graph.nodes]
    (input,) = leaves(graph.inputs)

    def run(x: Any) -> list[Any]:
        values = {input.id: x}
        for node, layer, constants in layers:
            output = layer(node, constants, *(values[value.id] for value in node.inputs))
            values[node.outputs[0].id] = output
        return [values[value.id] for value in leaves(graph.outputs)]

    return run


def kind(node: Node) -> str:
    return node.typename.rpartition(".")[2]


def constants(node: Node) -> dict[str, Any]:
    """The parameters as variables, in TensorFlow's order of axes."""
    if kind(node) == "SeqLSTM":
        return {"layer": keras_lstm(node.op)}
    return {
        name: tf.Variable(param.array.transpose([param.axes.index(a) for a in param.to]))
        for name, param in node.op.params().items()
    }


def convolution(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    if any(op.pad):
        x = tf.pad(x, [[0, 0], *([pad, pad] for pad in op.pad), [0, 0]])
    out = tf.nn.conv2d(x, constants["weight"], [1, *op.stride, 1], "VALID")
    return tf.nn.bias_add(out, constants["bias"]) if "bias" in constants else out


def full_convolution(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    size = tf.shape(x)
    whole = [
        (size[i + 1] - 1) * op.stride[i] + op.kernel[i] + max(op.adj[i] - op.pad[i], 0)
        for i in (0, 1)
    ]
    shape = tf.stack([size[0], *whole, constants["weight"].shape[2]])
    out = tf.nn.conv2d_transpose(x, constants["weight"], shape, [1, *op.stride, 1], "VALID")
    inner_kernel = [w - 2 * p + a for w, p, a in zip(whole, op.pad, op.adj, strict=True)]
    if any(op.pad):
        out = tf.slice(out, [0, *op.pad, 0], tf.stack([-1, *inner_kernel, -1]))
    return tf.nn.bias_add(out, constants["bias"]) if "bias" in constants else out


def replication(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    for _ in range(op.pads[0]):
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return x


def reflection(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    return tf.pad(x, [[0, 0], list(op.pads[:2]), list(op.pads[2:]), [0, 0]], "REFLECT")


def instance_normalization(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
    return tf.nn.batch_normalization(
        x, mean, variance, constants["bias"], constants["weight"], op.eps
    )


def batch_normalization(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    statistics = constants["running_mean"], constants["running_var"]
    return tf.nn.batch_normalization(x, *statistics, constants["bias"], constants["weight"], op.eps)


def max_pooling(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    if any(op.pad):
        edges = [[0, 0], *([pad, pad] for pad in op.pad), [0, 0]]
        x = tf.pad(x, edges, constant_values=x.dtype.min)
    return tf.nn.max_pool2d(x, op.kernel, op.stride, "VALID")


def average_pooling(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    return tf.nn.avg_pool2d(x, op.kernel, op.stride, "VALID")


def shave(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    cut = -op.pads[0]
    return x[:, cut:-cut, cut:-cut, :]


def upsampling(node: Node, constants: dict[str, Any], x: Any) -> Any:
    op: Any = node.op
    output = tf.shape(x)[1:3] * op.scale
    return tf.image.resize(x, output, "nearest")


def lstm(node: Node, constants: dict[str, Any], x: Any) -> Any:
    return tf.transpose(constants["layer"](tf.transpose(x, [1, 0, 2])), [1, 0, 2])


def keras_lstm(op: Any) -> Any:
    """Keras's layer, whose gates are i, f, g, o; Torch's are i, f, o, g."""
    weight, bias = (in_order(each.array) for each in (op.weight, op.bias))
    hidden = bias.shape[0] // 4
    inputs = weight.shape[0] - hidden
    layer = tf.keras.layers.LSTM(hidden, return_sequences=True)
    layer.build([None, None, inputs])
    layer.set_weights([weight[:inputs], weight[inputs:], bias])
    return layer


def in_order(gates: Any) -> Any:
    """Torch's gates along the last axis in Keras's order."""
    i, f, o, g = np.split(gates, 4, axis=-1)
    return np.concatenate([i, f, g, o], -1)


def view(node: Node, constants: dict[str, Any], x: Any) -> Any:
    flat = tf.transpose(x, [0, 3, 1, 2]) if len(x.shape) == 4 else x
    return tf.reshape(flat, [-1, *node.outputs[0].shape[1:]])


def linear(node: Node, constants: dict[str, Any], x: Any) -> Any:
    return tf.matmul(x, constants["weight"]) + constants["bias"]


LAYERS: dict[str, Callable[..., Any]] = {
    "SpatialConvolution": convolution,
    "SpatialFullConvolution": full_convolution,
    "SpatialReplicationPadding": replication,
    "SpatialReflectionPadding": reflection,
    "InstanceNormalization": instance_normalization,
    "SpatialBatchNormalization": batch_normalization,
    "SpatialMaxPooling": max_pooling,
    "SpatialAveragePooling": average_pooling,
    "ShaveImage": shave,
    "SpatialUpSamplingNearest": upsampling,
    "SeqLSTM": lstm,
    "View": view,
    "Linear": linear,
    "ReLU": lambda node, constants, x: tf.nn.relu(x),
    "LeakyReLU": lambda node, constants, x: tf.nn.leaky_relu(x, node.op.slope),
    "Tanh": lambda node, constants, x: tf.tanh(x),
    "SoftMax": lambda node, constants, x: tf.nn.softmax(x),
    "MulConstant": lambda node, constants, x: x * node.op.factor,
    "CAddTable": lambda node, constants, *xs: sum(xs[1:], xs[0]),
    "Join": lambda node, constants, *xs: tf.concat(xs, -1),
    **dict.fromkeys(
        ("Identity", "Dropout", "TVLoss", "TotalVariation"), lambda node, constants, x: x
    ),
}
