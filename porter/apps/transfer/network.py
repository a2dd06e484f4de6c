"""Nets of a few ordinary layers, for weight files that hold no graph of their own.

A `Network` is a list of named layers in the order in which they can be run. Its weights are
loaded when a layer that needs them is built, and no layer behind the deepest wanted one is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from porter.apps.transfer.checks import require_sound
from porter.system.tensorflow import tf

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pooling = Literal["as-saved", "max", "average"]
Padding = Literal["as-saved", "same", "valid"]
Load = Callable[[], tuple[Array, "Array | None"]]

INPUT = "input"


@dataclass(frozen=True)
class Convolution:
    """Weights HWIO and a bias, loaded by `load`; `pad` zeros on every side, or TensorFlow's
    SAME where it is None."""

    load: Load
    stride: Pair = (1, 1)
    pad: Pair | None = None
    groups: int = 1


@dataclass(frozen=True)
class Rectifier:
    """max(x, 0), or slope·x below 0."""

    slope: float = 0.0


@dataclass(frozen=True)
class Pool:
    """`ceil` rounds the number of windows up, as Caffe does; averages count no padding."""

    kind: Literal["max", "average"] = "max"
    kernel: Pair = (2, 2)
    stride: Pair = (2, 2)
    pad: Pair = (0, 0)
    ceil: bool = False


@dataclass(frozen=True)
class ResponseNorm:
    """x / (k + alpha/size · Σ x²)^beta over `size` neighbouring planes (AlexNet)."""

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0


@dataclass(frozen=True)
class Concat:
    """Planes of all inputs, one after the other."""


@dataclass(frozen=True)
class Unsupported:
    """A layer that no descriptor runs; `why` tells it to whoever asks for it."""

    why: str


Operation = Convolution | Rectifier | Pool | ResponseNorm | Concat | Unsupported


@dataclass(frozen=True)
class Layer:
    """`name`, and the names of the layers that it reads."""

    name: str
    operation: Operation
    inputs: tuple[str, ...] = (INPUT,)


@dataclass(frozen=True)
class Network:
    """Layers in running order; `aliases` gives some of them second names."""

    layers: tuple[Layer, ...]
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Layers whose features can be asked for."""
        return tuple(
            each.name for each in self.layers if not isinstance(each.operation, Unsupported)
        )

    def needed(self, wanted: Sequence[str]) -> tuple[Layer, ...]:
        """The layers that lead to those wanted, in order."""
        asked = {self.aliases.get(name, name) for name in wanted}
        kept: list[Layer] = []
        for layer in reversed(self.layers):
            if layer.name in asked:
                kept.append(layer)
                asked.update(layer.inputs)
        return tuple(reversed(kept))

    def build(
        self, wanted: Sequence[str], pooling: Pooling, padding: Padding, dtype: str
    ) -> Callable[[Any], dict[str, Any]]:
        """Features of N×H×W×C by wanted name; loads the weights of the layers that are needed.

        Raises WeightError where they are unfit.
        """
        planes: dict[str, int | None] = {INPUT: None}
        steps: list[tuple[Layer, Callable[..., Any]]] = []
        for layer in self.needed(wanted):
            given = [planes[name] for name in layer.inputs]
            operation = adapted(layer.operation, pooling, padding)
            run, planes[layer.name] = compiled(layer.name, operation, given, dtype)
            steps.append((layer, run))
        named = {name: self.aliases.get(name, name) for name in wanted}

        def features(x: Any) -> dict[str, Any]:
            held = {INPUT: x}
            for layer, run in steps:
                held[layer.name] = run(*(held[name] for name in layer.inputs))
            return {name: held[layer] for name, layer in named.items()}

        return features


def adapted(operation: Operation, pooling: Pooling, padding: Padding) -> Operation:
    """The layer with the pooling and the padding that was asked for."""
    if isinstance(operation, Pool) and pooling != "as-saved":
        operation = replace(operation, kind=pooling)
    if isinstance(operation, Convolution) and padding != "as-saved":
        return replace(operation, pad=None if padding == "same" else (0, 0))
    return operation


def compiled(
    name: str, operation: Operation, planes: list[int | None], dtype: str
) -> tuple[Callable[..., Any], int | None]:
    """The layer as a function of tensors, and how many planes it makes."""
    if isinstance(operation, Convolution):
        weight, bias = operation.load()
        require_sound(name, weight, bias, planes[0], operation.groups)
        filters = tf.constant(np.ascontiguousarray(weight, dtype))
        added = None if bias is None else tf.constant(np.ascontiguousarray(bias, dtype))
        return lambda x: convolve(x, filters, added, operation), int(weight.shape[-1])
    if isinstance(operation, Rectifier):
        slope = operation.slope
        return (lambda x: tf.nn.leaky_relu(x, slope)) if slope else tf.nn.relu, planes[0]
    if isinstance(operation, Pool):
        return lambda x: pool(x, operation), planes[0]
    if isinstance(operation, ResponseNorm):
        return lambda x: response_norm(x, operation), planes[0]
    if isinstance(operation, Concat):
        total = sum(each or 0 for each in planes)
        return lambda *inputs: tf.concat(inputs, axis=-1), total
    raise AssertionError(f"{name}: {operation.why}")


def convolve(x: Any, filters: Any, bias: Any, layer: Convolution) -> Any:
    """Cross-correlation, which will be differentiated.

    TensorFlow on CPU has no gradient of groups, and a slow one of explicit padding.
    """
    pad, kernel = layer.pad, tuple(filters.shape[:2])
    kept = layer.stride == (1, 1) and pad == tuple((size - 1) / 2 for size in kernel)
    padding = "SAME" if pad is None or kept else "VALID"
    if pad is not None and any(pad) and not kept:
        x = tf.pad(x, [[0, 0], [pad[0]] * 2, [pad[1]] * 2, [0, 0]])
    parts = [
        tf.nn.conv2d(part, kernels, layer.stride, padding)
        for part, kernels in zip(
            tf.split(x, layer.groups, axis=-1),
            tf.split(filters, layer.groups, axis=-1),
            strict=True,
        )
    ]
    made = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
    return made if bias is None else tf.nn.bias_add(made, bias)


def pool(x: Any, layer: Pool) -> Any:
    """Windows of an image; those that overhang are padded with what never counts."""
    pads = [
        overhang(tf.shape(x)[axis + 1], layer, axis) if layer.ceil or layer.pad[axis] else None
        for axis in (0, 1)
    ]
    if pads == [None, None]:
        if layer.kind == "max":
            return tf.nn.max_pool2d(x, layer.kernel, layer.stride, "VALID")
        return tf.nn.avg_pool2d(x, layer.kernel, layer.stride, "VALID")
    around = [[0, 0], *([0, 0] if each is None else each for each in pads), [0, 0]]
    if layer.kind == "max":
        padded = tf.pad(x, around, constant_values=x.dtype.min)
        return tf.nn.max_pool2d(padded, layer.kernel, layer.stride, "VALID")
    sums = tf.nn.avg_pool2d(tf.pad(x, around), layer.kernel, layer.stride, "VALID")
    ones = tf.pad(tf.ones_like(x[:1, :, :, :1]), around)
    return sums / tf.nn.avg_pool2d(ones, layer.kernel, layer.stride, "VALID")


def overhang(size: Any, layer: Pool, axis: int) -> Any:
    """Elements to add before and behind an axis so that the last window is whole.

    Caffe, pooling_layer.cpp: windows are counted upwards, and one that starts in the padding
    behind the image is dropped.
    """
    kernel, stride, pad = layer.kernel[axis], layer.stride[axis], layer.pad[axis]
    if not layer.ceil:
        return [pad, pad]
    windows = -(-(size + 2 * pad - kernel) // stride) + 1
    if pad:
        windows = tf.minimum(windows, -(-(size + pad) // stride))
    return [pad, tf.maximum((windows - 1) * stride + kernel - size - pad, 0)]


def response_norm(x: Any, layer: ResponseNorm) -> Any:
    """Local response normalisation across planes."""
    if x.dtype == tf.float32:
        return tf.nn.local_response_normalization(
            x, layer.size // 2, layer.k, layer.alpha / layer.size, layer.beta
        )
    around = tf.pad(x * x, [[0, 0], [0, 0], [0, 0], [layer.size // 2] * 2])
    planes = x.shape[-1]
    total = tf.add_n([around[..., i : i + planes] for i in range(layer.size)])
    return x / (layer.k + layer.alpha / layer.size * total) ** layer.beta
