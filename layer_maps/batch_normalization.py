"""Normalisation with statistics of the whole batch, or with running statistics.

    y = (x - mean) / sqrt(var + eps) · weight + bias, for each feature plane

Source: torch/nn BatchNormalization.lua, SpatialBatchNormalization.lua,
VolumetricBatchNormalization.lua, THNN BatchNormalization.c; cudnn.torch BatchNormalization.lua and
kin; imagine-nn SpatialConstAffine.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from porter.maps import (
    POINTWISE,
    AffinePerPlane,
    Array,
    BadField,
    HasKerasLayer,
    HasReach,
    HintsInput,
    LayerMap,
    Layouts,
    MakesBatch,
    NormalizesPlanes,
    OpContext,
    Options,
    PlaneNormalization,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    Types,
    flag,
    number,
    optional_param,
    param,
    register,
)


def mean_over(tf: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The mean over several stored axes, which remain with size 1.

    One axis after the other, the innermost first: partial sums stay short, so that the rounding
    error of a megapixel plane in float32 is a hundred times smaller than in one reduction.
    """
    for axis in sorted(axes, reverse=True):
        x = tf.reduce_mean(x, axis=axis, keepdims=True)
    return x


def centred(tf: Any, x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """`x` minus its mean, and its biased variance: the mean of the centred squares.

    Centred twice: where the mean is large relative to the deviations, the first pass leaves its
    rounding error, which the second removes.
    """
    deviation = tf.subtract(x, mean_over(tf, x, axes))
    deviation = tf.subtract(deviation, mean_over(tf, deviation, axes))
    return deviation, mean_over(tf, tf.square(deviation), axes)


def along(tf: Any, vector: Any, axis: int, rank: int) -> Any:
    """One number for each plane, in a shape that broadcasts along the stored axis `axis`."""
    if axis == rank - 1:
        return vector
    return tf.reshape(vector, [-1 if position == axis else 1 for position in range(rank)])


def planes_of(vector: Array, rank: int) -> Array:
    """The same in NumPy and in Torch's order, where planes are axis 1 of a batch."""
    return vector.reshape(1, -1, *(1,) * (rank - 2))


class PerPlane(LayerMap):
    """A function with parameters for each feature plane: axis 1 of a batch in Torch's order.

    Works wherever the planes are stored, also on features flattened channels-last.
    """

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return available, available


class PlaneBatchNormalization(
    PerPlane, AffinePerPlane, HasKerasLayer, HasReach, HintsInput, MakesBatch, NormalizesPlanes
):
    """Batch normalisation; subclasses fix the rank of a batch.

    Torch (BatchNormalization.lua `updateOutput`) normalises with the statistics of its batch where
    `train` is true, also for a batch of one (so until torch/nn pull request 1271), and with
    `running_mean` and `running_var` otherwise. Files older than class version 2 hold
    `running_std` = 1/sqrt(var + eps) instead; the field decides, since
    nn.VolumetricBatchNormalization never counted its version on. In evaluation nn's classes also
    take one sample, and turn the caller's own tensor into a batch of one.
    """

    weight = optional_param("C")
    bias = optional_param("C")
    running_mean = param("C", trainable=False)
    running_var = param("C", trainable=False)
    eps = number("eps", 1e-5)
    momentum = number("momentum", 0.1)
    uses_batch = flag("train")
    batch_rank: ClassVar[int]
    takes: ClassVar[str]
    depends_on_mode = True
    causes = {
        ("uses_batch", False): "it normalises with the running statistics (`bn=evaluate`)",
        ("uses_batch", True): "it normalises with the statistics of its batch (`bn=train`)",
    }
    reads_before_writing = True  # THNN BatchNormalization.c: plane by plane, statistics first

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        op = self.evolve(uses_batch=options.in_training(module))
        if op.uses_batch:
            op = op.with_notes("normalises with the statistics of each batch (training mode)")
        if "running_var" in module or "running_std" not in module:
            return op
        mean, std = self.running_mean, module.tensor("running_std")
        if std.shape != mean.shape:
            raise BadField(
                f"'running_std' of {self.typename} should have {mean.shape[0]} elements",
                received="×".join(map(str, std.shape)),
            )
        variance = (std.array.astype(np.float64) ** -2 - self.eps).astype(std.dtype)
        computed = mean.with_array(variance, tag="variance from running_std")
        op = op.evolve(running_var=computed)
        return op.with_notes("variance from the old field `running_std`")

    def makes_batch(self, x: TensorType) -> bool:
        unbatched = x.rank == self.batch_rank - 1
        return unbatched and not self.uses_batch and not self.typename.startswith("cudnn.")

    def output_shape(self, x: Shape) -> Shape:
        planes = self.running_mean.shape[0]
        self.require(len(x) == self.batch_rank, f"takes {self.takes}", x)
        self.require(x[1] == planes, f"takes {planes} feature planes", x)
        return x

    def reference(self, x: Array) -> Array:
        if self.uses_batch:
            axes = tuple(axis for axis in range(x.ndim) if axis != 1)
            mean, var = x.mean(axis=axes), x.var(axis=axes)
        else:
            mean, var = self.running_mean.array, self.running_var.array
        deviation = np.sqrt(var.astype(x.dtype) + self.eps)
        out = (x - planes_of(mean, x.ndim)) / planes_of(deviation, x.ndim)
        if self.weight is not None:
            out = out * planes_of(self.weight.array, x.ndim)
        if self.bias is not None:
            out = out + planes_of(self.bias.array, x.ndim)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.uses_batch:
            return self.scaled(tf, *centred(tf, x, self.others(at)), at)
        rank, planes, rows = self.batch_rank, at.axis(1), at.flat_rows
        mean = at.variable(self.running_mean, rows)
        deviation = tf.subtract(x, along(tf, mean, planes, rank))
        variance = along(tf, at.variable(self.running_var, rows), planes, rank)
        return self.scaled(tf, deviation, variance, at)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        deviation, variance = centred(tf, x, self.others(at))
        mean = mean_over(tf, x, self.others(at))
        count = tf.cast(tf.size(x) // tf.size(mean), at.dtype)
        # Torch keeps the unbiased variance; of a single number there is none.
        unbiased = tf.multiply(variance, tf.divide(count, tf.maximum(count - 1, 1)))
        for running, found in ((self.running_mean, mean), (self.running_var, unbiased)):
            before = at.variable(running, at.flat_rows)
            now = tf.multiply(tf.reshape(found, [-1]), self.momentum)
            at.update(running, tf.multiply(before, 1 - self.momentum) + now, at.flat_rows)
        return self.scaled(tf, deviation, variance, at)

    def others(self, at: OpContext) -> tuple[int, ...]:
        """The stored axes that a plane's statistics are computed over."""
        return tuple(axis for axis in range(self.batch_rank) if axis != at.axis(1))

    def scaled(self, tf: Any, deviation: Any, variance: Any, at: OpContext) -> Any:
        """The centred input, divided by the deviation, times weight, plus bias."""
        rank, planes, rows = self.batch_rank, at.axis(1), at.flat_rows
        scale = tf.math.rsqrt(tf.add(variance, self.eps))
        if self.weight is not None:
            scale = tf.multiply(scale, along(tf, at.variable(self.weight, rows), planes, rank))
        out = tf.multiply(deviation, scale)
        if self.bias is not None:
            out = tf.add(out, along(tf, at.variable(self.bias, rows), planes, rank))
        return out

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        if self.uses_batch:
            return None
        rows = at.flat_rows
        learned = [each and at.variable(each, rows) for each in (self.weight, self.bias)]
        statistics = [at.variable(each, rows) for each in (self.running_mean, self.running_var)]
        return k(
            "BatchNormalization",
            x,
            weights=[*learned, *statistics],
            axis=at.axis(1),
            momentum=1 - self.momentum,
            epsilon=self.eps,
            scale=self.weight is not None,
            center=self.bias is not None,
        )

    def per_plane_affine(self) -> tuple[Array, Array] | None:
        if self.uses_batch:
            return None
        with np.errstate(all="ignore"):
            scale = 1 / np.sqrt(self.running_var.array.astype(np.float64) + self.eps)
        if self.weight is not None:
            scale = scale * self.weight.array
        shift = -self.running_mean.array * scale
        return scale, shift if self.bias is None else shift + self.bias.array

    def plane_normalization(self) -> PlaneNormalization:
        if self.uses_batch:
            return PlaneNormalization(self.weight, self.bias, self.eps, over_batch=True)
        statistics = self.running_mean, self.running_var
        return PlaneNormalization(self.weight, self.bias, self.eps, *statistics)

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        return None if self.uses_batch else POINTWISE

    def input_hint(self) -> TensorType:
        free = (None,) * (self.batch_rank - 2)
        return TensorType((None, self.running_mean.shape[0], *free))


@register("nn.BatchNormalization", "cudnn.BatchNormalization")
class BatchNormalization(PlaneBatchNormalization):
    """Batch normalisation of N×C, feature by feature."""

    batch_rank = 2
    takes = "N×C"


@register("nn.SpatialBatchNormalization", "cudnn.SpatialBatchNormalization")
class SpatialBatchNormalization(PlaneBatchNormalization):
    """Batch normalisation of N×C×H×W, plane by plane."""

    batch_rank = 4
    takes = "N×C×H×W"


@register("nn.VolumetricBatchNormalization", "cudnn.VolumetricBatchNormalization")
class VolumetricBatchNormalization(PlaneBatchNormalization):
    """Batch normalisation of N×C×T×H×W, plane by plane."""

    batch_rank = 5
    takes = "N×C×T×H×W"


@register("inn.ConstAffine", "nn.SpatialConstDiagonal")
class ConstAffine(PerPlane, AffinePerPlane, HasReach):
    """a·x + b for each plane of N×C or N×C×H×W: a batch normalisation that was folded."""

    a = param("C", trainable=False)
    b = param("C", trainable=False)
    inplace = flag("inplace")

    def output_shape(self, x: Shape) -> Shape:
        planes = self.a.shape[0]
        self.require(len(x) in (2, 4), "takes N×C or N×C×H×W", x)
        self.require(x[1] == planes, f"takes {planes} feature planes", x)
        return x

    def reference(self, x: Array) -> Array:
        return x * planes_of(self.a.array, x.ndim) + planes_of(self.b.array, x.ndim)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank, planes, rows = at.inputs[0].rank, at.axis(1), at.flat_rows
        scaled = tf.multiply(x, along(tf, at.variable(self.a, rows), planes, rank))
        return tf.add(scaled, along(tf, at.variable(self.b, rows), planes, rank))

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach:
        return POINTWISE

    def per_plane_affine(self) -> tuple[Array, Array]:
        return self.a.array.astype(np.float64), self.b.array.astype(np.float64)
