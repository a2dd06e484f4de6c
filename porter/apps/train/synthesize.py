"""Textures of any size: from a generator trained in texture mode, or by optimisation.

Opposite edges of a texture match, so that it tiles a plane without a seam. A generator's borders
are circular; in the optimisation the image is shifted around its edges at every step, so that no
place of it is an edge for long.

Source of the optimisation: Gatys et al. 2015, Texture Synthesis Using CNNs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porter.apps.train.network import TrainableNetwork
from porter.apps.train.start import of_file
from porter.apps.transfer.images import to_uint8
from porter.apps.transfer.losses import gram_matrix, style_loss
from porter.errors import UsageError
from porter.frontend.module_tree import submodules
from porter.ir.fields import Array
from porter.ir.nested import leaves
from porter.ir.options import Options
from porter.system.tensorflow import tf

NOISE = ("nn.NoiseFill", "nn.GenNoise")
"""Modules that draw noise."""
RATE = 8.0
"""By how much of 255 Adam moves a pixel at first."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Texture:
    """An image H×W×3; `seam` tells how well it tiles, `losses` how it was found."""

    image: Array
    losses: tuple[float, ...] = ()

    @property
    def seam(self) -> float:
        """How much opposite edges differ, in units of how much neighbouring rows and columns do."""
        x = self.image.astype(np.float64)
        ratios = []
        for axis in (0, 1):
            inside = np.abs(np.diff(x, axis=axis)).mean()
            across = np.abs(x.take(0, axis) - x.take(-1, axis)).mean()
            ratios.append(across / inside if inside else 1.0)
        return float(max(ratios))


class Textures:
    """A generator trained in texture mode. Raises UsageError for a net that draws no noise."""

    def __init__(self, path: Path, seed: int, preset: str | None = None) -> None:
        file = path / "model.t7" if path.is_dir() else path
        if not file.is_file() and path.with_name(f"{path.name}.t7").is_file():
            file = path.with_name(f"{path.name}.t7")
        start = of_file(file, preset)
        if not any(module.typename in NOISE for _, module in submodules(start.root)):
            raise UsageError(
                f"{file} draws no noise: it transforms photos and makes no textures",
                hint="train one with `porter train --mode texture`, or use `porter stylize`",
            )
        self.network = TrainableNetwork(
            start.root, start.input_encoding, start.output_encoding, options=Options(seed=seed)
        )

    def __call__(self, size: Size, number: int = 0) -> Texture:
        """Texture `number`: other numbers have other noise. Raises ShapeMismatch, UsageError."""
        (output,) = leaves(self.network.plan((1, *size)).graph.outputs)
        if output.type.static[2:] != size:
            raise UsageError(
                f"the generator makes {output.type} where {size[0]}×{size[1]} was asked for",
                hint="give multiples of 32",
            )
        black = tf.zeros([1, *size, 3])
        (image,) = self.network(black, step=tf.constant(number, tf.int64))
        return Texture(to_uint8(image))


def optimise(
    descriptor: Any,
    style: Array,
    layers: tuple[str, ...],
    size: Size,
    steps: int,
    seed: int,
    on_progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Texture:
    """A texture of `size` whose Gram matrices are those of `style` (H×W×3), found by Adam."""
    random = np.random.default_rng(seed)
    features = descriptor(tf.constant(style[None], tf.float32))
    grams = {name: gram_matrix(features[name]) for name in layers}
    mean, deviation = style.mean(axis=(0, 1)), style.std(axis=(0, 1))
    start = np.clip(random.normal(mean, deviation, (1, *size, 3)), 0, 255)
    image = tf.Variable(start, dtype=tf.float32)
    schedule = tf.keras.optimizers.schedules.CosineDecay(RATE, max(1, steps))
    adam = tf.keras.optimizers.Adam(schedule)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(shift: Any) -> Any:
        with tf.GradientTape() as tape:
            shifted = descriptor(tf.roll(image, shift, axis=[1, 2]))
            losses = [
                style_loss(gram_matrix(shifted[name]), gram, "texture-nets")
                for name, gram in grams.items()
            ]
            loss = tf.add_n(losses)
        adam.apply_gradients([(tape.gradient(loss, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 255.0))
        return loss

    losses = []
    for number in range(1, steps + 1):
        losses.append(float(step(tf.constant(random.integers(0, size), tf.int32))))
        if not np.isfinite(losses[-1]):
            raise UsageError(f"the loss is not a number at step {number}", hint="look at the style")
        on_progress(number, losses[-1])
    return Texture(to_uint8(image[0]), tuple(losses))
