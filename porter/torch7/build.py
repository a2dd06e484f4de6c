"""Torch modules in Python, as a `.t7` would hold them, with the weights that Torch gives them.

Source: the constructors and `reset` of torch/nn SpatialConvolution.lua, SpatialFullConvolution.lua,
BatchNormalization.lua; texture_nets InstanceNormalization.lua and src/utils.lua.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from porter.torch7 import Storage, Table, Tensor, TorchObject
from porter.torch7.types import Array

FLOAT = "torch.FloatTensor"


class Modules:
    """Makes modules. Equal seeds and equal calls give equal weights."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.indices = itertools.count(1)

    # What modules are made of ---------------------------------------------------------------------

    def tensor(self, array: Array) -> Tensor:
        """A contiguous FloatTensor on a storage of its own."""
        flat = np.ascontiguousarray(array, np.float32).reshape(-1)
        storage = Storage("torch.FloatStorage", flat, next(self.indices), 0)
        stride = tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim))
        return Tensor(FLOAT, array.shape, stride, 0, storage, next(self.indices), flat.dtype)

    def buffer(self, kind: str = "Float") -> Tensor:
        """An empty tensor, such as modules keep to compute in."""
        dtype = np.dtype(np.int64 if kind == "Long" else np.float32)
        return Tensor(f"torch.{kind}Tensor", (), (), 0, None, next(self.indices), dtype)

    def sizes(self) -> Storage:
        """torch.LongStorage(4), where modules note the size of a batch of images."""
        return Storage("torch.LongStorage", np.zeros(4, np.int64), next(self.indices), 0)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """tensor:uniform(low, high)."""
        return self.tensor(self.random.uniform(low, high, shape))

    def module(self, typename: str, **fields: Any) -> TorchObject:
        """An instance of a class, in evaluation mode; who trains it says so at every call."""
        made = TorchObject(typename, next(self.indices), 1, 0)
        made.fields |= {"_type": FLOAT, "train": False}
        made.fields |= {"output": self.buffer(), "gradInput": self.buffer()}
        for name, value in fields.items():
            counts = isinstance(value, int) and not isinstance(value, bool)
            made.fields[name] = float(value) if counts else value
        return made

    def container(self, typename: str, *children: TorchObject, **fields: Any) -> TorchObject:
        """A module that holds modules."""
        held = Table(next(self.indices), dict(enumerate(children, start=1)))
        return self.module(typename, modules=held, **fields)

    def sequential(self, *children: TorchObject) -> TorchObject:
        """nn.Sequential."""
        return self.container("nn.Sequential", *children)

    # Layers ---------------------------------------------------------------------------------------

    def convolution(self, planes: int, outputs: int, kernel: int, stride: int = 1) -> TorchObject:
        """nn.SpatialConvolution without padding: weights and biases within ±1/sqrt(fan-in)."""
        bound = 1 / math.sqrt(kernel * kernel * planes)
        return self.module(
            "nn.SpatialConvolution",
            **self.geometry(planes, outputs, kernel, stride, pad=0),
            weight=self.uniform(-bound, bound, outputs, planes, kernel, kernel),
            bias=self.uniform(-bound, bound, outputs),
            finput=self.buffer(),
            fgradInput=self.buffer(),
        )

    def full_convolution(self, planes: int, outputs: int) -> TorchObject:
        """nn.SpatialFullConvolution(planes, outputs, 3, 3, 2, 2, 1, 1, 1, 1): doubles the size.

        Torch takes the fan-in of the input planes here too, although each output pixel sees a part
        of the kernel only.
        """
        bound = 1 / math.sqrt(3 * 3 * planes)
        return self.module(
            "nn.SpatialFullConvolution",
            **self.geometry(planes, outputs, kernel=3, stride=2, pad=1),
            adjW=1,
            adjH=1,
            weight=self.uniform(-bound, bound, planes, outputs, 3, 3),
            bias=self.uniform(-bound, bound, outputs),
            finput=self.buffer(),
            fgradInput=self.buffer(),
            ones=self.buffer(),
        )

    @staticmethod
    def geometry(planes: int, outputs: int, kernel: int, stride: int, pad: int) -> dict[str, int]:
        """Sizes that both kinds of convolutions have."""
        fields = {"nInputPlane": planes, "nOutputPlane": outputs}
        fields |= {"kW": kernel, "kH": kernel, "dW": stride, "dH": stride}
        return fields | {"padW": pad, "padH": pad}

    def normalization(self, kind: str, planes: int) -> TorchObject:
        """Scale uniform in 0…1, shift 0, running mean 0 and variance 1: of both classes alike."""
        statistics = {
            "eps": 1e-5,
            "affine": True,
            "weight": self.uniform(0, 1, planes),
            "bias": self.tensor(np.zeros(planes)),
            "running_mean": self.tensor(np.zeros(planes)),
            "running_var": self.tensor(np.ones(planes)),
        }
        if kind == "batch":
            made = self.module("nn.SpatialBatchNormalization", momentum=0.1, **statistics)
            made.version = 2
            return made
        return self.module(
            "nn.InstanceNormalization",
            nOutput=planes,
            momentum=0.0,
            prev_batch_size=-1,
            **statistics,
        )

    def padding(self, kind: str, amount: int) -> TorchObject:
        """nn.Spatial`kind`Padding, the same on all sides."""
        sides = dict.fromkeys(("pad_l", "pad_r", "pad_t", "pad_b"), amount)
        return self.module(f"nn.Spatial{kind}Padding", **sides)

    def relu(self, inplace: bool) -> TorchObject:
        """nn.ReLU(inplace)."""
        return self.module("nn.ReLU", threshold=0, val=0, inplace=inplace)

    def leaky_relu(self) -> TorchObject:
        """nn.LeakyReLU(0.01, true)."""
        return self.module("nn.LeakyReLU", negval=0.01, inplace=True)

    def pooling(self, kind: str, size: int) -> TorchObject:
        """nn.Spatial`kind`Pooling over size×size windows side by side."""
        window = dict.fromkeys(("kW", "kH", "dW", "dH"), size)
        own: dict[str, Any] = {"indices": self.buffer("Long")}
        if kind == "Average":
            own = {"count_include_pad": True, "divide": True}
        return self.module(
            f"nn.Spatial{kind}Pooling", **window, padW=0, padH=0, ceil_mode=False, **own
        )

    def unpooling(self, pooling: TorchObject) -> TorchObject:
        """nn.SpatialMaxUnpooling of a pooling's very module."""
        return self.module("nn.SpatialMaxUnpooling", pooling=pooling, indices=self.buffer("Long"))

    def doubling(self) -> TorchObject:
        """nn.SpatialUpSamplingNearest(2)."""
        sizes = {"inputSize": self.sizes(), "outputSize": self.sizes()}
        return self.module("nn.SpatialUpSamplingNearest", scale_factor=2, **sizes)

    def tv_loss(self, strength: float) -> TorchObject:
        """nn.TVLoss(strength)."""
        buffers = {"x_diff": self.buffer(), "y_diff": self.buffer()}
        return self.module("nn.TVLoss", strength=float(strength), **buffers)

    def concat(self, *children: TorchObject) -> TorchObject:
        """nn.Concat(2): the planes of all children."""
        return self.container("nn.Concat", *children, dimension=2, outputSize=self.sizes())

    def add(self, *children: TorchObject) -> list[TorchObject]:
        """nn.ConcatTable of the children and nn.CAddTable: their sum."""
        return [self.container("nn.ConcatTable", *children), self.module("nn.CAddTable")]
