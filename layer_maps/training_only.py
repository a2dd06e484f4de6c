"""Modules that matter to gradients, rewards or augmentation, and hand their input on in evaluation.

Source: torch/nn L1Penalty.lua, GradientReversal.lua; rnn CopyGrad.lua, ZeroGrad.lua; dpnn
CategoricalEntropy.lua, Reinforce*.lua, SimpleColorTransform.lua, PCAColorTransform.lua;
texture_nets src/utils.lua; Kaixhin/Atari modules/GradientRescale.lua.
"""

from __future__ import annotations

import abc
from typing import Any

from porter.layer_maps.gradients import with_gradient, with_gradient_of
from porter.maps import (
    Accepts,
    Array,
    LayerMap,
    Nested,
    OpContext,
    Options,
    Shape,
    Skippable,
    TorchObject,
    Value,
    Walk,
    flag,
    number,
    param,
    register,
    size,
    structure,
)


@structure(
    "nn.CopyGrad",
    "nn.GradNormalization",
    note="identity; changes gradients only, which a port leaves as they are",
)
def identity(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The very same tensor."""
    walk.note("identity: changes gradients only")
    return x


class GradientOnly(LayerMap, Skippable):
    """The very same tensor; its gradient is another in training."""

    accepts = Accepts.ELEMENTWISE
    is_view = True

    def reference(self, x: Array) -> Array:
        return x

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x

    def is_identity(self) -> bool:
        return True


class Penalty(GradientOnly):
    """The very same tensor; a gradient of its own is added in training."""

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return with_gradient(tf, x, tf.identity, lambda dy: self.backward(tf, x, dy, at))

    @abc.abstractmethod
    def backward(self, tf: Any, x: Any, dy: Any, at: OpContext) -> Any:
        """The gradient of x, where that of the output is `dy`."""


@register("nn.GradientReversal", note="identity; reverses gradients in training")
class GradientReversal(GradientOnly):
    """The gradient times −lambda."""

    factor = number("lambda", 1.0)

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return with_gradient_of(tf, x, tf.multiply(x, -self.factor))


@register("nn.GradientRescale", note="identity; scales gradients in training")
class GradientRescale(GradientOnly):
    """The gradient times `scaleFactor`."""

    factor = number("scaleFactor")

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return with_gradient_of(tf, x, tf.multiply(x, self.factor))


@register("nn.ZeroGrad", "nn.DummyGradOutput", note="identity; lets no gradient through")
class ZeroGrad(GradientOnly):
    """No gradient."""

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tf.stop_gradient(x)


@register("nn.L1Penalty", note="identity; a penalty that adds to gradients in training")
class L1Penalty(Penalty):
    """The gradient of m·Σ|x| is added, or takes its place without `provideOutput`.

    m is `l1weight`, with `sizeAverage` divided by the number of elements.
    """

    fresh_output = True  # L1Penalty.lua: self.output = input
    weight = number("l1weight")
    average = flag("sizeAverage")
    provides = flag("provideOutput", default=True)

    def backward(self, tf: Any, x: Any, dy: Any, at: OpContext) -> Any:
        penalty = tf.multiply(tf.sign(x), self.weight)
        if self.average:
            penalty = tf.divide(penalty, tf.cast(tf.size(x), x.dtype))
        return tf.add(dy, penalty) if self.provides else penalty


@register("nn.CategoricalEntropy", note="identity; a reward that adds to gradients in training")
class CategoricalEntropy(Penalty):
    """The gradient of −scale·H is added, for the entropy H of the mean of N×C distributions.

    H = −Σ p·log(p + 1e-6), where p is the sum over the batch, normalised to one; the gradient is
    divided by N with `sizeAverage`.
    """

    scale = number("scale", 1.0)
    average = flag("sizeAverage", default=True)
    accepts = Accepts.TORCH

    def backward(self, tf: Any, x: Any, dy: Any, at: OpContext) -> Any:
        total = tf.reduce_sum(x)
        p = tf.divide(tf.reduce_sum(x, axis=0, keepdims=True), total)
        sure = tf.add(p, 1e-6)
        slope = tf.add(tf.math.log(sure), tf.divide(p, sure))
        added = tf.divide(tf.multiply(slope, self.scale), total)
        if self.average:
            added = tf.divide(added, tf.cast(tf.shape(x)[0], x.dtype))
        return tf.add(dy, added)


class ColorTransform(LayerMap):
    """A copy of N×C×H×W: in training every picture gets random offsets for its planes."""

    accepts = Accepts.ANY_ORDER
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not options.in_training(module):
            return self
        return self.with_notes("Torch changes colours in training mode; the port leaves them")

    def reference(self, x: Array) -> Array:
        return x.copy()

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return x

    def train(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        if rank != 4:
            return x
        offsets = self.offsets(tf, size(tf, x, at.axis(0)), at)
        spread = tf.reshape(offsets, [size(tf, x, at.axis(0)), -1, 1, 1])
        return tf.add(x, tf.transpose(spread, list(at.layouts[0].order)))

    @abc.abstractmethod
    def offsets(self, tf: Any, samples: Any, at: OpContext) -> Any:
        """The offset of each plane of each image: N×C."""


@register("nn.SimpleColorTransform", note="identity; disturbs colours in training only")
class SimpleColorTransform(ColorTransform):
    """Offsets are uniform in ±`range`, which is one number for each plane."""

    bounds = param("C", name="range", trainable=False)

    def offsets(self, tf: Any, samples: Any, at: OpContext) -> Any:
        bounds = at.variable(self.bounds)
        draws = tf.random.uniform(tf.stack([samples, tf.size(bounds)]), -1, 1, at.dtype)
        return tf.multiply(draws, bounds)


@register("nn.PCAColorTransform", note="identity; disturbs colours in training only")
class PCAColorTransform(ColorTransform):
    """Offsets are V·(λ ∘ a) with normal a of deviation `std`: the main directions of colours.

    V has the eigenvectors of the colours' covariance as columns, λ the eigenvalues.
    """

    vectors = param("CE", name="eigenVectors", trainable=False)
    values = param("E", name="eigenValues", trainable=False)
    deviation = number("std", 0.1)

    def offsets(self, tf: Any, samples: Any, at: OpContext) -> Any:
        values = at.variable(self.values)
        draws = tf.random.normal(
            tf.stack([samples, tf.size(values)]), stddev=self.deviation, dtype=at.dtype
        )
        return tf.matmul(tf.multiply(draws, values), at.variable(self.vectors), transpose_b=True)


@register(
    "nn.ReinforceBernoulli",
    "nn.ReinforceCategorical",
    "nn.ReinforceNormal",
    note="hands probabilities or means on; samples in training only",
)
class Reinforce(LayerMap):
    """A copy of the parameters of a distribution that is sampled in training only.

    Probabilities for Bernoulli and Categorical; the mean for Normal, which may be given
    {mean, stdev}. With `stochastic` Torch samples in evaluation too; the port never does.
    """

    accepts = Accepts.ELEMENTWISE
    depends_on_mode = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if not module.boolean("stochastic") and not options.in_training(module, True):
            return self
        return self.with_notes("Torch would draw a sample; the port hands on the expected value")

    def output_shape(self, x: Shape, stdev: Shape | None = None) -> Shape:
        self.require(
            stdev is None or self.typename == "nn.ReinforceNormal", "takes one tensor", x, stdev
        )
        return x

    def reference(self, x: Array, stdev: Array | None = None) -> Array:
        return x.copy()

    def apply(self, tf: Any, x: Any, stdev: Any = None, *, at: OpContext) -> Any:
        return x
