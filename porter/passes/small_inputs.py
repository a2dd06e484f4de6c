"""Small pictures by the layers as they are.

Below some ten thousand pixels calls of TensorFlow take longer than the arithmetic, and pictures
that come one by one (samples.py) take more of them. Where sizes are free, that is decided when the
graph runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porter.ir.layout import Layout, size

MIN_PIXELS = 96 * 96
"""Of a picture that takes as long either way: measured on texture_nets' and fast-neural-style's
generators, from a tenth of their planes to all."""

Named = dict[str, Any]


def unless_small(
    tf: Any,
    pictures: Any,
    layout: Layout,
    as_layers: Callable[[], Named],
    rewritten: Callable[[], Named],
) -> Named:
    """What `rewritten` makes of stored pictures, or `as_layers` where they are small."""
    pixels = size(tf, pictures, layout.axis(2)) * size(tf, pictures, layout.axis(3))
    if isinstance(pixels, int):
        return as_layers() if pixels < MIN_PIXELS else rewritten()
    # It stays a call in the graph, so that the first call with large pictures does not wait for it.
    aside = {"_noinline": True}
    small = tf.function(as_layers, autograph=False, experimental_attributes=aside)
    outputs: Named = tf.cond(pixels < MIN_PIXELS, small, rewritten)
    return outputs
