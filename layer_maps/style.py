"""Modules of the style transfer nets: losses left inside a net, Gram matrices, and noise.

Source: neural-style neural_style.lua; fast-neural-style ContentLoss.lua, StyleLoss.lua,
TotalVariation.lua, GramMatrix.lua; texture_nets src/utils.lua (NoiseFill, GenNoise); MSG-Net
Inspiration.lua, Calibrate.lua.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from porter.layer_maps.training_only import Penalty
from porter.maps import (
    Accepts,
    Array,
    Field,
    HintsInput,
    LayerMap,
    Layouts,
    MissingField,
    Nested,
    OpContext,
    Options,
    Shape,
    TensorType,
    TorchObject,
    Types,
    Value,
    Walk,
    channels_last,
    flag,
    integer,
    number,
    param,
    register,
    size,
    structure,
    torch_order,
)

BITS = 0xFFFFFFFF
MIXER = 0x45D9F3B


@register("nn.TVLoss", "nn.TotalVariation", note="identity; a loss that adds to gradients")
class TotalVariation(Penalty):
    """The gradient of strength/2 · Σ (x − right)² + (x − below)² is added.

    The sum is over the pixels that have both neighbours: none of the last row or column.
    """

    strength = number("strength", 0.0)
    accepts = Accepts.ANY_ORDER

    def backward(self, tf: Any, x: Any, dy: Any, at: OpContext) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            rows, columns = at.axis(-2), at.axis(-1)
            inner = less(tf, less(tf, x, rows, -1), columns, -1)
            right = less(tf, less(tf, x, rows, -1), columns, 1)
            below = less(tf, less(tf, x, rows, 1), columns, -1)
            apart = [tf.math.squared_difference(inner, other) for other in (right, below)]
            loss = tf.multiply(tf.reduce_sum(tf.add_n(apart)), self.strength / 2)
        return tf.add(dy, tape.gradient(loss, x))


def less(tf: Any, x: Any, axis: int, by: int) -> Any:
    """`x` without its first element along a stored axis (`by` is 1), or its last (−1)."""
    rest = tf.subtract(size(tf, x, axis), 1)
    sizes = tf.stack([1, rest] if by > 0 else [rest, 1])
    return tf.split(x, sizes, axis=axis, num=2)[int(by > 0)]


@structure(
    "nn.ContentLoss",
    "nn.StyleLoss",
    "nn.TextureLoss",
    note="identity; a loss that adds to gradients",
)
def loss(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The input itself: Torch computes a loss on the side, and adds it to the gradients.

    A port does not: training it takes a loss of its own.
    """
    walk.note("identity: a loss for training")
    return x


@register("nn.GramMatrix")
class GramMatrix(LayerMap):
    """Inner products of all pairs of planes: N×C×H×W to N×C×C, C×H×W to C×C.

    With `normalize` divided by C·H·W (fast-neural-style); neural-style's class has no such field.
    """

    normalize = flag("normalize")

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        return (*x[:-3], x[-3], x[-3])

    def reference(self, x: Array) -> Array:
        flat = x.reshape(*x.shape[:-2], -1)
        gram = flat @ flat.swapaxes(-1, -2)
        return gram / np.prod(x.shape[-3:]).astype(x.dtype) if self.normalize else gram

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        rank = at.inputs[0].rank
        planes = size(tf, x, rank - 1)
        batch = [size(tf, x, 0)] if rank == 4 else []
        flat = tf.reshape(x, [*batch, -1, planes])
        gram = tf.matmul(flat, flat, transpose_a=True)
        if not self.normalize:
            return gram
        return tf.divide(gram, tf.cast(tf.reduce_prod(tf.shape(x)[-3:]), at.dtype))

    def layouts(self, available: Layouts, inputs: Types, outputs: Types) -> tuple[Layouts, Layouts]:
        return (channels_last(inputs[0].rank, 2),), (torch_order(outputs[0].rank),)


class Noise(LayerMap):
    """Noise that Torch draws again at every call, while a port repeats the same numbers.

    The number for an element depends on its position in Torch's order, on the module and on
    `--seed` only: a counter is hashed to 32 bits by two multiplicative rounds, and the upper
    24 of them are a uniform number in [0, 1), exact in float32. TensorFlow and NumPy compute
    the same numbers, on every device. They are not those that Torch drew.
    """

    stream = Field(lambda module: module.index, 0)
    accepts = Accepts.ANY_ORDER
    draws = True

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        stream = (options.seed * 0x9E3779B1 + module.index * 0x85EBCA6B) & BITS
        note = f"noise with seed {options.seed}, the same at every call"
        return self.evolve(stream=stream).with_notes(note)

    def reference_uniform(self, counters: Array) -> Array:
        """Uniform numbers in [0, 1), in NumPy."""
        bits: Array = (counters + self.stream).astype(np.uint32)
        for _ in range(2):
            bits = (bits ^ (bits >> 16)) * np.uint32(MIXER)
        bits ^= bits >> 16
        uniform: Array = (bits >> 8) / np.float64(2**24)
        return uniform

    def uniform(self, tf: Any, counters: Any, at: OpContext) -> Any:
        """Uniform numbers in [0, 1), in TensorFlow: 32-bit arithmetic in 64-bit integers."""
        mask = tf.constant(BITS, tf.int64)
        half = tf.constant(16, tf.int64)
        bits = tf.bitwise.bitwise_and(tf.add(counters, self.stream), mask)
        for _ in range(2):
            mixed = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, half))
            bits = tf.bitwise.bitwise_and(tf.multiply(mixed, MIXER), mask)
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, half))
        upper = tf.bitwise.right_shift(bits, tf.constant(8, tf.int64))
        return tf.multiply(tf.cast(upper, at.dtype), 2.0**-24)

    def counters(self, tf: Any, x: Any, planes: int, at: OpContext) -> Any:
        """0, 1, 2 … over x's shape in Torch's order with `planes` planes, as x is stored."""
        rank = at.inputs[0].rank
        shape = [planes if i == 1 else size(tf, x, at.axis(i)) for i in range(rank)]
        count = tf.reduce_prod(tf.cast(tf.stack(shape), tf.int64))
        return tf.transpose(tf.reshape(tf.range(count), shape), list(at.layouts[0].order))


@register("nn.NoiseFill", note="random in Torch; the same numbers at every call in a port")
class NoiseFill(Noise):
    """Uniform noise times `mult` in the last planes (dimension 2) of a copy of x.

    The first version had no `mult` and wrote into its input. A later class of the same name,
    recognised by its field `buffer`, appends the planes, and its noise is within ±mult.
    """

    planes = integer("num_noise_channels")
    mult = number("mult", 1.0)
    appends = Field(lambda module: "buffer" in module, False)

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        draws = self.planes > 0 and self.mult != 0
        op = super().adapt(module, options) if draws else self
        return op.evolve(inplace="mult" not in module)

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) >= 2, "takes N×C×…", x)
        if self.appends:
            return (x[0], x[1] + self.planes, *x[2:])
        self.require(0 <= self.planes <= x[1], f"fills {self.planes} planes", x)
        return x

    def reference(self, x: Array) -> Array:
        shape = (x.shape[0], self.planes, *x.shape[2:])
        noise = self.reference_uniform(np.arange(np.prod(shape)).reshape(shape))
        if self.appends:
            noise = noise * 2 - 1
        base = x if self.appends else x[:, : x.shape[1] - self.planes]
        return np.concatenate([base, (noise * self.mult).astype(x.dtype)], axis=1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.planes == 0:
            return x
        noise = self.uniform(tf, self.counters(tf, x, self.planes, at), at)
        if self.appends:
            noise = tf.subtract(tf.multiply(noise, 2.0), 1.0)
        planes = at.axis(1)
        base = x if self.appends else tf.split(x, [-1, self.planes], axis=planes)[0]
        return tf.concat([base, tf.multiply(noise, self.mult)], axis=planes)


@register("nn.GenNoise", note="random in Torch; the same numbers at every call in a port")
class GenNoise(Noise):
    """Standard normal noise times `mult`: N×C×H×W to N×`num_planes`×H×W, whatever the values of x.

    Two uniform numbers give a normal one: sqrt(-2·log(1 - u))·cos(2π·v).
    """

    planes = integer("num_planes")
    mult = number("mult", 1.0)

    def adapt(self, module: TorchObject, options: Options) -> LayerMap:
        if "num_planes" not in module:
            raise MissingField(
                f"this {self.typename} does not say how many planes of noise it makes: it has no "
                "field 'num_planes'",
                hint="the class of 2016 had that number in its Lua code alone. Write it as a map "
                f"with `porter scaffold {self.typename} --from MODEL -o maps.py` and pass it with "
                "`layer_maps=maps.py`, or treat it as a class that does the same: "
                f"`map={self.typename}=KNOWN.CLASS`",
            )
        return super().adapt(module, options)

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) >= 2, "takes N×C×…", x)
        self.require(self.planes > 0, f"makes {self.planes} planes", x)
        return (x[0], self.planes, *x[2:])

    def reference(self, x: Array) -> Array:
        shape = (x.shape[0], self.planes, *x.shape[2:])
        counters = np.arange(np.prod(shape)).reshape(shape) * 2
        u, v = self.reference_uniform(counters), self.reference_uniform(counters + 1)
        normal: Array = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v) * self.mult
        return normal.astype(x.dtype)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        counters = tf.multiply(self.counters(tf, x, self.planes, at), 2)
        u, v = self.uniform(tf, counters, at), self.uniform(tf, tf.add(counters, 1), at)
        radius = tf.sqrt(tf.multiply(tf.math.log(tf.subtract(1.0, u)), -2.0))
        normal = tf.multiply(radius, tf.cos(tf.multiply(v, 2 * np.pi)))
        return tf.multiply(normal, self.mult)


# MSG-Net ------------------------------------------------------------------------------------------


@register("nn.Inspiration")
class Inspiration(LayerMap, HintsInput):
    """y = Pᵀ·x at each pixel of N×C×H×W or C×H×W, where P = `Weight`·`target`, both C×C.

    `target` is the Gram matrix of the style that was set last.
    """

    weight = param("AB", name="Weight")
    target = param("BC", trainable=False)
    accepts = Accepts.CHANNELS_LAST

    def output_shape(self, x: Shape) -> Shape:
        planes = self.weight.shape[0]
        self.require(len(x) in (3, 4), "takes N×C×H×W or C×H×W", x)
        self.require(x[-3] == planes, f"takes {planes} feature planes", x)
        return (*x[:-3], self.target.shape[1], *x[-2:])

    def reference(self, x: Array) -> Array:
        product = self.weight.array.astype(np.float64) @ self.target.array.astype(np.float64)
        out: Array = np.einsum("ao,...ahw->...ohw", product.astype(x.dtype), x)
        return out

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        product = tf.matmul(at.variable(self.weight), at.variable(self.target))
        return tf.tensordot(x, product, 1)

    def input_hint(self) -> TensorType:
        return TensorType((None, self.weight.shape[0], None, None))


@structure("nn.Calibrate", note="identity; measures a Gram matrix")
def calibrate(walk: Walk, module: TorchObject, x: Nested[Value]) -> Nested[Value]:
    """The input itself."""
    walk.note("identity: measures a Gram matrix for nn.Inspiration")
    return x
