"""The same net in PyTorch, in its own order of axes: what PyTorch and ONNX's runtimes are given.

Each layer is a function of torch, the node, its parameters by name and its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from porter.ir.graph import Graph
from porter.ir.nested import leaves


def torch_net(graph: Graph) -> Any:
    """A torch.nn.Module that computes a graph, for the sizes that porter walked it with."""
    import torch

    class TorchNet(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for i, node in enumerate(graph.nodes):
                for name, param in node.op.params().items():
                    array = np.array(param.array)
                    if node.typename == "nn.SeqLSTM":
                        array = in_order(array)
                    parameter = torch.nn.Parameter(torch.from_numpy(array), False)
                    self.register_parameter(f"p{i}_{name}", parameter)

        def forward(self, x: Any) -> list[Any]:
            (input,) = leaves(graph.inputs)
            values = {input.id: x}
            for i, node in enumerate(graph.nodes):
                params = {n: getattr(self, f"p{i}_{n}") for n in node.op.params()}
                layer = LAYERS[node.typename.rpartition(".")[2]]
                inputs = (values[v.id] for v in node.inputs)
                values[node.outputs[0].id] = layer(torch, node, params, *inputs)
            return [values[value.id] for value in leaves(graph.outputs)]

    return TorchNet().eval()


def padding(torch: Any, node: Any, x: Any, mode: str) -> Any:
    top, bottom, left, right = node.op.pads
    return torch.nn.functional.pad(x, [left, right, top, bottom], mode)


def more_planes(torch: Any, node: Any, x: Any) -> Any:
    """Zeros behind the planes of N×C×H×W: all that the timed nets have of nn.Padding."""
    return torch.nn.functional.pad(x, [0, 0, 0, 0, 0, node.op.pad])


def max_pooling(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    return torch.nn.functional.max_pool2d(x, node.op.kernel, node.op.stride, node.op.pad)


def unpooling(torch: Any, node: Any, p: dict[str, Any], x: Any, source: Any) -> Any:
    kernel = node.op.pooling.kernel
    _, places = torch.nn.functional.max_pool2d(source, kernel, return_indices=True)
    return torch.nn.functional.max_unpool2d(x, places, kernel)


def average_pooling(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    return torch.nn.functional.avg_pool2d(x, node.op.kernel, node.op.stride)


def upsampling(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    return torch.nn.functional.interpolate(x, scale_factor=node.op.scale)


def instance_norm(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    return torch.nn.functional.instance_norm(x, weight=p["weight"], bias=p["bias"], eps=node.op.eps)


def batch_norm(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    statistics = p["running_mean"], p["running_var"]
    return torch.nn.functional.batch_norm(x, *statistics, p["weight"], p["bias"], eps=node.op.eps)


def convolution(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    op = node.op
    return torch.conv2d(x, p["weight"], p.get("bias"), op.stride, op.pad, op.dilation)


def full_convolution(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    op = node.op
    return torch.conv_transpose2d(x, p["weight"], p.get("bias"), op.stride, op.pad, op.adj)


def in_order(gates: Any) -> Any:
    """An LSTM's numbers as PyTorch has them: gates first, i, f, g, o; Torch7's are i, f, o, g."""
    i, f, o, g = np.split(gates.T, 4)
    return np.ascontiguousarray(np.concatenate([i, f, g, o]))


def lstm(torch: Any, node: Any, p: dict[str, Any], x: Any) -> Any:
    weight, bias, width = p["weight"], p["bias"], x.shape[2]
    by_sample = node.op.batch_first
    state = x.new_zeros(1, x.shape[0 if by_sample else 1], bias.shape[0] // 4)
    weights = [weight[:, :width], weight[:, width:], bias, torch.zeros_like(bias)]
    return torch.lstm(x, (state, state), weights, True, 1, 0.0, False, False, by_sample)[0]


LAYERS: dict[str, Callable[..., Any]] = {
    "SpatialConvolution": convolution,
    "SpatialDilatedConvolution": convolution,
    "SpatialFullConvolution": full_convolution,
    "PixelShuffle": lambda torch, n, p, x: torch.nn.functional.pixel_shuffle(x, n.op.scale),
    "Padding": lambda torch, n, p, x: more_planes(torch, n, x),
    "LookupTable": lambda torch, n, p, x: p["weight"][x.long() - 1],
    "SpatialReplicationPadding": lambda torch, n, p, x: padding(torch, n, x, "replicate"),
    "SpatialReflectionPadding": lambda torch, n, p, x: padding(torch, n, x, "reflect"),
    "ShaveImage": lambda torch, n, p, x: padding(torch, n, x, "constant"),
    "InstanceNormalization": instance_norm,
    "SpatialBatchNormalization": batch_norm,
    "SpatialMaxPooling": max_pooling,
    "SpatialMaxUnpooling": unpooling,
    "SpatialAveragePooling": average_pooling,
    "SpatialUpSamplingNearest": upsampling,
    "SeqLSTM": lstm,
    "View": lambda torch, n, p, x: x.reshape(n.outputs[0].shape),
    "Linear": lambda torch, n, p, x: torch.nn.functional.linear(x, p["weight"], p["bias"]),
    "ReLU": lambda torch, n, p, x: torch.nn.functional.relu(x),
    "PReLU": lambda torch, n, p, x: torch.nn.functional.prelu(x, p["weight"]),
    "LogSoftMax": lambda torch, n, p, x: torch.nn.functional.log_softmax(x, -1),
    "LeakyReLU": lambda torch, n, p, x: torch.nn.functional.leaky_relu(x, n.op.slope),
    "Tanh": lambda torch, n, p, x: torch.tanh(x),
    "SoftMax": lambda torch, n, p, x: torch.nn.functional.softmax(x, -1),
    "MulConstant": lambda torch, n, p, x: x * n.op.factor,
    "CAddTable": lambda torch, n, p, *xs: sum(xs[1:], xs[0]),
    "Join": lambda torch, n, p, *xs: torch.cat(xs, n.op.axis),
    **dict.fromkeys(("Identity", "Dropout", "TVLoss", "TotalVariation"), lambda torch, n, p, x: x),
}
