"""Nets for tests, and how they are run; `porter.torch7.build` builds their modules.

net = sequential(conv(3, 8, 3), relu(inplace=True), linear(8, 2))
graph = model(net).walk(image(1, 3, 8, 8))
output = run(net, x)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from porter.frontend.inputs import types_of
from porter.frontend.walker import Model
from porter.ir.graph import TensorType
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.layer_maps import default_registry
from porter.parity import compare as parity
from porter.runtime import reference
from porter.torch7 import TorchObject
from porter.torch7.build import (
    concat_table,
    container,
    convolution,
    dropout,
    graph_module,
    graph_node,
    identity,
    link,
    lua,
    parallel_table,
    relu,
    sequential,
    storage,
    table,
    tensor,
    torch_module,
    view,
)

__all__ = [
    "FIXTURES",
    "batch_norm",
    "classifier",
    "concat_table",
    "container",
    "conv",
    "dropout",
    "graph_module",
    "graph_node",
    "identity",
    "image",
    "linear",
    "link",
    "lua",
    "model",
    "parallel_table",
    "randn",
    "relu",
    "run",
    "sequential",
    "small_net",
    "storage",
    "table",
    "tensor",
    "torch_module",
    "view",
]

Array = npt.NDArray[Any]

FIXTURES = Path(__file__).parents[1] / "fixtures"


def conv(
    planes: int, outputs: int, kernel: int = 3, pad: int = 0, stride: int = 1, seed: int = 0
) -> TorchObject:
    """nn.SpatialConvolution with random weights."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((outputs, planes, kernel, kernel)).astype(np.float32)
    bias = random.standard_normal(outputs).astype(np.float32)
    return convolution(weight, bias, (stride, stride), (pad, pad))


def linear(inputs: int, outputs: int, seed: int = 0) -> TorchObject:
    """nn.Linear with random weights."""
    random = np.random.default_rng(seed)
    return torch_module(
        "nn.Linear",
        weight=random.standard_normal((outputs, inputs)).astype(np.float32),
        bias=random.standard_normal(outputs).astype(np.float32),
    )


def batch_norm(planes: int, seed: int = 0, kind: str = "Spatial", **fields: Any) -> TorchObject:
    """A batch normalisation in evaluation, with statistics far from 0 and 1."""
    random = np.random.default_rng(seed)
    statistics = {
        "weight": random.standard_normal(planes).astype(np.float32),
        "bias": random.standard_normal(planes).astype(np.float32),
        "running_mean": random.standard_normal(planes).astype(np.float32),
        "running_var": random.uniform(0.1, 4, planes).astype(np.float32),
    }
    chosen = {"eps": 1e-5, "train": False} | statistics | fields
    return torch_module(f"nn.{kind}BatchNormalization", **chosen)


def small_net() -> TorchObject:
    """A net with free sizes: five layers, one of them in a container of its own."""
    return sequential(
        conv(3, 4, pad=1, seed=1),
        relu(inplace=True),
        sequential(conv(4, 4, pad=1, stride=2, seed=2), relu()),
        conv(4, 2, kernel=1, seed=3),
    )


def classifier() -> TorchObject:
    """A net with a fixed input size of 3×8×8: convolution, flattening, a linear layer."""
    return sequential(
        conv(3, 4, pad=1, stride=2, seed=4), relu(), view(64, sample_rank=3), linear(64, 5, seed=5)
    )


# Running ------------------------------------------------------------------------------------------


def model(
    root: TorchObject, registry: Registry | None = None, options: Options | None = None
) -> Model:
    """A module, ready to be walked."""
    return Model(root, registry or default_registry(), options or Options())


def image(*shape: int) -> TensorType:
    """The type of a float tensor."""
    return TensorType(shape)


def randn(*shape: int, seed: int = 7) -> Array:
    """Seeded float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(root: TorchObject, x: Nested[Array]) -> Nested[Array]:
    """What a module makes of `x`, by porter's NumPy reference in float64."""
    graph = model(root).walk(types_of(x))
    values = reference.run(graph, parity.bind(graph.inputs, x))
    return map_leaves(lambda value: values[value.id], graph.outputs)
