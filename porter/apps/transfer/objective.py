"""The total loss of a picture and its gradient: content + style + total variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from porter.apps.transfer import losses
from porter.apps.transfer.checks import BLACK
from porter.apps.transfer.descriptor import Descriptor
from porter.apps.transfer.recipe import Recipe, Weights
from porter.errors import ShapeMismatch, TooLarge, UsageError, WeightError
from porter.system.tensorflow import tf

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Losses:
    """The weighted parts of the total loss at one picture."""

    total: float
    content: float
    style: float
    variation: float


@dataclass(frozen=True)
class Evaluation:
    """Losses at a picture, and the gradient of their total with respect to its levels, H×W×3."""

    losses: Losses
    gradient: Array


class Objective:
    """What a picture is measured by: features of the content, Gram matrices of the style.

    `content` is RGB levels H×W×3, `styles` are such pictures, of any sizes, with their weights,
    which are shares of one: the Gram matrices are blended. The squared distance to the blend
    differs from the weighted sum of the distances by a constant.

    Raises WeightError where the descriptor sees nothing in a picture: its weights are unfit.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        recipe: Recipe,
        content: Array,
        styles: list[tuple[Array, float]],
    ) -> None:
        self.descriptor, self.recipe = descriptor, recipe
        self.dtype = tf.as_dtype(descriptor.dtype)
        self.shape = content.shape
        self.content_layers = recipe.content_layers if recipe.content_weight else {}
        self.style_layers = recipe.style_layers if recipe.style_weight else {}
        seen = self.described(content) if self.content_layers else {}
        require_seen(seen, self.content_layers, "content")
        self.targets = {name: seen[name] for name in self.content_layers}
        self.grams = self.blended(styles)
        spec = tf.TensorSpec((1, *content.shape), self.dtype)
        self.traced = tf.function(self.evaluate, input_signature=[spec], autograph=False)

    def described(self, picture: Array) -> dict[str, Any]:
        """Features of a picture H×W×3 by layer."""
        require_picture(picture)
        try:
            return self.descriptor(tf.constant(picture[None], self.dtype))
        except (tf.errors.OpError, ValueError, ShapeMismatch) as error:
            raise UsageError(
                "the descriptor does not run on a picture of "
                + "×".join(map(str, picture.shape[:2])),
                received=str(error).splitlines()[0][:200],
                hint="take a larger picture, or layers further up",
            ) from error

    def blended(self, styles: list[tuple[Array, float]]) -> dict[str, Any]:
        """The Gram matrices of all styles, by layer."""
        if not self.style_layers:
            return {}
        whole = sum(weight for _, weight in styles)
        if not styles or not whole > 0:
            raise UsageError("a style needs at least one picture with a positive weight")
        grams: dict[str, Any] = {}
        for picture, weight in styles:
            seen = self.described(picture)
            require_seen(seen, self.style_layers, "style")
            for name in self.style_layers:
                share = losses.gram_matrix(seen[name]) * (weight / whole)
                grams[name] = grams[name] + share if name in grams else share
        return grams

    def parts(self, image: Any) -> tuple[Any, Any, Any]:
        """The weighted content, style and variation losses of a tensor 1×H×W×3."""
        recipe = self.recipe
        features = self.descriptor(image)
        content = style = variation = tf.zeros([], self.dtype)
        for name, weight in self.content_layers.items():
            kind = cast(losses.ContentLoss, recipe.content_loss)
            content += weight * losses.content_loss(features[name], self.targets[name], kind)
        pixels = tf.reduce_prod(tf.shape(image)[1:3])
        for name, weight in self.style_layers.items():
            positions = tf.reduce_prod(tf.shape(features[name])[1:3])
            kind_of_style = cast(losses.StyleLoss, recipe.style_loss)
            gram = losses.gram_matrix(features[name])
            style += weight * losses.style_loss(
                gram, self.grams[name], kind_of_style, positions, pixels
            )
        if recipe.tv_weight:
            kind_of_variation = cast(losses.VariationLoss, recipe.tv_loss)
            variation = losses.total_variation(image, kind_of_variation)
        return (
            recipe.content_weight * content,
            recipe.style_weight * style,
            recipe.tv_weight * variation,
        )

    def evaluate(self, image: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Total, content, style, variation and the gradient, as tensors."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(image)
            content, style, variation = self.parts(image)
            total = content + style + variation
        return total, content, style, variation, tape.gradient(total, image)

    def __call__(self, picture: Array) -> Evaluation:
        """Losses and gradient at RGB levels H×W×3."""
        try:
            *parts, gradient = self.traced(tf.constant(picture[None], self.dtype))
        except tf.errors.ResourceExhaustedError as error:
            raise TooLarge(
                "the picture does not fit into memory",
                received="×".join(map(str, picture.shape[:2])),
                hint="make it smaller with `image_size=`",
            ) from error
        return Evaluation(Losses(*(float(part) for part in parts)), np.asarray(gradient)[0])

    def losses_of(self, picture: Array) -> Losses:
        """The losses alone."""
        parts = [float(part) for part in self.parts(tf.constant(picture[None], self.dtype))]
        return Losses(sum(parts), *parts)


def require_picture(picture: Array) -> None:
    """Raise UsageError for what is no picture."""
    if picture.ndim != 3 or picture.shape[-1] != 3 or min(picture.shape) < 1:
        raise UsageError(
            "a picture is RGB levels H×W×3", received="×".join(map(str, picture.shape))
        )


def require_seen(features: Mapping[str, Any], layers: Weights, what: str) -> None:
    """Raise for layers at which nothing is left of a picture, or which see nothing in it."""
    for name in layers:
        shape = tuple(features[name].shape)
        if 0 in shape:
            raise UsageError(
                f"nothing is left of the {what} picture at layer {name}",
                received="×".join(map(str, shape)),
                hint="take a larger picture, or layers further up",
            )
        largest = float(tf.reduce_max(tf.abs(features[name])))
        if not np.isfinite(largest):
            raise WeightError(
                f"the descriptor makes numbers of the {what} picture that are not finite",
                where=name,
                hint="its weights are damaged, or not meant for these pictures (`preprocessing=`)",
            )
        if largest == 0:
            raise WeightError(
                f"the descriptor sees nothing in the {what} picture: all features are zero",
                where=name,
                hint=BLACK,
            )
