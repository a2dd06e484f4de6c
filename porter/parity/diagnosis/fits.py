"""Hypotheses with numbers of their own: a factor or a summand, fitted by least squares."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from porter.ir.fields import Array
from porter.parity.diagnosis.situation import Arrays, Hypothesis


def fits(plain: Arrays, target: Arrays) -> Iterator[Hypothesis]:
    """A factor or a summand, one for all elements or one for each plane: least squares."""
    if len(plain) != 1 or plain[0].shape != target[0].shape or plain[0].size < 8:
        return
    y, expected = plain[0], target[0].astype(np.float64)
    if not (np.isfinite(y).all() and np.isfinite(expected).all()):
        return
    yield from fitted(y, expected, tuple(range(y.ndim)), "")
    if y.ndim >= 2:
        plane = y.ndim - 3 if y.ndim in (3, 4) else 1
        rest = tuple(axis for axis in range(y.ndim) if axis != plane)
        if y.size // y.shape[plane] >= 4:
            yield from fitted(y, expected, rest, " of its own for each plane")


def fitted(y: Array, expected: Array, axes: tuple[int, ...], each: str) -> Iterator[Hypothesis]:
    """The three fits over some axes."""
    squares = np.sum(y * y, axis=axes, keepdims=True)
    factor = np.sum(y * expected, axis=axes, keepdims=True) / np.where(squares > 0, squares, 1)
    summand = np.mean(expected - y, axis=axes, keepdims=True)
    mean, expected_mean = (np.mean(a, axis=axes, keepdims=True) for a in (y, expected))
    spread = np.sum((y - mean) ** 2, axis=axes, keepdims=True)
    slope = np.sum((y - mean) * (expected - expected_mean), axis=axes, keepdims=True)
    slope = slope / np.where(spread > 0, spread, 1)
    by = each or f" {factor.flat[0]:.6g}"
    more = each or f" {summand.flat[0]:.6g}"
    yield Hypothesis(f"the output is multiplied by a factor{by}", partial(tuple, (y * factor,)))
    yield Hypothesis(f"a summand{more} is added", partial(tuple, (y + summand,)))
    yield Hypothesis(
        f"the output is scaled and shifted{each}",
        partial(tuple, ((y - mean) * slope + expected_mean,)),
    )
