"""Images cut into tiles of 4×4 pixels, lying tile by tile.

N×H×W×C is stored as 1×(N·down·across)×16×C: the 16 pixels of the first tile, row by row, then those
of the tile to the right of it, and so on; `down` and `across` count the tiles of an image. What
computes pixels one by one does not notice, nor does what adds up planes, if it leaves out the
pixels that the last tiles have beyond the image: those hold what was computed there, and nobody
reads them.
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
        """An image, tiled. The tiles' pixels beyond it repeat its last ones."""
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
        """Tiles × 16 × planes as images are: rank 4, one sample."""
        return self.tf.expand_dims(pixels, 0)

    # Windows --------------------------------------------------------------------------------------

    def windows(self, tiles: Any, window: int, before: int) -> Any:
        """Rows that each tile sees, as tiles × seen, where -1 is the first above the image."""
        starts = self.tf.range(tiles) * TILE - before
        return self.tf.expand_dims(starts, 1) + self.tf.range(window)

    def addresses(self, rows: Any, columns: Any, extents: tuple[Any, Any] | None = None) -> Any:
        """Where the pixels at rows × columns lie in a list of all pixels: tiles × seen².

        `extents` are height and width of images; without them what lies there is tiled.
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
        """One for each pixel whose row and column are both true, else zero: tiles × seen²."""
        tf, window = self.tf, int(rows.shape[1])
        down = tf.reshape(rows, [1, -1, 1, window, 1])
        right = tf.reshape(columns, [1, 1, -1, 1, window])
        shape = tf.stack([self.samples, self.down, self.across, window, window])
        kept = tf.cast(tf.logical_and(down, right), tf.float32)
        return tf.reshape(tf.broadcast_to(kept, shape), [-1, window * window])

    # Planes ---------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> Any:
        """What each pixel counts in an average over its plane, for one row of tiles after the
        other."""
        tf = self.tf
        rows, columns = (
            self.windows(tiles, TILE, 0) < extent
            for tiles, extent in ((self.down, self.height), (self.across, self.width))
        )
        part = 1 / tf.cast(self.samples * self.height * self.width, tf.float32)
        every = self.both(rows, columns) * part
        return tf.reshape(every, tf.stack([self.rows, 1, -1]))

    def averaged(self, values: Any) -> Any:
        """The planes' averages over all samples, in float64, as 1×1×1×C."""
        tf, planes = self.tf, values.shape[3]
        pixels = tf.reshape(values, tf.stack([self.rows, -1, planes]))
        sums = tf.cast(tf.matmul(tf.cast(self.weights, values.dtype), pixels), tf.float64)
        return tf.expand_dims(tf.reduce_sum(sums, 0, keepdims=True), 0)
