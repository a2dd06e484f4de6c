"""gvnn: rotations in space and rigid motions, from a few numbers each.

Source: ankurhanda/gvnn TransformationRotationSO3.lua, TransformationMatrix3x4GeneratorSO3.lua,
TransformationMatrix3x4GeneratorEuler.lua, NonRigidPerPixelSO3.lua, NonRigidPerPixelSE3.lua.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from porter.maps import (
    Array,
    BadField,
    HintsInput,
    LayerMap,
    OpContext,
    Shape,
    TensorType,
    flag,
    number,
    register,
    size,
)


def about_axis(vectors: Array, threshold: float | None) -> Array:
    """Rotations …×3×3 about vectors …×3 as long as the angle, by Rodrigues' formula.

    Where the squared angle is at most `threshold`: 1 + [v]×, its first order.
    """
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1)
    cross = cross.reshape(*vectors.shape, 3)
    squared = x**2 + y**2 + z**2
    angle = np.sqrt(squared)
    with np.errstate(invalid="ignore", divide="ignore"):
        first, second = np.sin(angle) / angle, (1 - np.cos(angle)) / squared
    if threshold is not None:
        first = np.where(squared > threshold, first, 1)
        second = np.where(squared > threshold, second, 0)
    terms = first[..., None, None] * cross + second[..., None, None] * (cross @ cross)
    rotations: Array = np.eye(3) + terms
    return rotations.astype(vectors.dtype)


def tensor_about_axis(tf: Any, vectors: Any, threshold: float | None) -> Any:
    """The same in TensorFlow."""
    x, y, z = tf.unstack(vectors, num=3, axis=-1)
    squares = [tf.multiply(each, each) for each in (x, y, z)]
    squared = tf.add(tf.add(squares[0], squares[1]), squares[2])
    angle = tf.sqrt(squared)
    one = tf.ones_like(squared)
    first = tf.divide(tf.sin(angle), angle)
    second = tf.divide(tf.subtract(one, tf.cos(angle)), squared)
    if threshold is not None:
        turns = tf.greater(squared, threshold)
        first = tf.where(turns, first, one)
        second = tf.where(turns, second, tf.zeros_like(second))

    def on_diagonal(one_square: Any, other_square: Any) -> Any:
        total = tf.negative(tf.add(one_square, other_square))
        return tf.add(one, tf.multiply(second, total))

    def beside(left: Any, right: Any, axis_entry: Any) -> tuple[Any, Any]:
        """The two entries that mirror each other: products less and more the axis's share."""
        product = tf.multiply(second, tf.multiply(left, right))
        share = tf.multiply(first, axis_entry)
        return tf.subtract(product, share), tf.add(product, share)

    row_1_column_2, row_2_column_1 = beside(x, y, z)
    row_3_column_1, row_1_column_3 = beside(x, z, y)
    row_2_column_3, row_3_column_2 = beside(y, z, x)
    rows = [
        [on_diagonal(squares[1], squares[2]), row_1_column_2, row_1_column_3],
        [row_2_column_1, on_diagonal(squares[0], squares[2]), row_2_column_3],
        [row_3_column_1, row_3_column_2, on_diagonal(squares[0], squares[1])],
    ]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)


@register("nn.TransformationRotationSO3")
class TransformationRotationSO3(LayerMap, HintsInput):
    """Rotations N×3×3 or 3×3, from vectors N×3 or 3 along the axis, as long as the angle."""

    threshold = number("threshold", 1e-12)
    fresh_output = True

    def input_hint(self) -> TensorType | None:
        return TensorType((None, 3))

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) in (1, 2) and x[-1] == 3, "takes N×3 or 3", x)
        return (*x, 3)

    def reference(self, x: Array) -> Array:
        return about_axis(x, self.threshold)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tensor_about_axis(tf, x, self.threshold)


class RigidMotion(LayerMap, HintsInput):
    """N×3×4, a rotation R beside R·t: from three numbers for R if used, and t if used."""

    full = flag("fullMode")
    rotates = flag("useRotation")
    scales = flag("useScale")
    shifts = flag("useTranslation")
    fresh_output = True

    def checked(self) -> LayerMap:
        if self.scales:
            raise BadField(f"{self.typename} with useScale reads a variable that Torch never sets")
        return self

    @property
    def parameters(self) -> int:
        """How many numbers describe one motion."""
        return 12 if self.full else 3 * self.rotates + 3 * self.shifts

    def input_hint(self) -> TensorType | None:
        return TensorType((None, self.parameters))

    def output_shape(self, x: Shape) -> Shape:
        count = self.parameters
        self.require(len(x) == 2 and x[1] == count, f"takes N×{count}", x)
        return (x[0], 3, 4)

    def reference(self, x: Array) -> Array:
        if self.full:
            return x.reshape(-1, 3, 4)
        turned = np.broadcast_to(np.eye(3, dtype=x.dtype), (len(x), 3, 3))
        if self.rotates:
            turned = self.reference_rotation(x[:, :3])
        shift = x[:, -3:, None] if self.shifts else np.zeros((len(x), 3, 1), x.dtype)
        return np.concatenate([turned, turned @ shift], axis=2)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        if self.full:
            return tf.reshape(x, [-1, 3, 4])
        if not self.rotates:
            column = tf.expand_dims(x, 2)
            unturned = tf.tile(tf.expand_dims(tf.eye(3, dtype=at.dtype), 0), [size(tf, x, 0), 1, 1])
            return tf.concat([unturned, column], axis=2)
        turned = self.tensor_rotation(tf, x[:, :3])
        if not self.shifts:
            return tf.concat([turned, tf.zeros_like(turned[:, :, :1])], axis=2)
        return tf.concat([turned, tf.matmul(turned, tf.expand_dims(x[:, 3:], 2))], axis=2)

    @abc.abstractmethod
    def reference_rotation(self, numbers: Array) -> Array:
        """N×3×3 from N×3."""

    @abc.abstractmethod
    def tensor_rotation(self, tf: Any, numbers: Any) -> Any:
        """The same in TensorFlow."""


@register("nn.TransformationMatrix3x4SO3")
class TransformationMatrix3x4SO3(RigidMotion):
    """N×3×4: a rotation R, from a vector along its axis as long as its angle, beside R·t."""

    threshold = number("threshold", 1e-12)

    def reference_rotation(self, numbers: Array) -> Array:
        return about_axis(numbers, self.threshold)

    def tensor_rotation(self, tf: Any, numbers: Any) -> Any:
        return tensor_about_axis(tf, numbers, self.threshold)


@register("nn.TransformationMatrix3x4Euler")
class TransformationMatrix3x4Euler(RigidMotion):
    """N×3×4: a rotation R, about z by the first angle, y by the second, x by the third; R·t."""

    def checked(self) -> LayerMap:
        if self.full:
            raise BadField(f"{self.typename} without any transform fails in Torch")
        return super().checked()

    def reference_rotation(self, numbers: Array) -> Array:
        turned = np.broadcast_to(np.eye(3, dtype=numbers.dtype), (len(numbers), 3, 3))
        for angle, (first, second) in zip(numbers.T, ((0, 1), (2, 0), (1, 2)), strict=True):
            turn = np.zeros_like(turned)
            turn[:, range(3), range(3)] = 1
            turn[:, first, first] = turn[:, second, second] = np.cos(angle)
            turn[:, first, second] = np.sin(angle)
            turn[:, second, first] = -np.sin(angle)
            turned = turned @ turn
        return turned

    def tensor_rotation(self, tf: Any, numbers: Any) -> Any:
        (c1, s1), (c2, s2), (c3, s3) = (
            (tf.cos(angle), tf.sin(angle)) for angle in tf.unstack(numbers, num=3, axis=-1)
        )
        zero, one = tf.zeros_like(c1), tf.ones_like(c1)

        def matrix(*rows: tuple[Any, Any, Any]) -> Any:
            return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)

        about_z = matrix((c1, s1, zero), (tf.negative(s1), c1, zero), (zero, zero, one))
        about_y = matrix((c2, zero, tf.negative(s2)), (zero, one, zero), (s2, zero, c2))
        about_x = matrix((one, zero, zero), (zero, c3, s3), (zero, tf.negative(s3), c3))
        return tf.matmul(tf.matmul(about_z, about_y), about_x)


@register("nn.NonRigidRotationSO3")
class NonRigidRotationSO3(LayerMap):
    """Rotations N×H×W×3×3 from vectors N×H×W×3; NaN where a vector is 0, as in Torch."""

    fresh_output = True

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4 and x[3] == 3, "takes N×H×W×3", x)
        return (*x, 3)

    def reference(self, x: Array) -> Array:
        return about_axis(x, None)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        return tensor_about_axis(tf, x, None)


@register("nn.NonRigidPerPixelSE3")
class NonRigidPerPixelSE3(LayerMap):
    """Motions N×H×W×3×4 from N×H×W×6: a rotation's vector, and the last column as it is."""

    fresh_output = True

    def output_shape(self, x: Shape) -> Shape:
        self.require(len(x) == 4 and x[3] == 6, "takes N×H×W×6", x)
        return (*x[:3], 3, 4)

    def reference(self, x: Array) -> Array:
        return np.concatenate([about_axis(x[..., :3], None), x[..., 3:, None]], axis=-1)

    def apply(self, tf: Any, x: Any, at: OpContext) -> Any:
        turned = tensor_about_axis(tf, x[..., :3], None)
        return tf.concat([turned, tf.expand_dims(x[..., 3:], -1)], axis=-1)
