"""Normalisation of each plane of each image with its own mean and variance.

    y = (x - mean) / sqrt(var + eps) · weight + bias, var = mean of squared deviations

Four published classes share the name nn.InstanceNormalization, of texture_nets, CycleGAN,
fast-neural-style and AdaIN-style. All view N×C×H×W as 1×(N·C)×H×W and run a batch normalisation in
training mode on it, whose statistics are those of single planes. That inner module `bn` is a cache:
it may be missing, or built for another batch size, and its running statistics are never used.
Nor does `train` matter. (torch/nn since pull request 1271 uses the running statistics of `bn`,
because it sees a batch of one; published models were trained before.)

Source: texture_nets and CycleGAN InstanceNormalization.lua, fast-neural-style
InstanceNormalization.lua, AdaIN-style InstanceNormalization.lua and
AdaptiveInstanceNormalization.lua.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from porter.layer_maps.batch_normalization import along, centred, mean_over
from porter.maps import (
    POINTWISE,
    Accepts,
    Array,
    Field,
    HasKerasLayer,
    HasReach,
    HintsInput,
    LayerMap,
    NormalizesPlanes,
    OpContext,
    Options,
    PlaneNormalization,
    Reach,
    Shape,
    TensorType,
    TorchObject,
    flag,
    integer,
    number,
    optional_param,
    register,
)


def stored_plane(at: OpContext, of: int = 0) -> tuple[int, ...]:
    """The stored axes of height and width."""
    return at.axis(-2, of), at.axis(-1, of)


def is_adain_style(module: TorchObject) -> bool:
    """AdaIN-style's class takes single images too; only it has both of these fields."""
    return "prev_N" in module and "affine" in module


@register("nn.InstanceNormalization")
class InstanceNormalization(LayerMap, HasKerasLayer, HasReach, HintsInput, NormalizesPlanes):
    """Instance normalisation of N×C×H×W; AdaIN-style's also of C×H×W, and may be `disabled`.

    Weight and bias are the module's own, never those of its `bn`; without `affine` there are none.
    """

    weight = optional_param("C")
    bias = optional_param("C")
    planes = integer("nOutput")
    eps = number("eps", 1e-5)
    disabled = flag("disabled")
    takes_image = Field(is_adain_style, False)
    accepts = Accepts.ANY_ORDER

    def output_shape(self, x: Shape) -> Shape:
        if self.disabled:
            return x
        if self.takes_image:
            self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        else:
            self.require(len(x) == 4, "takes N×C×H×W", x)
        self.require(x[-3] == self.planes, f"takes {self.planes} feature planes", x)
        return x

    def reference(self, x: Array) -> Array:
        if self.disabled:
            return x.copy()
        mean, var = (f(x, axis=(-2, -1), keepdims=True) for f in (np.mean, np.var))
        out: Array = (x - mean) / np.sqrt(var + self.eps)
        if self.weight is not None:
            out = out * self.weight.array[:, None, None]
        if self.bias is not None:
            out = out + self.bias.array[:, None, None]
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.disabled:
            return x
        rank, planes, plane = at.inputs[0].rank, at.axis(-3), stored_plane(at)
        deviation = tf.subtract(x, mean_over(tf, x, plane))
        # Rounding of a mean that is large beside the deviations; taken away with the bias.
        rest = mean_over(tf, deviation, plane)
        squares = mean_over(tf, tf.square(deviation), plane)
        variance = tf.maximum(tf.subtract(squares, tf.square(rest)), 0)
        scale = tf.math.rsqrt(tf.add(variance, self.eps))
        if self.weight is not None:
            scale = tf.multiply(scale, along(tf, at.variable(self.weight), planes, rank))
        offset = tf.multiply(tf.negative(rest), scale)
        if self.bias is not None:
            offset = tf.add(offset, along(tf, at.variable(self.bias), planes, rank))
        return tf.add(tf.multiply(deviation, scale), offset)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        """Image by image the kernel of batch normalisation, whose gradient is a kernel as well.

        It knows float32, and planes last. Batches whose size is unknown are computed as ever.
        """
        rank = at.inputs[0].rank
        if self.disabled or x.shape[0] is None or rank != 4 or at.axis(-3) != 3:
            return self.apply(tf, x, at=at)
        if at.dtype != tf.float32:
            return self.apply(tf, x, at=at)
        scale, offset = (
            tf.fill([self.planes], default) if each is None else at.variable(each)
            for each, default in ((self.weight, 1.0), (self.bias, 0.0))
        )
        none = tf.zeros([0])
        images = [
            tf.raw_ops.FusedBatchNormV3(
                x=image, scale=scale, offset=offset, mean=none, variance=none, epsilon=self.eps
            ).y
            for image in tf.split(x, int(x.shape[0]))
        ]
        return tf.concat(images, 0)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        if self.disabled or at.inputs[0].rank != 4:
            return None
        return k(
            "GroupNormalization",
            x,
            weights=[each and at.variable(each) for each in (self.weight, self.bias)],
            groups=-1,
            axis=at.axis(1),
            epsilon=self.eps,
            scale=self.weight is not None,
            center=self.bias is not None,
        )

    def plane_normalization(self) -> PlaneNormalization | None:
        return None if self.disabled else PlaneNormalization(self.weight, self.bias, self.eps)

    def reach(self, axis: int, inputs: Sequence[TensorType]) -> Reach | None:
        return POINTWISE if self.disabled else None

    def input_hint(self) -> TensorType:
        return TensorType((None, self.planes, None, None))


@register("nn.AdaptiveInstanceNormalization")
class AdaptiveInstanceNormalization(LayerMap):
    """Content with the mean and deviation of the style, plane by plane: takes {content, style}.

    (content - mean_c) / sqrt(var_c + eps) · std_s + mean_s, where std_s is biased (1/N) and has no
    eps. Both are N×C×H×W or C×H×W; their sizes may differ. `disabled` passes the content on.
    """

    planes = integer("nOutput")
    eps = number("eps", 1e-5)
    disabled = flag("disabled")
    accepts = Accepts.ANY_ORDER

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.evolve(is_view=True) if self.disabled else self

    def output_shape(self, content: Shape, style: Shape) -> Shape:
        if self.disabled:
            return content
        both = (content, style)
        self.require(
            len(content) in (3, 4) and len(content) == len(style),
            "takes content and style of N×C×H×W or C×H×W",
            *both,
        )
        self.require(
            content[-3] == style[-3] == self.planes, f"takes {self.planes} feature planes", *both
        )
        self.require(content[:-3] == style[:-3], "takes as many styles as contents", *both)
        return content

    def reference(self, content: Array, style: Array) -> Array:
        if self.disabled:
            return content

        def statistics(x: Array) -> tuple[Array, Array]:
            flat = x.reshape(*x.shape[:-2], -1)
            return flat.mean(-1)[..., None, None], flat.var(-1)[..., None, None]

        (mean, var), (new_mean, new_var) = statistics(content), statistics(style)
        return (content - mean) / np.sqrt(var + self.eps) * np.sqrt(new_var) + new_mean

    def apply(self, tf: Any, content: Any, style: Any, at: OpContext) -> Any:
        if self.disabled:
            return content
        deviation, variance = centred(tf, content, stored_plane(at))
        mean = mean_over(tf, style, stored_plane(at, of=1))
        squares = tf.square(tf.subtract(style, mean))
        target = tf.sqrt(mean_over(tf, squares, stored_plane(at, of=1)))
        scale = tf.multiply(tf.math.rsqrt(tf.add(variance, self.eps)), target)
        return tf.add(tf.multiply(deviation, scale), mean)
