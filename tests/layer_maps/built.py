"""Modules of the classes that no recording covers, so that the laws hold them as well.

Most run on GPUs only; the rest are spelled as their Lua sources write them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from porter.ir.nested import Nested
from porter.torch7 import TorchObject
from tests.build import Array, container, randn, sequential, torch_module
from tests.layer_maps.published import PUBLISHED

Built = tuple[TorchObject, Nested[Array]]


def convolution(typename: str, weight: Array, x: Array, **fields: float) -> Built:
    """A convolution from 4 to 6 planes with a kernel of 3 × 2."""
    sizes = {"nInputPlane": 4, "nOutputPlane": 6, "kH": 3, "kW": 2, "dH": 1, "dW": 2}
    bias = randn(6, seed=1)
    return torch_module(typename, weight=weight, bias=bias, **(sizes | fields)), x


def fft(typename: str) -> Built:
    pads = {"padUp": 1, "padDown": 2, "padLeft": 0, "padRight": 1}
    return convolution(typename, randn(6, 4, 3, 2), randn(2, 4, 7, 9), **pads)


def upsampling_convolution(typename: str) -> Built:
    """FluidNet's: the planes of an inner convolution as blocks of pixels."""
    inner, x = convolution("nn.SpatialConvolution", randn(6, 4, 3, 2), randn(2, 4, 7, 9))
    return container(typename, inner, scaleH=3, scaleW=2), x


def criterion(typename: str, x: Array, target: Array, **fields: Array) -> Built:
    return torch_module(
        "nn.CriterionTable", criterion=torch_module(typename, sizeAverage=True, **fields)
    ), [x, target]


def distribution(*shape: int, seed: int) -> Array:
    """Rows of positive numbers that sum to one."""
    odds = np.exp(randn(*shape, seed=seed))
    shares: Array = odds / odds.sum(axis=-1, keepdims=True)
    return shares


def inn_pooling(typename: str, **fields: bool) -> Built:
    sizes = {"kH": 3, "kW": 2, "dH": 2, "dW": 2}
    return torch_module(typename, **sizes, **fields), randn(2, 3, 8, 7)


def pyramid() -> Built:
    """imagine-nn's nn.Concat of flattened adaptive poolings."""
    level = sequential(
        torch_module("nn.SpatialAdaptiveMaxPooling", W=2, H=3),
        torch_module("nn.View", size=[-1], numInputDims=3),
    )
    whole = sequential(
        torch_module("nn.SpatialAdaptiveMaxPooling", W=1, H=1),
        torch_module("nn.View", size=[-1], numInputDims=3),
    )
    concat = container("inn.SpatialPyramidPooling", level, whole, dimension=2)
    return concat, randn(2, 3, 8, 7)


def response(typename: str, key: str) -> Built:
    """x / (1 + alpha · mean of squares)^beta, built of modules as imagine-nn does."""
    mean = torch_module(
        "nn.SpatialAveragePooling", kW=3, kH=3, dW=1, dH=1, padW=1, padH=1, divide=True
    )
    scale = sequential(
        torch_module("nn.Square"),
        mean,
        torch_module("nn.MulConstant", constant_scalar=0.1),
        torch_module("nn.AddConstant", constant_scalar=1),
        torch_module("nn.Power", pow=0.75),
    )
    both = container("nn.ConcatTable", torch_module("nn.Identity"), scale)
    whole = sequential(both, torch_module("nn.CDivTable"))
    return torch_module(typename, **{key: whole}), randn(2, 3, 8, 7)


def lookup() -> Built:
    indices = np.array([[1, 5, 3], [2, 9, 1]], np.int64)
    return torch_module("nn.LookupTableGPU", weight=randn(5, 4), unk_index=9), indices


def replicas(typename: str, key: str) -> Built:
    """A convolution that two GPUs would share the batch of."""
    replica, x = convolution("nn.SpatialConvolution", randn(6, 4, 3, 2), randn(2, 4, 7, 9))
    return torch_module(typename, **{key: [replica, replica]}), x


BATCH_LAST = randn(4, 7, 9, 2)
PER_PLANE = {"a": randn(3, seed=3), "b": randn(3, seed=4)}

BUILT: dict[str, Callable[[], Built]] = {
    "ccn2.SpatialConvolution": lambda: convolution(
        "ccn2.SpatialConvolution", randn(4 * 3 * 3, 6), BATCH_LAST, kW=3, dW=1, padding=1
    ),
    "cudnn.SpatialConvolutionUpsample": lambda: upsampling_convolution(
        "cudnn.SpatialConvolutionUpsample"
    ),
    "cudnn.VolumetricLogSoftMax": lambda: (
        torch_module("cudnn.VolumetricLogSoftMax"),
        randn(2, 3, 4, 5, 6),
    ),
    "cudnn.VolumetricSoftMax": lambda: (
        torch_module("cudnn.VolumetricSoftMax"),
        randn(2, 3, 4, 5, 6),
    ),
    "inn.ConstAffine": lambda: (torch_module("inn.ConstAffine", **PER_PLANE), randn(2, 3, 4, 5)),
    "inn.LocalResponseNormalization": lambda: response("inn.LocalResponseNormalization", "modules"),
    "inn.SpatialAveragePooling": lambda: inn_pooling("inn.SpatialAveragePooling"),
    "inn.SpatialMaxPooling": lambda: inn_pooling("inn.SpatialMaxPooling"),
    "inn.SpatialPyramidPooling": pyramid,
    "inn.SpatialSameResponseNormalization": lambda: response(
        "inn.SpatialSameResponseNormalization", "_modules"
    ),
    "nn.AbsCriterion": lambda: criterion("nn.AbsCriterion", randn(3, 4), randn(3, 4, seed=2)),
    "nn.BCECriterion": lambda: criterion(
        "nn.BCECriterion",
        distribution(3, 4, seed=1),
        distribution(3, 4, seed=2),
        weights=distribution(4, seed=3),
    ),
    "nn.ClassNLLCriterion": lambda: criterion(
        "nn.ClassNLLCriterion",
        np.log(distribution(3, 4, seed=1)),
        np.array([4, 1, 2], np.int64),
        weights=distribution(4, seed=3),
    ),
    "nn.DataParallel": lambda: replicas("nn.DataParallel", "modules"),
    "nn.DataParallelTable": lambda: replicas("nn.DataParallelTable", "modules"),
    "nn.DistKLDivCriterion": lambda: criterion(
        "nn.DistKLDivCriterion", np.log(distribution(3, 4, seed=1)), distribution(3, 4, seed=2)
    ),
    "nn.LookupTableGPU": lookup,
    "nn.SmoothL1Criterion": lambda: criterion(
        "nn.SmoothL1Criterion", randn(3, 4), randn(3, 4, seed=2)
    ),
    "nn.SpatialConvolutionCUDA": lambda: convolution(
        "nn.SpatialConvolutionCUDA", randn(4, 3, 2, 6), BATCH_LAST, padding=1
    ),
    "nn.SpatialConvolutionCuFFT": lambda: fft("nn.SpatialConvolutionCuFFT"),
    "nn.SpatialConvolutionFBFFT": lambda: fft("nn.SpatialConvolutionFBFFT"),
    "nn.SpatialConvolutionFFT": lambda: fft("nn.SpatialConvolutionFFT"),
    "nn.SpatialConvolutionUpsample": lambda: upsampling_convolution(
        "nn.SpatialConvolutionUpsample"
    ),
    **PUBLISHED,
}
"""A module and an input for each unrecorded class that has a meaning of its own."""


def glimpse() -> Built:
    """Two crops around a place in each image, shrunk by averages."""
    pooling = torch_module("nn.SpatialAveragePooling", kW=2, kH=2, dW=2, dH=2)
    module = torch_module("nn.SpatialGlimpse", height=3, width=3, depth=2, scale=2, module=pooling)
    return module, [randn(2, 3, 9, 8), np.array([[0.2, -0.4], [-0.9, 0.7]], np.float32)]


LOOPED: dict[str, Callable[[], Built]] = {"nn.SpatialGlimpse": glimpse}
"""Classes that were recorded inside loops only, where the laws do not look."""
