"""The reach of a layer along an axis: which rows of its input a row of its output is computed from.

A layer that slides one window over an axis gets from part of its input the numbers that it gets
from all of it. Large images are run in such bands (`porter/apps/stylize/bands.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

Rows = tuple[int, int]
"""The first row, and one past the last."""


@dataclass(frozen=True)
class Reach:
    """Rows a…b of the output are computed from rows a·s − before … b·s + after of the input, or as
    far as it goes, where s is stride/scale. An input that is cut at a multiple of `stride` gives an
    output that begins at the row which belongs to it.
    """

    before: int = 0
    after: int = 0
    stride: int = 1
    scale: int = 1

    def rows(self, output: Rows, extent: int) -> Rows:
        """The rows of an input of `extent` rows that rows of the output need."""
        first = max(output[0] * self.stride // self.scale - self.before, 0)
        end = -(-output[1] * self.stride // self.scale) + self.after
        return first - first % self.stride, min(end, extent)

    def start(self, first: int) -> int:
        """The row of the output at which the layer begins on an input cut at row `first`."""
        return first * self.scale // self.stride

    @classmethod
    def window(cls, kernel: int, stride: int, pad: int) -> Reach:
        """Of a window of `kernel` rows that moves in steps of `stride` over padded rows."""
        return cls(before=pad, after=max(kernel - stride - pad, 0), stride=stride)

    @classmethod
    def transposed(cls, kernel: int, stride: int, pad: int) -> Reach:
        """Of the transpose of such a window, which adds to `kernel` rows of the output."""
        before, after = kernel - 1 - pad, max(pad, 2 * pad - kernel + stride)
        return cls(max(-(-before // stride), 0), -(-after // stride), scale=stride)


POINTWISE = Reach()
"""Each row is computed from the same row."""
