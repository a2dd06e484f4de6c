"""How much two arrays differ. Never searches for a permutation that would make them agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from porter.ir.fields import Array

SAMPLE = 10_000
"""About as many elements, evenly spaced, are enough for quantiles of large activations."""
PIECE = 2**24
"""Bytes of arrays that are compared for equality at once."""
BLOCK = 2**16
"""Elements that stay in a processor's cache while they are compared."""

MAX_SQUARES = 1e200
"""Sums of squares beyond this, or below its inverse, are added in units of the scale."""

MIN_SCALE = 1e-30
"""Smaller scales count as this one. Float32's normal numbers end at 1.2e-38, and what lies below
may be flushed to zero: of tensors near there it holds no digits that could agree."""


@dataclass(frozen=True)
class Measure:
    """Errors of `computed` against `reference`.

    `max_abs` is the largest difference, `max_rel` the same in units of the scale (the largest
    magnitude of the reference, see `scale_of`). `p50` and `p99` are quantiles of the differences in
    units of the scale, `cosine` the angle between both as vectors. `problem` is set where numbers
    cannot tell: shapes differ, or NaN or infinity at other places.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    cosine: float = 1.0
    worst_index: tuple[int, ...] = ()
    problem: str | None = None
    nonfinite: int = 0
    """How many numbers are NaN or infinite, the same in both."""

    def within(self, tolerance: float) -> bool:
        return self.problem is None and self.max_rel <= tolerance

    @staticmethod
    def worst(measures: list[Measure]) -> Measure:
        """The measure to report of several."""
        return max(measures, key=lambda m: (m.problem is not None, m.max_rel), default=Measure())


def failed(problem: str) -> Measure:
    """A measure that fails at every tolerance."""
    return Measure(math.inf, math.inf, math.inf, math.inf, 0.0, (), problem)


def compare(reference: Array, computed: Array) -> Measure:
    """Compare in Torch's order: shapes exactly, NaN and infinities place by place, then numbers."""
    if reference.shape != computed.shape:
        return failed(f"shape {_show(computed.shape)} where {_show(reference.shape)} is expected")
    if reference.size == 0:
        return Measure()
    # Arrays from TensorFlow are views in Torch's order: in one row, and block by block, they are
    # read once from memory.
    expected, actual = np.ravel(reference), np.ravel(computed)
    nonfinite = 0
    totals = Totals.of(expected, actual)
    if not math.isfinite(totals.largest):
        place = _first_difference(expected, actual)
        if place is not None:
            where = _index(place, reference.shape)
            return failed(f"NaN or infinity at other places, first at {where}")
        finite = np.isfinite(expected)
        nonfinite = finite.size - int(np.count_nonzero(finite))
        expected, actual = np.where(finite, expected, 0), np.where(finite, actual, 0)
        totals = Totals.of(expected, actual)
    scale = _at_least_normal(totals.magnitude)
    products = totals.products
    if not all(1 / MAX_SQUARES < square < MAX_SQUARES for square in products[:2]):
        products = Totals.of(expected / scale, actual / scale).products
    few = slice(None, None, max(1, expected.size // SAMPLE))
    sampled = np.abs(expected[few].astype(np.float64) - actual[few])
    middle, high = np.quantile(sampled, [0.5, 0.99]) / scale
    return Measure(
        totals.largest,
        totals.largest / scale,
        float(middle),
        float(high),
        _cosine(*products),
        _index(totals.worst, reference.shape),
        nonfinite=nonfinite,
    )


@dataclass(frozen=True)
class Totals:
    """What one pass over two rows of numbers tells.

    `largest` is the largest difference, at place `worst`; it is NaN or infinite where a number of
    either row is. `magnitude` is the largest of the expected row, `products` are the sums of
    squares of both rows and of their products.
    """

    largest: float
    worst: int
    magnitude: float
    products: tuple[float, float, float]

    @staticmethod
    def of(expected: Array, actual: Array) -> Totals:
        largest, worst, magnitude = -1.0, 0, 0.0
        squares, others, mixed = 0.0, 0.0, 0.0
        with np.errstate(all="ignore"):
            for start in range(0, expected.size, BLOCK):
                a, b = (
                    row[start : start + BLOCK].astype(np.float64, copy=False)
                    for row in (expected, actual)
                )
                difference = a - b
                np.abs(difference, out=difference)
                place = int(difference.argmax())
                if not difference[place] <= largest:
                    largest, worst = float(difference[place]), start + place
                    if math.isnan(largest):
                        break
                magnitude = max(magnitude, float(a.max()), -float(a.min()))
                squares += float(np.dot(a, a))
                others += float(np.dot(b, b))
                mixed += float(np.dot(a, b))
        return Totals(largest, worst, magnitude, (squares, others, mixed))


def scale_of(reference: Array) -> float:
    """The largest magnitude, at least `MIN_SCALE`; 1 where everything is zero."""
    return _at_least_normal(max(float(np.max(reference)), -float(np.min(reference))))


def _at_least_normal(magnitude: float) -> float:
    return max(magnitude, MIN_SCALE) if magnitude else 1.0


def relative_error(reference: Array, computed: Array) -> float:
    """`compare(...).max_rel` alone, which is cheaper."""
    if reference.shape != computed.shape:
        return math.inf
    finite = np.isfinite(reference)
    if not finite.all():
        return compare(reference, computed).max_rel
    if reference.size == 0:
        return 0.0
    scale = scale_of(reference)
    largest = float(np.max(np.abs(np.ravel(reference) - np.ravel(computed))))
    return largest / scale if math.isfinite(largest) else math.inf


def error_shown(error: float | None) -> str:
    """An error formatted for people, the same on the terminal and in pages."""
    if error is None:
        return "–"
    if error == 0:
        return "0"
    return "∞" if math.isinf(error) else f"{error:.1e}"


def _cosine(aa: float, bb: float, ab: float) -> float:
    if aa == 0.0 or bb == 0.0:
        return 1.0 if aa == bb else 0.0
    return ab / (math.sqrt(aa) * math.sqrt(bb))


def _first_difference(a: Array, b: Array) -> int | None:
    """The first place at which two rows differ in NaN or infinity."""
    unusual = ~np.isfinite(a) | ~np.isfinite(b)
    differs = unusual & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    return int(differs.argmax()) if differs.any() else None


def _index(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(place, shape))


def _show(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def equal(first: Array, second: Array) -> bool:
    """Whether two arrays are equal, NaN included, compared in pieces: a comparison of large ones
    takes several times their memory."""
    if first.shape != second.shape:
        return False
    count = max(first.nbytes // PIECE, 1)
    pieces = [np.array_split(np.ravel(each), count) for each in (first, second)]
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*pieces, strict=True))
