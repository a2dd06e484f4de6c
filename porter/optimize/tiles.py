"""Images cut into tiles of 4×4 pixels, lying tile by tile.

N×H×W×C is stored as 1×(16·N·down)×across×C: first the top left pixels of all tiles, then those to
the right of them, and so on; `down` and `across` count the tiles of an image. What computes pixels
one by one does not notice, nor does what adds up planes, if it leaves out the pixels that the last
tiles have beyond the image: those hold what was computed there, and nobody reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TILE = 4

Sources = Callable[[Any, Any], Any]
"""Which of n rows, or columns, stands at `places`, which may lie outside: `sources(places, n)`."""


@dataclass
class Tiles:
    """Where things lie for images of one size, which may be known only when the graph runs.

    Index tensors are made once, for all layers that ask.
    """

    tf: Any
    samples: Any
    height: Any
    width: Any

    def __post_init__(self) -> None:
        self.made: dict[Any, Any] = {}

    @property
    def down(self) -> Any:
        return (self.height + TILE - 1) // TILE

    @property
    def across(self) -> Any:
        return (self.width + TILE - 1) // TILE

    @property
    def count(self) -> Any:
        """Of all tiles of all images."""
        return self.samples * self.down * self.across

    # In and out -----------------------------------------------------------------------------------

    def cut(self, x: Any) -> Any:
        """An image, tiled. The tiles' pixels beyond it repeat its last ones."""
        if "cut" not in self.made:
            rows, columns = (
                self.tf.minimum(self.windows(n, TILE, 0), extent - 1)
                for n, extent in ((self.down, self.height), (self.across, self.width))
            )
            self.made["cut"] = self.addresses(rows, columns, (self.height, self.width))
        flat = self.tf.reshape(x, [-1, x.shape[3]])
        return self.stored(self.tf.gather(flat, self.made["cut"]))

    def joined(self, tiled: Any) -> Any:
        """A tiled image as N×H×W×C."""
        tf, planes = self.tf, tiled.shape[3]
        pixels = tf.reshape(
            tiled, tf.stack([TILE, TILE, self.samples, self.down, self.across, planes])
        )
        whole = tf.reshape(
            tf.transpose(pixels, [2, 3, 0, 4, 1, 5]),
            tf.stack([self.samples, self.down * TILE, self.across * TILE, planes]),
        )
        return tf.slice(whole, [0, 0, 0, 0], tf.stack([-1, self.height, self.width, -1]))

    def stored(self, pixels: Any) -> Any:
        """16 × tiles × planes as images are: rank 4, one sample."""
        planes = pixels.shape[-1]
        shape = [1, TILE * TILE * self.samples * self.down, self.across, planes]
        return self.tf.reshape(pixels, self.tf.stack(shape))

    # Windows --------------------------------------------------------------------------------------

    def windows(self, tiles: Any, seen: int, before: int) -> Any:
        """Rows that each tile sees, as seen × tiles, where -1 is the first above the image."""
        starts = self.tf.range(tiles) * TILE - before
        return self.tf.expand_dims(self.tf.range(seen), 1) + self.tf.expand_dims(starts, 0)

    def addresses(self, rows: Any, columns: Any, extents: tuple[Any, Any] | None = None) -> Any:
        """Where the pixels at rows × columns lie in a list of all pixels: seen² × tiles.

        `extents` are height and width of images; without them what lies there is tiled.
        """
        tf = self.tf
        if extents is not None:
            height, width = extents
            down, right, sample = rows * width, columns, height * width
        else:
            tile_row, row = rows // TILE, rows % TILE
            down = row * (TILE * self.count) + tile_row * self.across
            right = (columns % TILE) * self.count + columns // TILE
            sample = self.down * self.across
        seen = int(rows.shape[0])
        places = (
            tf.reshape(down, tf.stack([seen, 1, 1, -1, 1]))
            + tf.reshape(right, tf.stack([1, seen, 1, 1, -1]))
            + tf.reshape(tf.range(self.samples) * sample, [1, 1, -1, 1, 1])
        )
        return tf.reshape(places, [seen * seen, -1])

    def both(self, rows: Any, columns: Any) -> Any:
        """One for each pixel whose row and column are both true, else zero: seen² × tiles."""
        tf, seen = self.tf, int(rows.shape[0])
        down = tf.reshape(rows, tf.stack([seen, 1, 1, self.down, 1]))
        right = tf.reshape(columns, tf.stack([1, seen, 1, 1, self.across]))
        shape = tf.stack([seen, seen, self.samples, self.down, self.across])
        kept = tf.cast(tf.logical_and(down, right), tf.float32)
        return tf.reshape(tf.broadcast_to(kept, shape), [seen * seen, -1])

    # Planes ---------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> Any:
        """What each pixel counts in an average over its plane, as 16 × 1 × tiles."""
        tf = self.tf
        rows, columns = (
            self.windows(tiles, TILE, 0) < extent
            for tiles, extent in ((self.down, self.height), (self.across, self.width))
        )
        part = 1 / tf.cast(self.samples * self.height * self.width, tf.float32)
        return tf.expand_dims(self.both(rows, columns) * part, 1)

    def averaged(self, values: Any) -> Any:
        """The planes' averages over all samples, in float64, as 1×1×1×C."""
        tf, planes = self.tf, values.shape[3]
        pixels = tf.reshape(values, [TILE * TILE, -1, planes])
        sums = tf.matmul(tf.cast(self.weights, values.dtype), pixels)
        return tf.expand_dims(tf.reduce_sum(tf.cast(sums, tf.float64), 0, keepdims=True), 0)
