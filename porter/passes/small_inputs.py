"""Small images take the layers as they are, without rewrites.

Below about ten thousand pixels the calls of TensorFlow take longer than the arithmetic, and images
processed one by one (per_sample.py) take more calls. Where sizes are free, the choice is made when
the graph runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from porter.ir.layout import Layout, size

MIN_PIXELS = 96 * 96
"""The break-even point, measured on the generators of texture_nets and fast-neural-style with a
tenth to all of their planes."""

Named = dict[str, Any]


def unless_small(
    tf: Any,
    images: Any,
    layout: Layout,
    as_layers: Callable[[], Named],
    rewritten: Callable[[], Named],
) -> Named:
    """The outputs of `rewritten` for stored images, or of `as_layers` where they are small."""
    pixels = size(tf, images, layout.axis(2)) * size(tf, images, layout.axis(3))
    if isinstance(pixels, int):
        return as_layers() if pixels < MIN_PIXELS else rewritten()
    # Kept as a call in the graph, so that the first call with large images does not compile it.
    aside = {"_noinline": True}
    small = tf.function(as_layers, autograph=False, experimental_attributes=aside)
    outputs: Named = tf.cond(pixels < MIN_PIXELS, small, rewritten)
    return outputs
