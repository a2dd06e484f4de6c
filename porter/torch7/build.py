"""Torch module trees built in Python: what the reader would have read from a file.

    net = sequential(convolution(weight, bias, pad=1), relu(inplace=True), max_pooling(2, 2))

NumPy arrays become tensors, lists and dicts Lua tables, ints Lua numbers. Every tensor, table and
module has an index of its own, as in a file; the same object passed twice is shared.

`Modules` builds what Torch itself would have built and saved, with the initial weights that it
draws. Source: the constructors and `reset` of torch/nn SpatialConvolution.lua,
SpatialFullConvolution.lua, BatchNormalization.lua; texture_nets InstanceNormalization.lua and
src/utils.lua; torch/nngraph gmodule.lua and node.lua.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from porter.torch7 import Storage, Table, Tensor, TorchObject
from porter.torch7.types import Array

TYPES = {"float32": "Float", "float64": "Double", "int64": "Long", "uint8": "Byte"}
"""Torch's names of NumPy's types."""

Pair = tuple[int, int]
"""Height and width."""

_indices = itertools.count(2**20)
"""Beyond the objects of an ordinary file, whose modules may stand beside those built here."""

# Lua values -------------------------------------------------------------------------------------


def storage(array: Array) -> Storage:
    """A storage that holds the elements of `array`, in order."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return Storage(f"torch.{TYPES[flat.dtype.name]}Storage", flat, next(_indices), 0)


def tensor(array: Array, on: Storage | None = None, offset: int = 0) -> Tensor:
    """A contiguous tensor, on a storage of its own or `on` another from element `offset` on."""
    on = on or storage(array)
    stride = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
    name = on.typename.replace("Storage", "Tensor")
    return Tensor(name, array.shape, stride, offset, on, next(_indices), on.dtype)


def empty(kind: str = "Float") -> Tensor:
    """A tensor without elements, such as modules keep to compute in."""
    dtype = np.dtype(np.int64 if kind == "Long" else np.float32)
    return Tensor(f"torch.{kind}Tensor", (), (), 0, None, next(_indices), dtype)


def table(*items: Any, **named: Any) -> Table:
    """A Lua table: a list, string keys, or both."""
    entries: dict[Any, Any] = {i: lua(item) for i, item in enumerate(items, start=1)}
    return Table(next(_indices), entries | {key: lua(value) for key, value in named.items()})


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


def torch_module(typename: str, **fields: Any) -> TorchObject:
    """An instance of a Torch class; fields that are None are nil."""
    entries = {name: lua(value) for name, value in fields.items() if value is not None}
    return TorchObject(typename, next(_indices), 1, 0, entries)


def renumbered(root: TorchObject) -> TorchObject:
    """A copy of what a file holds, with indices of its own: those of two files are the same ones.

    What is shared inside stays shared; numbers are not copied.
    """
    copies: dict[int, Any] = {}
    pending: list[tuple[Any, Any]] = []

    def copied(value: Any) -> Any:
        if not isinstance(value, Table | TorchObject | Tensor | Storage):
            return value
        if id(value) not in copies:
            if isinstance(value, Tensor):
                changes = {"storage": copied(value.storage), "index": next(_indices)}
            elif isinstance(value, Storage):
                changes = {"index": next(_indices)}
            else:
                name = "items" if isinstance(value, Table) else "fields"
                changes = {"index": next(_indices), name: {}}
            copies[id(value)] = replace(value, **changes)
            if not isinstance(value, Tensor | Storage):
                pending.append((value, copies[id(value)]))
        return copies[id(value)]

    copy: TorchObject = copied(root)
    while pending:
        old, new = pending.pop()
        if isinstance(old, Table):
            new.items |= {copied(key): copied(item) for key, item in old.items.items()}
        else:
            new.fields |= {copied(key): copied(item) for key, item in old.fields.items()}
    return copy


# Containers -------------------------------------------------------------------------------------


def container(typename: str, *children: TorchObject, **fields: Any) -> TorchObject:
    """A module that holds modules."""
    return torch_module(typename, modules=list(children), **fields)


def sequential(*children: TorchObject) -> TorchObject:
    """nn.Sequential."""
    return container("nn.Sequential", *children)


def concat_table(*children: TorchObject) -> TorchObject:
    """nn.ConcatTable."""
    return container("nn.ConcatTable", *children)


def parallel_table(*children: TorchObject) -> TorchObject:
    """nn.ParallelTable."""
    return container("nn.ParallelTable", *children)


# Layers -----------------------------------------------------------------------------------------


def convolution(
    weight: Array,
    bias: Array | None = None,
    stride: Pair = (1, 1),
    pad: Pair = (0, 0),
    groups: int = 1,
) -> TorchObject:
    """nn.SpatialConvolution of a weight O×I/groups×kH×kW; cuDNN's where there are groups."""
    outputs, planes, *kernel = weight.shape
    return torch_module(
        "nn.SpatialConvolution" if groups == 1 else "cudnn.SpatialConvolution",
        nInputPlane=planes * groups,
        nOutputPlane=outputs,
        groups=None if groups == 1 else groups,
        **_geometry((kernel[0], kernel[1]), stride, pad),
        weight=weight,
        bias=bias,
    )


def full_convolution(
    weight: Array, bias: Array | None = None, stride: Pair = (1, 1), pad: Pair = (0, 0)
) -> TorchObject:
    """nn.SpatialFullConvolution of a weight I×O×kH×kW."""
    planes, outputs, *kernel = weight.shape
    return torch_module(
        "nn.SpatialFullConvolution",
        nInputPlane=planes,
        nOutputPlane=outputs,
        **_geometry((kernel[0], kernel[1]), stride, pad),
        adjW=0,
        adjH=0,
        weight=weight,
        bias=bias,
    )


def _geometry(kernel: Pair, stride: Pair, pad: Pair) -> dict[str, int]:
    """The fields in which convolutions and poolings keep their windows."""
    fields = {"kW": kernel[1], "kH": kernel[0], "dW": stride[1], "dH": stride[0]}
    return fields | {"padW": pad[1], "padH": pad[0]}


def max_pooling(
    kernel: Pair, stride: Pair, pad: Pair = (0, 0), ceil_mode: bool = False
) -> TorchObject:
    """nn.SpatialMaxPooling."""
    window = _geometry(kernel, stride, pad)
    return torch_module("nn.SpatialMaxPooling", **window, ceil_mode=ceil_mode)


def average_pooling(
    kernel: Pair, stride: Pair, pad: Pair = (0, 0), ceil_mode: bool = False
) -> TorchObject:
    """nn.SpatialAveragePooling, which counts padding."""
    return torch_module(
        "nn.SpatialAveragePooling",
        **_geometry(kernel, stride, pad),
        ceil_mode=ceil_mode,
        count_include_pad=True,
        divide=True,
    )


def cross_map_lrn(size: int, alpha: float, beta: float, k: float) -> TorchObject:
    """nn.SpatialCrossMapLRN."""
    return torch_module("nn.SpatialCrossMapLRN", size=size, alpha=alpha, beta=beta, k=k)


def identity() -> TorchObject:
    """nn.Identity."""
    return torch_module("nn.Identity")


def relu(inplace: bool = False) -> TorchObject:
    """nn.ReLU."""
    return torch_module("nn.ReLU", inplace=inplace, threshold=0, val=0)


def leaky_relu(slope: float, inplace: bool = False) -> TorchObject:
    """nn.LeakyReLU."""
    return torch_module("nn.LeakyReLU", negval=slope, inplace=inplace)


def view(*size: int, sample_rank: int | None = None) -> TorchObject:
    """nn.View(size) with setNumInputDims(sample_rank)."""
    sizes = storage(np.array(size, np.int64))
    return torch_module("nn.View", size=sizes, numInputDims=sample_rank)


def dropout(p: float = 0.5) -> TorchObject:
    """nn.Dropout of version 2: the identity in evaluation."""
    return torch_module("nn.Dropout", p=p, v2=True)


# nngraph ----------------------------------------------------------------------------------------


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
    """nn.gModule of linked nodes in the order in which they run.

    The first node stands for the input, the last for the output.
    """
    return torch_module(
        "nn.gModule", forwardnodes=list(nodes), innode=nodes[0], outnode=nodes[-1], nInputs=1
    )


# As Torch makes and saves them ------------------------------------------------------------------


class Modules:
    """Modules that Torch can load and run, with initial weights as Torch draws them.

    Equal seeds and equal calls give equal weights.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """tensor:uniform(low, high), float32."""
        return self.random.uniform(low, high, shape).astype(np.float32)

    def module(self, typename: str, **fields: Any) -> TorchObject:
        """An instance of a class with the fields of every nn.Module, in evaluation mode."""
        return self.complete(torch_module(typename, **fields))

    def complete(self, module: TorchObject, **buffers: Any) -> TorchObject:
        """`module` with the fields that nn.Module's constructor makes, and `buffers`."""
        module.fields |= {"_type": "torch.FloatTensor", "train": False}
        module.fields |= {"output": empty(), "gradInput": empty()} | buffers
        return module

    def sequential(self, *children: TorchObject) -> TorchObject:
        """nn.Sequential."""
        return self.complete(sequential(*children))

    def concat(self, *children: TorchObject) -> TorchObject:
        """nn.Concat(2): the planes of all children."""
        concat = container("nn.Concat", *children, dimension=2)
        return self.complete(concat, outputSize=self.sizes())

    def add(self, *children: TorchObject) -> list[TorchObject]:
        """nn.ConcatTable of the children and nn.CAddTable: their sum."""
        return [self.complete(concat_table(*children)), self.module("nn.CAddTable")]

    def sizes(self) -> Storage:
        """torch.LongStorage(4), where modules note the size of a batch of images."""
        return storage(np.zeros(4, np.int64))

    def convolution(self, planes: int, outputs: int, kernel: int, stride: int = 1) -> TorchObject:
        """nn.SpatialConvolution without padding: weights and biases within ±1/sqrt(fan-in)."""
        bound = 1 / math.sqrt(kernel * kernel * planes)
        weight = self.uniform(-bound, bound, outputs, planes, kernel, kernel)
        bias = self.uniform(-bound, bound, outputs)
        layer = convolution(weight, bias, (stride, stride))
        return self.complete(layer, finput=empty(), fgradInput=empty())

    def full_convolution(self, planes: int, outputs: int) -> TorchObject:
        """nn.SpatialFullConvolution(planes, outputs, 3, 3, 2, 2, 1, 1, 1, 1): doubles the size.

        Torch takes the fan-in of the input planes here too, although each output pixel sees a part
        of the kernel only.
        """
        bound = 1 / math.sqrt(3 * 3 * planes)
        return self.module(
            "nn.SpatialFullConvolution",
            nInputPlane=planes,
            nOutputPlane=outputs,
            **_geometry((3, 3), stride=(2, 2), pad=(1, 1)),
            adjW=1,
            adjH=1,
            weight=self.uniform(-bound, bound, planes, outputs, 3, 3),
            bias=self.uniform(-bound, bound, outputs),
            finput=empty(),
            fgradInput=empty(),
            ones=empty(),
        )

    def normalization(self, kind: str, planes: int) -> TorchObject:
        """`batch` or `instance`: scale uniform in 0…1, shift 0, running mean 0 and variance 1."""
        statistics = {
            "eps": 1e-5,
            "affine": True,
            "weight": self.uniform(0, 1, planes),
            "bias": np.zeros(planes, np.float32),
            "running_mean": np.zeros(planes, np.float32),
            "running_var": np.ones(planes, np.float32),
        }
        if kind == "batch":
            layer = self.module("nn.SpatialBatchNormalization", momentum=0.1, **statistics)
            layer.version = 2
            return layer
        return self.module(
            "nn.InstanceNormalization",
            nOutput=planes,
            momentum=0.0,
            prev_batch_size=-1,
            **statistics,
        )

    def lstm(self, inputs: int, hidden: int, batch_first: bool) -> TorchObject:
        """nn.SeqLSTM over T×N×D, or N×T×D: weights and biases within ±1/sqrt(hidden)."""
        bound = 1 / math.sqrt(hidden)
        return self.module(
            "nn.SeqLSTM",
            inputsize=inputs,
            outputsize=hidden,
            hiddensize=hidden,
            batchfirst=batch_first,
            maskzero=False,
            weight=self.uniform(-bound, bound, inputs + hidden, 4 * hidden),
            bias=self.uniform(-bound, bound, 4 * hidden),
        )

    def padding(self, kind: str, amount: int) -> TorchObject:
        """nn.Spatial`kind`Padding, the same on all sides."""
        sides = dict.fromkeys(("pad_l", "pad_r", "pad_t", "pad_b"), amount)
        return self.module(f"nn.Spatial{kind}Padding", **sides)

    def relu(self, inplace: bool) -> TorchObject:
        """nn.ReLU(inplace)."""
        return self.complete(relu(inplace))

    def leaky_relu(self) -> TorchObject:
        """nn.LeakyReLU(0.01, true)."""
        return self.complete(leaky_relu(0.01, inplace=True))

    def max_pooling(self, size: int) -> TorchObject:
        """nn.SpatialMaxPooling over size×size windows side by side."""
        return self.complete(max_pooling((size, size), (size, size)), indices=empty("Long"))

    def average_pooling(self, size: int) -> TorchObject:
        """nn.SpatialAveragePooling over size×size windows side by side."""
        return self.complete(average_pooling((size, size), (size, size)))

    def unpooling(self, pooling: TorchObject) -> TorchObject:
        """nn.SpatialMaxUnpooling of a pooling's very module."""
        return self.module("nn.SpatialMaxUnpooling", pooling=pooling, indices=empty("Long"))

    def upsampling(self) -> TorchObject:
        """nn.SpatialUpSamplingNearest(2)."""
        sizes = {"inputSize": self.sizes(), "outputSize": self.sizes()}
        return self.module("nn.SpatialUpSamplingNearest", scale_factor=2, **sizes)

    def tv_loss(self, strength: float) -> TorchObject:
        """nn.TVLoss(strength)."""
        buffers = {"x_diff": empty(), "y_diff": empty()}
        return self.module("nn.TVLoss", strength=float(strength), **buffers)
