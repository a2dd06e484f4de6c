"""The total loss of an image and its gradient: content + style + total variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from porter.apps.transfer import losses
from porter.apps.transfer.checks import require_informative
from porter.apps.transfer.descriptor import Descriptor
from porter.apps.transfer.recipe import Recipe
from porter.errors import OutOfMemory, ShapeMismatch, UsageError
from porter.system.runtime_errors import cause
from porter.system.tensorflow import tf

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Losses:
    """The weighted parts of the total loss at one image."""

    total: float
    content: float
    style: float
    variation: float


@dataclass(frozen=True)
class Evaluation:
    """Losses at an image, and the gradient H×W×3 of their total with respect to it."""

    losses: Losses
    gradient: Array


class Objective:
    """What an image is compared with: features of the content, Gram matrices of the style.

    `content` is RGB in 0…255, H×W×3, `styles` are such images, of any sizes, with their weights,
    which are shares of one: the Gram matrices are blended. The squared distance to the blend
    differs from the weighted sum of the distances by a constant.

    Raises WeightError where the descriptor sees nothing in an image: its weights are unusable.
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
        features = self.features(content) if self.content_layers else {}
        require_informative(features, self.content_layers, "content")
        self.targets = {name: features[name] for name in self.content_layers}
        self.grams = self.blended_grams(styles)
        spec = tf.TensorSpec((1, *content.shape), self.dtype)
        self.traced = tf.function(self.evaluate, input_signature=[spec], autograph=False)

    def features(self, image: Array) -> dict[str, Any]:
        """Features of an image H×W×3 by layer."""
        require_image(image)
        try:
            return self.descriptor(tf.constant(image[None], self.dtype))
        except (tf.errors.OpError, ValueError, ShapeMismatch) as error:
            raise UsageError(
                "the descriptor does not run on an image of " + "×".join(map(str, image.shape[:2])),
                received=cause(error)[:200],
                hint="use a larger image, or shallower layers",
            ) from error

    def blended_grams(self, styles: list[tuple[Array, float]]) -> dict[str, Any]:
        """The Gram matrices of all styles, by layer."""
        if not self.style_layers:
            return {}
        whole = sum(weight for _, weight in styles)
        if not styles or not whole > 0:
            raise UsageError("a style needs at least one image with a positive weight")
        grams: dict[str, Any] = {}
        for image, weight in styles:
            features = self.features(image)
            require_informative(features, self.style_layers, "style")
            for name in self.style_layers:
                share = losses.gram_matrix(features[name]) * (weight / whole)
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

    def __call__(self, image: Array) -> Evaluation:
        """Losses and gradient at RGB in 0…255, H×W×3."""
        try:
            *parts, gradient = self.traced(tf.constant(image[None], self.dtype))
        except tf.errors.ResourceExhaustedError as error:
            raise OutOfMemory(
                "the image does not fit into memory",
                received="×".join(map(str, image.shape[:2])),
                hint="make it smaller with `image_size=`",
            ) from error
        return Evaluation(Losses(*(float(part) for part in parts)), np.asarray(gradient)[0])

    def losses_of(self, image: Array) -> Losses:
        """The losses alone."""
        parts = [float(part) for part in self.parts(tf.constant(image[None], self.dtype))]
        return Losses(sum(parts), *parts)


def require_image(image: Array) -> None:
    """Raise UsageError for what is not an image H×W×3."""
    if image.ndim != 3 or image.shape[-1] != 3 or min(image.shape) < 1:
        raise UsageError(
            "an image is RGB in 0…255, H×W×3", received="×".join(map(str, image.shape))
        )
