"""Torch modules made in Python, without Torch: what the reader would have read from a file.

    net = sequential(conv(3, 8, 3), relu(inplace=True), linear(8, 2))
    graph = model(net).walk(image(1, 3, 8, 8))
    output = run(net, x)

NumPy arrays become tensors, lists become Lua tables, ints become Lua numbers. Every tensor, table
and module has an index of its own, as in a file; the same object passed twice is shared.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layer_maps import default_registry
from porter.frontend.inputs import types_of
from porter.frontend.walker import Model
from porter.ir.graph import TensorType
from porter.ir.nested import Nested, map_leaves
from porter.ir.options import Options
from porter.ir.registry import Registry
from porter.parity import compare as parity
from porter.runtime import reference
from porter.torch7 import Storage, Table, Tensor, TorchObject

Array = npt.NDArray[Any]

FIXTURES = Path(__file__).parents[1] / "fixtures"

_indices = itertools.count(1)

TYPES = {"float32": "Float", "float64": "Double", "int64": "Long", "uint8": "Byte"}


def storage(array: Array) -> Storage:
    """A storage that holds the elements of `array`, in order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return Storage(f"torch.{TYPES[flat.dtype.name]}Storage", flat, next(_indices), 0)


def tensor(array: Array, held: Storage | None = None, offset: int = 0) -> Tensor:
    """A contiguous tensor, on a storage of its own or on `held` from element `offset` on."""
    held = held or storage(array)
    stride = tuple(int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim))
    name = held.typename.replace("Storage", "Tensor")
    return Tensor(name, array.shape, stride, offset, held, next(_indices), held.dtype)


def lua(value: Any) -> Any:
    """A Python value as the reader gives it."""
    if isinstance(value, np.ndarray):
        return tensor(value)
    if isinstance(value, list | tuple):
        return table(*value)
    if isinstance(value, dict):
        return table(**value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def table(*items: Any, **named: Any) -> Table:
    """A Lua table: a list, string keys, or both."""
    entries: dict[Any, Any] = {i: lua(item) for i, item in enumerate(items, start=1)}
    return Table(next(_indices), entries | {key: lua(value) for key, value in named.items()})


def torch_module(typename: str, **fields: Any) -> TorchObject:
    """An instance of a Torch class; fields that are None are nil."""
    given = {name: lua(value) for name, value in fields.items() if value is not None}
    return TorchObject(typename, next(_indices), 1, 0, given)


def container(typename: str, *children: TorchObject, **fields: Any) -> TorchObject:
    return torch_module(typename, modules=list(children), **fields)


def sequential(*children: TorchObject) -> TorchObject:
    return container("nn.Sequential", *children)


def concat_table(*children: TorchObject) -> TorchObject:
    return container("nn.ConcatTable", *children)


def parallel_table(*children: TorchObject) -> TorchObject:
    return container("nn.ParallelTable", *children)


def identity() -> TorchObject:
    return torch_module("nn.Identity")


def relu(inplace: bool = False) -> TorchObject:
    return torch_module("nn.ReLU", inplace=inplace, threshold=0, val=0)


def view(*size: int, sample_rank: int | None = None) -> TorchObject:
    """nn.View(size) with setNumInputDims(sample_rank)."""
    sizes = storage(np.array(size, np.int64))
    return torch_module("nn.View", size=sizes, numInputDims=sample_rank)


def conv(
    planes: int, outputs: int, kernel: int = 3, pad: int = 0, stride: int = 1, seed: int = 0
) -> TorchObject:
    """nn.SpatialConvolution with random weights."""
    random = np.random.default_rng(seed)
    return torch_module(
        "nn.SpatialConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        kW=kernel,
        kH=kernel,
        dW=stride,
        dH=stride,
        padW=pad,
        padH=pad,
        weight=random.standard_normal((outputs, planes, kernel, kernel)).astype(np.float32),
        bias=random.standard_normal(outputs).astype(np.float32),
    )


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
    numbers = {
        "weight": random.standard_normal(planes).astype(np.float32),
        "bias": random.standard_normal(planes).astype(np.float32),
        "running_mean": random.standard_normal(planes).astype(np.float32),
        "running_var": random.uniform(0.1, 4, planes).astype(np.float32),
    }
    chosen = {"eps": 1e-5, "train": False} | numbers | fields
    return torch_module(f"nn.{kind}BatchNormalization", **chosen)


def dropout(p: float = 0.5) -> TorchObject:
    """nn.Dropout of version 2: the identity in evaluation."""
    return torch_module("nn.Dropout", p=p, v2=True)


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


# nngraph ------------------------------------------------------------------------------------------


def graph_node(inner: TorchObject | None = None, **data: Any) -> TorchObject:
    """A node of an nn.gModule; its `children` are filled by `link`."""
    return torch_module(
        "nngraph.Node", data=table(module=inner, mapindex=[], **data), children=table()
    )


def link(source: TorchObject, *readers: TorchObject) -> None:
    """Edges from a node to its readers, as nngraph keeps them on both sides."""
    for reader in readers:
        children = source.table("children")
        mapping = reader.table("data")["mapindex"]
        children.items[len(children.list()) + 1] = reader
        mapping.items[len(mapping.list()) + 1] = source.table("data")


def graph_module(*nodes: TorchObject) -> TorchObject:
    """nn.gModule of linked nodes in the order in which they run; the first and last are the
    input's and the output's."""
    return torch_module(
        "nn.gModule", forwardnodes=list(nodes), innode=nodes[0], outnode=nodes[-1], nInputs=1
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
