"""Poolings over windows at pseudo-random places.

Source: torch/nn SpatialFractionalMaxPooling.lua, VolumetricFractionalMaxPooling.lua; THNN
SpatialFractionalMaxPooling.c, VolumetricFractionalMaxPooling.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import numpy as np

from porter.layer_maps.windows import passing_over_nan, without_nan
from porter.maps import (
    Array,
    BadField,
    Field,
    LayerMap,
    OpContext,
    Options,
    Shape,
    TorchObject,
    flag,
    integers,
    optional_integer,
    optional_number,
    optional_param,
    register,
    size,
)

T = TypeVar("T")

MAX_PLANES = 4096
"""Planes for which samples are drawn where their number is open."""


def all_or_none(
    kind: Callable[[str], Field[T | None]], *lua_names: str
) -> Field[tuple[T, ...] | None]:
    """Several optional numbers; None if any is nil."""
    fields = [kind(name) for name in lua_names]

    def read(module: TorchObject) -> tuple[T, ...] | None:
        values = [each.read(module) for each in fields]
        found = tuple(value for value in values if value is not None)
        return found if len(found) == len(values) else None

    return Field(read, None)


class FractionalMaxPooling(LayerMap):
    """Maximum over overlapping windows of a fixed size, batched or not.

    Along an axis, window i of m starts at ⌊(i + u)·α⌋ - ⌊u·α⌋, where α is (n - size) / (m - 1), and
    the last at n - size; m, the size of the output, is fixed, or ⌊ratio·n⌋. The sample u is drawn
    for each plane and axis, again at every call unless `fixPoolingRegions` was called, and always
    for a batch of another size. A port uses the samples in the file, repeated for a larger batch;
    without any it draws one for each plane and axis, by `--seed` and the module. NaN is left out.
    """

    window: Field[tuple[int, ...]] = integers("poolSizeH", "poolSizeW")
    sizes: Field[tuple[int, ...] | None] = all_or_none(optional_integer, "outH", "outW")
    ratios: Field[tuple[float, ...] | None] = all_or_none(optional_number, "ratioH", "ratioW")
    fixed = flag("newRandomPool")
    samples = optional_param("NCA", name="randomSamples", trainable=False)
    stream = Field(lambda module: (1, module.index), (1, 0))
    sample_order: ClassVar[tuple[int, ...]] = (1, 0)
    """Which of a plane's samples belongs to each spatial axis."""

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if self.sizes is None and self.ratios is None:
            raise BadField(f"{self.typename} has neither output sizes nor ratios")
        if self.ratios is not None and not all(0 < ratio < 1 for ratio in self.ratios):
            raise BadField(
                f"{self.typename} should have ratios between 0 and 1", received=str(self.ratios)
            )
        if self.samples is None:
            note = f"pooling regions are drawn with seed {options.seed}, the same at every call"
        elif not self.fixed:
            note = "pooling regions that Torch draws anew each time are those of the file"
        else:
            return self
        drawn = f"draws them once, with seed {options.seed} (`seed=` chooses another)"
        regions = drawn if self.samples is None else "takes those of the file"
        warning = (
            f"{self.typename} draws its pooling regions at random, so that no two runs of "
            f"Torch agree; the port {regions}"
        )
        stream = (options.seed, module.index)
        return self.evolve(warning=warning, stream=stream).with_notes(note)

    def drawn(self, planes: int) -> Array:
        """The samples of the file, or those of as many planes as are asked for: N×C×axes."""
        if self.samples is not None:
            return self.samples.array
        generator = np.random.default_rng(self.stream)
        # A plane's samples do not depend on how many planes there are.
        return generator.random((1, planes, len(self.window)), np.float32)

    def output_size(self, n: int, axis: int) -> int:
        """The output's size along a spatial axis of n elements."""
        if self.ratios is not None:
            return math.floor(n * self.ratios[axis])
        assert self.sizes is not None
        return self.sizes[axis]

    def output_shape(self, x: Shape) -> Shape:
        rank = len(self.window)
        self.require(len(x) in (rank + 1, rank + 2), f"takes {rank + 2} or {rank + 1} axes", x)
        extents = x[-rank:]
        output_size = tuple(self.output_size(n, axis) for axis, n in enumerate(extents))
        self.require(
            all(
                0 < m <= n - k + 1
                for m, k, n in zip(output_size, self.window, extents, strict=True)
            ),
            f"makes {output_size} from windows of {self.window}",
            x,
        )
        if self.samples is not None:
            self.require(
                self.samples.shape[1:] == (x[-rank - 1], rank),
                f"has pooling regions for {self.samples.shape[1]} feature planes",
                x,
            )
        return (*x[:-rank], *output_size)

    def reference(self, x: Array) -> Array:
        rank = len(self.window)
        images = passing_over_nan(x).reshape(-1, *x.shape[-rank:])
        drawn = np.resize(self.drawn(x.shape[-rank - 1]), (len(images), rank))
        done = []
        for image, samples in zip(images, drawn, strict=True):
            for axis, k in enumerate(self.window):
                u, output_size = (
                    samples[self.sample_order[axis]],
                    self.output_size(image.shape[axis], axis),
                )
                starts = [image.shape[axis] - k]
                if output_size > 1:
                    alpha = u.dtype.type(starts[0]) / u.dtype.type(output_size - 1)
                    spaced = [(u.dtype.type(i) + u) * alpha for i in range(output_size - 1)]
                    starts = [int(each) - int(u * alpha) for each in spaced] + starts
                parts = [image.take(range(s, s + k), axis).max(axis=axis) for s in starts]
                image = np.stack(parts, axis=axis)
            done.append(image)
        return np.stack(done).reshape(self.output_shape(x.shape))

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = len(self.window)
        batched = at.inputs[0].rank == rank + 2
        x = without_nan(tf, x if batched else tf.expand_dims(x, 0), self.nan)
        for axis, k in enumerate(self.window):
            n = size(tf, x, axis + 2)
            output_size = at.outputs[0].shape[axis - rank]
            if output_size is None and self.ratios is not None:
                # In double precision, as Lua computes it.
                exact = tf.multiply(tf.cast(n, tf.float64), self.ratios[axis])
                output_size = tf.cast(tf.floor(exact), tf.int32)
            starts = self.starts(tf, x, at, axis, tf.subtract(n, k), tf.subtract(output_size, 1))
            places = tf.add(tf.expand_dims(starts, -1), tf.range(k))
            windows = tf.gather(x, places, axis=axis + 2, batch_dims=2)
            x = tf.reduce_max(windows, axis=axis + 3)
        return x if batched else tf.squeeze(x, 0)

    def starts(self, tf: Any, x: Any, at: OpContext, axis: int, last: Any, steps: Any) -> Any:
        """Where windows start along an axis, for each plane.

        In the precision of the samples, because it is the one in which Torch rounded.
        """
        planes = at.inputs[0].shape[-len(self.window) - 1]
        known = self.drawn(planes or MAX_PLANES)
        samples = tf.constant(known) if self.samples is None else at.variable(self.samples)
        if self.samples is None and planes is None:
            samples = tf.slice(samples, [0, 0, 0], tf.stack([1, size(tf, x, 1), -1]))
        in_turn = tf.math.floormod(tf.range(size(tf, x, 0)), len(known))
        drawn = tf.gather(samples, in_turn, axis=0)
        drawn = tf.gather(drawn, [self.sample_order[axis]], axis=2)
        u = tf.cast(drawn, tf.as_dtype(known.dtype.name))
        # Divided in double precision, so that a reciprocal in its place still rounds as a quotient.
        ratio = tf.divide(tf.cast(last, tf.float64), tf.cast(tf.maximum(steps, 1), tf.float64))
        alpha = tf.cast(ratio, u.dtype)
        first = tf.cast(tf.multiply(u, alpha), tf.int32)
        spaced = tf.multiply(tf.add(tf.cast(tf.range(steps), u.dtype), u), alpha)
        starts = tf.subtract(tf.cast(spaced, tf.int32), first)
        return tf.concat([starts, tf.add(tf.zeros_like(first), last)], axis=-1)


@register("nn.SpatialFractionalMaxPooling")
class SpatialFractionalMaxPooling(FractionalMaxPooling):
    """Over windows of poolSizeH × poolSizeW of N×C×H×W or C×H×W."""


@register("nn.VolumetricFractionalMaxPooling")
class VolumetricFractionalMaxPooling(FractionalMaxPooling):
    """Over windows of a volume, which this class alone takes as N×C×H×W×T or C×H×W×T."""

    window = integers("poolSizeH", "poolSizeW", "poolSizeT")
    sizes = all_or_none(optional_integer, "outH", "outW", "outT")
    ratios = all_or_none(optional_number, "ratioH", "ratioW", "ratioT")
    sample_order = (2, 1, 0)
