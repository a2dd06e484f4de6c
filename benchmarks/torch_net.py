"""The same net in PyTorch, in its own order of axes: what PyTorch and ONNX's runtimes are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own spelling

from porter.ir.graph import Graph
from porter.ir.nested import leaves


class Net(torch.nn.Module):
    """A graph that porter walked, for the sizes that it was walked with."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        (self.given,) = leaves(graph.inputs)
        for i, node in enumerate(graph.nodes):
            for name, param in node.op.params().items():
                array = np.array(param.array)
                if node.typename == "nn.SeqLSTM":
                    array = in_order(array)
                held = torch.nn.Parameter(torch.from_numpy(array), False)
                self.register_parameter(f"p{i}_{name}", held)

    def forward(self, x: Any) -> list[Any]:
        held = {self.given.id: x}
        for i, node in enumerate(self.graph.nodes):
            params = {n: getattr(self, f"p{i}_{n}") for n in node.op.params()}
            layer = LAYERS[node.typename.rpartition(".")[2]]
            held[node.outputs[0].id] = layer(node, params, *(held[v.id] for v in node.inputs))
        return [held[value.id] for value in leaves(self.graph.outputs)]


def sides(pads: tuple[int, ...]) -> list[int]:
    """Top, bottom, left, right as PyTorch orders them."""
    top, bottom, left, right = pads
    return [left, right, top, bottom]


def instance_norm(node: Any, p: dict[str, Any], x: Any) -> Any:
    return F.instance_norm(x, weight=p["weight"], bias=p["bias"], eps=node.op.eps)


def batch_norm(node: Any, p: dict[str, Any], x: Any) -> Any:
    kept = p["running_mean"], p["running_var"]
    return F.batch_norm(x, *kept, p["weight"], p["bias"], eps=node.op.eps)


def convolution(node: Any, p: dict[str, Any], x: Any) -> Any:
    return F.conv2d(x, p["weight"], p.get("bias"), node.op.stride, node.op.pad)


def full_convolution(node: Any, p: dict[str, Any], x: Any) -> Any:
    op = node.op
    return F.conv_transpose2d(x, p["weight"], p.get("bias"), op.stride, op.pad, op.adj)


def in_order(gates: Any) -> Any:
    """An LSTM's numbers as PyTorch has them: gates first, i, f, g, o; Torch7's are i, f, o, g."""
    i, f, o, g = np.split(gates.T, 4)
    return np.ascontiguousarray(np.concatenate([i, f, g, o]))


def lstm(node: Any, p: dict[str, Any], x: Any) -> Any:
    weight, bias, width = p["weight"], p["bias"], x.shape[2]
    state = x.new_zeros(1, x.shape[1], bias.shape[0] // 4)
    held = [weight[:, :width], weight[:, width:], bias, torch.zeros_like(bias)]
    return torch.lstm(x, (state, state), held, True, 1, 0.0, False, False, False)[0]


LAYERS: dict[str, Callable[..., Any]] = {
    "SpatialConvolution": convolution,
    "SpatialFullConvolution": full_convolution,
    "SpatialReplicationPadding": lambda n, p, x: F.pad(x, sides(n.op.pads), "replicate"),
    "SpatialReflectionPadding": lambda n, p, x: F.pad(x, sides(n.op.pads), "reflect"),
    "ShaveImage": lambda n, p, x: F.pad(x, sides(n.op.pads)),
    "InstanceNormalization": instance_norm,
    "SpatialBatchNormalization": batch_norm,
    "SpatialMaxPooling": lambda n, p, x: F.max_pool2d(x, n.op.kernel, n.op.stride, n.op.pad),
    "SpatialAveragePooling": lambda n, p, x: F.avg_pool2d(x, n.op.kernel, n.op.stride),
    "SpatialUpSamplingNearest": lambda n, p, x: F.interpolate(x, scale_factor=n.op.scale),
    "SeqLSTM": lstm,
    "View": lambda n, p, x: x.reshape(n.outputs[0].shape),
    "Linear": lambda n, p, x: F.linear(x, p["weight"], p["bias"]),
    "ReLU": lambda n, p, x: F.relu(x),
    "LeakyReLU": lambda n, p, x: F.leaky_relu(x, n.op.slope),
    "Tanh": lambda n, p, x: torch.tanh(x),
    "SoftMax": lambda n, p, x: F.softmax(x, -1),
    "MulConstant": lambda n, p, x: x * n.op.factor,
    "CAddTable": lambda n, p, *xs: sum(xs[1:], xs[0]),
    "Join": lambda n, p, *xs: torch.cat(xs, n.op.axis),
    **dict.fromkeys(("Identity", "Dropout", "TVLoss", "TotalVariation"), lambda n, p, x: x),
}
