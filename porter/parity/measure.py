"""How much two arrays differ. Never searches for a permutation that would make them agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from porter.ir.fields import Array

SAMPLE = 100_000

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
    expected, actual = np.asarray(reference, np.float64), np.asarray(computed, np.float64)
    finite = np.isfinite(expected)
    if not finite.all() or not np.isfinite(actual).all():
        place = _first_difference(expected, actual)
        if place is not None:
            return failed(f"NaN or infinity at other places, first at {place}")
        expected, actual = np.where(finite, expected, 0.0), np.where(finite, actual, 0.0)
    difference = np.abs(expected - actual)
    scale = scale_of(expected)
    worst = int(difference.argmax())
    largest = float(difference.flat[worst])
    middle, high = np.quantile(_sample(difference), [0.5, 0.99]) / scale
    return Measure(
        largest,
        largest / scale,
        float(middle),
        float(high),
        _cosine(expected, actual, scale),
        tuple(int(i) for i in np.unravel_index(worst, difference.shape)),
        nonfinite=finite.size - int(np.count_nonzero(finite)),
    )


def scale_of(reference: Array) -> float:
    """The largest magnitude, at least `MIN_SCALE`; 1 where everything is zero."""
    largest = float(np.max(np.abs(reference)))
    return max(largest, MIN_SCALE) if largest else 1.0


def _sample(array: Array) -> Array:
    """At most about 100,000 elements, evenly spaced: enough for quantiles of large activations."""
    flat = array.ravel()
    return flat[:: max(1, flat.size // SAMPLE)]


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
    largest = float(np.max(np.abs(reference - computed)))
    return largest / scale if math.isfinite(largest) else math.inf


def error_shown(error: float | None) -> str:
    """An error formatted for people, the same on the terminal and in pages."""
    if error is None:
        return "–"
    if error == 0:
        return "0"
    return "∞" if math.isinf(error) else f"{error:.1e}"


def _cosine(a: Array, b: Array, scale: float) -> float:
    a, b = a.ravel() / scale, b.ravel() / scale
    norms = math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    if norms == 0.0:
        return 1.0 if not a.any() and not b.any() else 0.0
    return float(np.dot(a, b)) / norms


def _first_difference(a: Array, b: Array) -> tuple[int, ...] | None:
    """The first index at which the arrays differ in NaN or infinity."""
    unusual = ~np.isfinite(a) | ~np.isfinite(b)
    differs = unusual & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    return tuple(int(i) for i in np.argwhere(differs)[0]) if differs.any() else None


def _show(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
