"""Rectifiers: transfer functions with a kink at a threshold.

Source: torch/nn ReLU.lua, Threshold.lua, LeakyReLU.lua, PReLU.lua, RReLU.lua, ELU.lua, CReLU.lua;
THNN Threshold.c and kin; cudnn.torch Pointwise.lua, ClippedReLU.lua; waifu2x LeakyReLU.lua; DQN
Rectifier.lua; XNOR-Net BinActiveZ.lua.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.layer_maps.affine import AXES, spread
from porter.layer_maps.gradients import with_gradient_of
from porter.maps import (
    Accepts,
    Array,
    HasKerasLayer,
    HasSlopes,
    LayerMap,
    OpContext,
    Options,
    Param,
    Shape,
    TorchObject,
    flag,
    integer,
    number,
    param,
    register,
)


@register("nn.ReLU", "nn.Rectifier", "cudnn.ReLU")
class ReLU(LayerMap, HasKerasLayer):
    """max(x, 0). NaN becomes 0 in THNN, and stays NaN in place and in cuDNN.

    TensorFlow's ReLU treats NaN in one way alone and in another when fused, so it is used only
    where no NaN can occur.
    """

    accepts = Accepts.ELEMENTWISE
    moves = True
    inplace = flag("inplace")

    @property
    def drops_nan(self) -> bool:
        return self.nan and not self.inplace and not self.typename.startswith("cudnn.")

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, 0) if self.drops_nan else np.where(x <= 0, 0, x)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if not self.nan:
            return tf.nn.relu(x)
        zero = tf.constant(0, at.dtype)
        if self.drops_nan:
            return tf.where(tf.greater(x, 0), x, zero)
        return tf.where(tf.less_equal(x, 0), zero, x)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return None if self.nan else k("ReLU", x)


@register("nn.Threshold")
class Threshold(LayerMap):
    """x if x > threshold, else `val` (also at the threshold itself).

    Old nets use nn.Threshold(0, 0) as their ReLU; it is mapped as one. NaN becomes `val`, but
    stays NaN in place.
    """

    threshold = number("threshold", 0.0)
    value = number("val", 0.0)
    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if self.threshold != 0 or self.value != 0:
            return self
        return ReLU(inplace=self.inplace).evolve(typename=self.typename, nan=options.nan)

    def reference(self, x: Array) -> Array:
        if self.inplace:
            return np.where(x <= self.threshold, self.value, x)
        return np.where(x > self.threshold, x, self.value)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        value = tf.constant(self.value, at.dtype)
        if self.inplace:
            return tf.where(tf.less_equal(x, self.threshold), value, x)
        return tf.where(tf.greater(x, self.threshold), x, value)


@register("cudnn.ClippedReLU")
class ClippedReLU(LayerMap, HasKerasLayer):
    """min(max(x, 0), ceiling). NaN stays NaN."""

    ceiling = number("ceiling")
    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.clip(x, 0, self.ceiling)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        clipped = tf.minimum(tf.nn.relu(x), self.ceiling)
        return tf.where(tf.math.is_nan(x), x, clipped) if self.nan else clipped

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        fits = self.ceiling >= 0 and not self.nan
        return k("ReLU", x, max_value=self.ceiling) if fits else None


@register("nn.BinActiveZ")
class BinaryActivation(LayerMap):
    """The sign of x: −1, 0 or 1; 0 for NaN. In training a gradient passes where −1 < x < 1."""

    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, 1, np.where(x < 0, -1, 0)).astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        sign = tf.sign(x)
        return tf.where(tf.math.is_nan(x), tf.zeros_like(x), sign) if self.nan else sign

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        # At the limits themselves min and max would still pass a gradient.
        passes = tf.less(tf.abs(x), 1)
        return with_gradient_of(tf, tf.sign(x), tf.where(passes, x, tf.zeros_like(x)))


class Leaky(LayerMap, HasKerasLayer):
    """x if x > 0, else slope · x."""

    accepts = Accepts.ELEMENTWISE

    @property
    @abc.abstractmethod
    def negative_slope(self) -> float: ...

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, x * self.negative_slope)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if at.dtype == tf.float32:
            return tf.nn.leaky_relu(x, self.negative_slope)
        # The op keeps its slope in float32, which is too coarse here.
        return tf.where(tf.greater(x, 0), x, tf.multiply(x, self.negative_slope))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("LeakyReLU", x, negative_slope=self.negative_slope)


@register("nn.LeakyReLU")
class LeakyReLU(Leaky):
    """x if x > 0, else negval · x. nn.LeakyReLU(true) is not in place: its slope is 0.01."""

    slope = number("negval", 0.01)
    inplace = flag("inplace")

    @property
    def negative_slope(self) -> float:
        return self.slope


@register("w2nn.LeakyReLU")
class Waifu2xLeakyReLU(Leaky):
    """waifu2x's own leaky ReLU; its slope is called `negative_scale`."""

    slope = number("negative_scale", 0.333)

    @property
    def negative_slope(self) -> float:
        return self.slope


@register("nn.RReLU", note="slope (lower + upper) / 2, also if saved in training mode")
class RReLU(Leaky):
    """A leaky ReLU of slope (lower + upper) / 2; in training, Torch draws each slope at random."""

    lower = number("lower", 1 / 8)
    upper = number("upper", 1 / 3)
    inplace = flag("inplace")
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not options.in_training(module):
            return self
        return self.with_notes("Torch draws slopes in training mode; the port takes the mean slope")

    @property
    def negative_slope(self) -> float:
        return (self.lower + self.upper) / 2

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        slopes = tf.random.uniform(tf.shape(x), self.lower, self.upper, x.dtype)
        return tf.where(tf.greater(x, 0), x, tf.multiply(x, slopes))


@register("nn.PReLU")
class PReLU(LayerMap, HasKerasLayer, HasSlopes):
    """x if x > 0, else w · x with one learned slope (`nOutputPlane` 0) or one for each channel.

    Channels are dimension 2 of any input with two or more dimensions: Torch takes no unbatched
    C×H×W (it would count H).
    """

    weight = param("O")
    planes = integer("nOutputPlane", 0)
    accepts = Accepts.ELEMENTWISE

    def output_shape(self, x: Shape) -> Shape:
        if self.planes:
            slopes = self.weight.shape[0]
            self.require(slopes == self.planes, f"has {self.planes} planes, but {slopes} slopes")
            self.require(x[self.channel(len(x))] == self.planes, f"takes {self.planes} planes", x)
        return x

    @staticmethod
    def channel(rank: int) -> int:
        return min(1, rank - 1)

    def reference(self, x: Array) -> Array:
        slope = self.weight.array[: self.planes or 1].astype(x.dtype)
        behind = x.ndim - 1 - self.channel(x.ndim) if self.planes else 0
        return np.where(x > 0, x, x * slope.reshape(-1, *(1,) * behind))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        shape = [1] * at.inputs[0].rank
        shape[self.channel(len(shape))] = self.planes or 1
        slope = spread(at, self.weight, tuple(shape))
        return tf.where(tf.greater(x, 0), x, tf.multiply(x, slope))

    def slopes(self) -> Param | None:
        return self.weight if self.weight.shape[0] == (self.planes or 1) else None

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        channels_last = rank > 1 and at.axis(1) == rank - 1 and at.layouts[0].flat is None
        if not channels_last or at.axis(0) != 0:
            return None
        slopes = self.weight.array[: self.planes or 1].reshape((1,) * (rank - 2) + (-1,))
        axes = AXES[: slopes.ndim]
        return k(
            "PReLU",
            x,
            weights=[at.variable(self.weight.with_array(slopes, axes, tag="Keras"))],
            shared_axes=[*range(1, rank if self.planes == 0 else rank - 1)] or None,
        )


@register("nn.ELU")
class ELU(LayerMap, HasKerasLayer):
    """x if x > 0, else alpha · (exp(x) − 1)."""

    alpha = number("alpha", 1.0)
    inplace = flag("inplace")
    accepts = Accepts.ELEMENTWISE

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(x))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        out = tf.nn.elu(x)
        if self.alpha == 1:
            return out
        return tf.where(tf.greater(x, 0), x, tf.multiply(out, self.alpha))

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        return k("ELU", x, alpha=self.alpha)


@register("nn.CReLU")
class CReLU(LayerMap):
    """max(x, 0) followed by max(−x, 0) along the first dimension of a sample.

    Torch builds it from a ConcatTable, a JoinTable and a ReLU, and treats NaN as that does; here it
    is one layer. An input of `nInputDims` + 1 dimensions is a batch, any other is one sample.
    """

    sample_rank = integer("nInputDims", 3)
    keeps_nan = flag("inplace")
    accepts = Accepts.ANY_ORDER

    def channel(self, rank: int) -> int:
        return 1 if rank == self.sample_rank + 1 else 0

    def output_shape(self, x: Shape) -> Shape:
        axis = self.channel(len(x))
        self.require(axis < len(x), "takes a sample or a batch", x)
        return (*x[:axis], 2 * x[axis], *x[axis + 1 :])

    def reference(self, x: Array) -> Array:
        both = np.concatenate([x, -x], axis=self.channel(x.ndim))
        return np.where(both <= 0, 0, both) if self.keeps_nan else np.where(both > 0, both, 0)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        axis = at.axis(self.channel(at.inputs[0].rank))
        both = tf.concat([x, tf.negative(x)], axis=axis)
        return ReLU(inplace=self.keeps_nan).evolve(nan=self.nan).apply(tf, both, at=at)
