"""Images cut into tiles of 4×4 pixels, stored tile by tile.

N×H×W×C is stored as 1×(N·down·across)×16×C: the 16 pixels of the first tile, row by row, then those
of the tile to the right of it, and so on; `down` and `across` count the tiles of an image.
Pixel-wise operations run on it unchanged. Reductions over planes must leave out the pixels of the
last tiles that lie beyond the image: their values are arbitrary, and nothing else reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TILE = 4

Sources = Callable[[Any, Any], Any]
"""`sources(places, n)`: which of n rows or columns is read at `places`, which may lie outside."""


@dataclass
class Tiles:
    """The tiling of images of one size, which may be known only when the graph runs.

    Index tensors are computed once and shared by all layers.
    """

    tf: Any
    samples: Any
    height: Any
    width: Any

    def __post_init__(self) -> None:
        self.cache: dict[Any, Any] = {}

    @cached_property
    def down(self) -> Any:
        return (self.height + TILE - 1) // TILE

    @cached_property
    def across(self) -> Any:
        return (self.width + TILE - 1) // TILE

    @cached_property
    def rows(self) -> Any:
        """Rows of tiles in all images."""
        return self.samples * self.down

    # In and out -----------------------------------------------------------------------------------

    def cut(self, x: Any) -> Any:
        """An image in tiles; pixels beyond its edge repeat the last ones."""
        if "cut" not in self.cache:
            rows, columns = (
                self.tf.minimum(self.windows(n, TILE, 0), extent - 1)
                for n, extent in ((self.down, self.height), (self.across, self.width))
            )
            self.cache["cut"] = self.addresses(rows, columns, (self.height, self.width))
        flat = self.tf.reshape(x, [-1, x.shape[3]])
        return self.stored(self.tf.gather(flat, self.cache["cut"]))

    def joined(self, tiled: Any) -> Any:
        """A tiled image as N×H×W×C."""
        tf, planes = self.tf, tiled.shape[3]
        pixels = tf.reshape(
            tiled, tf.stack([self.samples, self.down, self.across, TILE, TILE, planes])
        )
        whole = tf.reshape(
            tf.transpose(pixels, [0, 1, 3, 2, 4, 5]),
            tf.stack([self.samples, self.down * TILE, self.across * TILE, planes]),
        )
        return tf.slice(whole, [0, 0, 0, 0], tf.stack([-1, self.height, self.width, -1]))

    def stored(self, pixels: Any) -> Any:
        """Tiles × 16 × planes as a rank-4 tensor of one sample."""
        return self.tf.expand_dims(pixels, 0)

    # Windows --------------------------------------------------------------------------------------

    def windows(self, tiles: Any, window: int, before: int) -> Any:
        """The rows that each tile reads, tiles × window, where -1 is the first above the image."""
        starts = self.tf.range(tiles) * TILE - before
        return self.tf.expand_dims(starts, 1) + self.tf.range(window)

    def addresses(self, rows: Any, columns: Any, extents: tuple[Any, Any] | None = None) -> Any:
        """Flat indices of the pixels at rows × columns: tiles × window².

        `extents` are height and width of images; without them the pixels are stored in tiles.
        """
        tf, window = self.tf, int(rows.shape[1])
        if extents is not None:
            height, width = extents
            down, right, sample = rows * width, columns, height * width
        else:
            size = TILE * TILE
            down = rows // TILE * (self.across * size) + rows % TILE * TILE
            right = columns // TILE * size + columns % TILE
            sample = self.down * self.across * size
        places = (
            tf.reshape(down, [1, -1, 1, window, 1])
            + tf.reshape(right, [1, 1, -1, 1, window])
            + tf.reshape(tf.range(self.samples) * sample, [-1, 1, 1, 1, 1])
        )
        return tf.reshape(places, [-1, window * window])

    def both(self, rows: Any, columns: Any) -> Any:
        """1.0 for each pixel whose row and column are both true, else 0.0: tiles × window²."""
        tf, window = self.tf, int(rows.shape[1])
        down = tf.reshape(rows, [1, -1, 1, window, 1])
        right = tf.reshape(columns, [1, 1, -1, 1, window])
        shape = tf.stack([self.samples, self.down, self.across, window, window])
        inside = tf.cast(tf.logical_and(down, right), tf.float32)
        return tf.reshape(tf.broadcast_to(inside, shape), [-1, window * window])

    # Planes ---------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> Any:
        """The weight of each pixel in its plane's mean, one row of tiles after the other."""
        tf = self.tf
        rows, columns = (
            self.windows(tiles, TILE, 0) < extent
            for tiles, extent in ((self.down, self.height), (self.across, self.width))
        )
        part = 1 / tf.cast(self.samples * self.height * self.width, tf.float32)
        every = self.both(rows, columns) * part
        return tf.reshape(every, tf.stack([self.rows, 1, -1]))

    def averaged(self, values: Any) -> Any:
        """The mean of each plane over all samples, in float64, 1×1×1×C."""
        tf, planes = self.tf, values.shape[3]
        pixels = tf.reshape(values, tf.stack([self.rows, -1, planes]))
        sums = tf.cast(tf.matmul(tf.cast(self.weights, values.dtype), pixels), tf.float64)
        return tf.expand_dims(tf.reduce_sum(sums, 0, keepdims=True), 0)
