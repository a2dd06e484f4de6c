"""texture_nets' criterion: content, style and total variation, on several scales if asked for.

Content is the mean squared difference of features, style that of Gram matrices over h·w·c (both
nn.MSECriterion); weights multiply each layer's. On scale k the images are averaged over 2^k×2^k
pixels, the style image is scaled as much, and the losses count decay^k times.

Source: texture_nets train.lua, src/descriptor_net.lua, src/content_loss.lua, src/texture_loss.lua,
src/preprocess_criterion.lua, src/utils.lua (TVLoss).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from porter.apps.train.options import TrainOptions
from porter.apps.transfer.checks import require_informative
from porter.apps.transfer.losses import content_loss, gram_matrix, style_loss
from porter.errors import UsageError
from porter.system.tensorflow import tf

Losses = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """One size at which images are compared: averaged over `window`² pixels."""

    window: int
    weight: float
    grams: dict[str, Any]


@dataclass(frozen=True)
class Criterion:
    """What is minimised. `descriptor` gives features of images by layer name."""

    descriptor: Any
    options: TrainOptions
    scales: tuple[Scale, ...]

    def __call__(self, outputs: Any, photos: Any) -> Losses:
        """`content`, `style` (means over the batch) and `tv` (a sum, as in Torch), all weighted.

        `outputs` and `photos` are RGB images N×H×W×3 in 0…255.
        """
        zero = tf.zeros([], outputs.dtype)
        weight = self.options.tv_weight
        losses: Losses = {"tv": weight * total_variation(outputs) if weight else zero}
        content, style = [], []
        for scale in self.scales:
            features = self.descriptor(averaged(outputs, scale.window))
            style += [
                scale.weight * style_loss(gram_matrix(features[name]), gram, "texture-nets")
                for name, gram in scale.grams.items()
            ]
            if self.options.content_names:
                targets = self.descriptor(averaged(tf.stop_gradient(photos), scale.window))
                content += [
                    scale.weight * content_loss(features[name], targets[name], "mean")
                    for name in self.options.content_names
                ]
        losses["content"] = self.options.content_weight * tf.add_n([zero, *content])
        losses["style"] = self.options.style_weight * tf.add_n([zero, *style])
        return losses


def criterion(descriptor: Any, style: Any, options: TrainOptions) -> Criterion:
    """The criterion of a style image, RGB in 0…255, 1×H×W×3.

    Raises UsageError where a scale leaves nothing of the image, WeightError where the descriptor's
    weights are not meant for pictures.
    """
    scales = []
    for number in range(options.pyramid_loss):
        window = 2**number
        if options.image_size // window < 2:
            raise UsageError(
                f"`pyramid_loss={options.pyramid_loss}` leaves nothing of a crop of "
                f"{options.image_size}×{options.image_size}",
                hint="give a smaller `pyramid_loss=`",
            )
        features = descriptor(shrunk(style, window))
        require_informative(features, options.style_names, "style")
        grams = {name: gram_matrix(features[name]) for name in options.style_names}
        scales.append(Scale(window, options.pyramid_decay**number, grams))
    return Criterion(descriptor, options, tuple(scales))


def averaged(images: Any, window: int) -> Any:
    """nn.SpatialAveragePooling(window, window, window, window)."""
    if window == 1:
        return images
    return tf.nn.avg_pool2d(images, window, window, "VALID")


def shrunk(image: Any, factor: int) -> Any:
    """The style image on a coarser scale, bicubic."""
    if factor == 1:
        return image
    size = [max(1, extent // factor) for extent in image.shape[1:3]]
    return tf.image.resize(image, size, "bicubic", antialias=True)


def total_variation(images: Any) -> Any:
    """What TVLoss's gradient is the derivative of: half the squared differences of neighbours.

    Only pixels that have neighbours below and to the right count.
    """
    here = images[:, :-1, :-1]
    right, below = images[:, :-1, 1:], images[:, 1:, :-1]
    return tf.nn.l2_loss(here - right) + tf.nn.l2_loss(here - below)
