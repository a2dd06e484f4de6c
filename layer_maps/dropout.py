"""Modules that drop or disturb their input in training; in evaluation some still change it.

A port runs in evaluation unless it is called for training: a module saved in training mode is
noted, and ported as in evaluation. All of them copy their input, unless they work in place.

Source: torch/nn Dropout.lua, SpatialDropout.lua, VolumetricDropout.lua, WhiteNoise.lua; dpnn
TotalDropout.lua, SpatialRegionDropout.lua; rnn Dropout.lua (whose lazy and mono masks concern
training only); cudnn.torch Dropout.lua.
"""

from __future__ import annotations

import abc
from typing import Any

from porter.maps import (
    Accepts,
    Array,
    HasKerasLayer,
    LayerMap,
    OpContext,
    Options,
    Skippable,
    TorchObject,
    flag,
    number,
    register,
    size,
)

TRAINING = "Torch drops at random in training mode; the port computes what evaluate mode does"

NOISE = "Torch adds noise in training mode; the port computes what evaluate mode does"


class Scaling(LayerMap, Skippable):
    """x times the share that training keeps, or x where training already compensates."""

    accepts = Accepts.ELEMENTWISE
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        op = self.with_notes(TRAINING) if options.in_training(module) else self
        if not module.boolean("stochastic_inference"):
            return op
        return op.with_notes("Torch drops at random also in evaluation; the port takes the mean")

    @property
    @abc.abstractmethod
    def factor(self) -> float:
        """The factor in evaluation."""

    def reference(self, x: Array) -> Array:
        return x * self.factor

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x if self.factor == 1 else tf.multiply(x, self.factor)

    def is_identity(self) -> bool:
        return self.factor == 1


def drop(tf: Any, x: Any, shape: Any, p: float, scale: float = 1.0) -> Any:
    """x times `scale`, or with probability `p` times 0; `shape` says who shares a draw."""
    mask = tf.greater_equal(tf.random.uniform(shape, dtype=x.dtype), p)
    return tf.multiply(x, tf.multiply(tf.cast(mask, x.dtype), scale))


@register("nn.Dropout", "cudnn.Dropout")
class Dropout(Scaling, HasKerasLayer):
    """x in version 2, which scales in training; (1 - p)·x in version 1, where `v2` is nil."""

    p = number("p", 0.5)
    v2 = flag("v2")
    inplace = flag("inplace")

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        # rnn's class of the same name (Dropout.lua) returns its input itself.
        op = self.evolve(fresh_output=True) if self.inplace and "lazy" in module else self
        return super(Dropout, op).adapt(module, options)

    @property
    def factor(self) -> float:
        return 1.0 if self.v2 else 1 - self.p

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        scale = 1 / (1 - self.p) if self.v2 else 1.0
        return drop(tf, x, tf.shape(x), self.p, scale)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        dropped = k("Dropout", x, rate=self.p)
        # Keras rescales the elements that remain; version 1 does not.
        return dropped if self.v2 else k("Rescaling", dropped, part="scale", scale=self.factor)


@register("nn.SpatialDropout", "nn.VolumetricDropout")
class SpatialDropout(Scaling, HasKerasLayer):
    """(1 - p)·x: planes are dropped without rescaling."""

    p = number("p", 0.5)
    accepts = Accepts.ANY_ORDER

    @property
    def factor(self) -> float:
        return 1 - self.p

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        planes = rank - 3 - self.typename.startswith("nn.Volumetric")
        extents = tf.unstack(tf.shape(x))
        for axis in range(planes + 1, rank):
            extents[at.axis(axis)] = 1
        return drop(tf, x, tf.stack(extents), self.p)

    def keras(self, k: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        if rank not in (4, 5) or at.axis(0) != 0 or at.axis(1) != rank - 1:
            return None
        dropped = k(f"SpatialDropout{rank - 2}D", x, rate=self.p, data_format="channels_last")
        return k("Rescaling", dropped, part="scale", scale=self.factor)


@register("nn.TotalDropout")
class TotalDropout(Scaling):
    """x: with probability `p` all of it is dropped in training, and nothing is scaled."""

    p = number("p", 0.5)

    @property
    def factor(self) -> float:
        return 1.0

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return drop(tf, x, [1] * len(x.shape), self.p)


@register("nn.SpatialRegionDropout")
class SpatialRegionDropout(Scaling):
    """x: in training the share `p` of all rows or columns, from one of the four sides, is dropped.

    The side is drawn for a whole batch; nothing is scaled.
    """

    p = number("p", 0.2)
    accepts = Accepts.ANY_ORDER

    @property
    def factor(self) -> float:
        return 1.0

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        side = tf.random.uniform([], maxval=4, dtype=tf.int32)
        for edge, axis in enumerate((at.axis(-2), at.axis(-2), at.axis(-1), at.axis(-1))):
            extent = size(tf, x, axis)
            place = tf.range(extent)
            from_edge = place if edge % 2 == 0 else tf.reverse(place, [0])
            cut = tf.cast(tf.multiply(tf.cast(extent, at.dtype), self.p), tf.int32)
            gone = tf.logical_and(tf.equal(side, edge), tf.less(from_edge, cut))
            shape = [-1 if each == axis else 1 for each in range(len(x.shape))]
            x = tf.where(tf.reshape(gone, shape), tf.zeros_like(x), x)
        return x


@register("nn.WhiteNoise")
class WhiteNoise(LayerMap):
    """x + mean: evaluation adds the mean of the noise, training normal noise around it."""

    mean = number("mean", 0.0)
    deviation = number("std", 0.1)
    accepts = Accepts.ELEMENTWISE
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        return self.with_notes(NOISE) if options.in_training(module, True) else self

    def reference(self, x: Array) -> Array:
        return x + self.mean

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x if self.mean == 0 else tf.add(x, self.mean)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.add(x, tf.random.normal(tf.shape(x), self.mean, self.deviation, x.dtype))
