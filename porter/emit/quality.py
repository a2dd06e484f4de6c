"""The quality of a quantised file: it is meant to differ, so it is judged by other measures.

    psnr      20 · log10(largest |expected| / root of the mean squared error), in decibels
    cosine    of both outputs as vectors
    top1      how often the largest score is at the same place, where outputs are N×classes

each the worst of all outputs. The least PSNR that passes is in BOUNDS, or the user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from porter.ir.fields import Array
from porter.parity.measure import Measure, compare

Pair = tuple[Array, Array]

BOUNDS = {"float16": 50.0, "dynamic": 30.0, "int8": 20.0, "uint8": 20.0}
"""Least PSNR in dB by kind of file. 20 dB is an error of a tenth of the largest value (RMS)."""


@dataclass(frozen=True)
class Quality:
    """`measure` is the largest error as for any format; `top1` is None where nothing is scored."""

    measure: Measure
    psnr: float
    cosine: float
    top1: float | None

    def __str__(self) -> str:
        scores = "" if self.top1 is None else f", top-1 {self.top1:.1%}"
        return f"PSNR {self.psnr:.1f} dB, cosine {self.cosine:.6f}{scores}"

    def json(self) -> dict[str, Any]:
        """For the manifest; an infinite PSNR becomes null."""
        finite = self.psnr if math.isfinite(self.psnr) else None
        return {"psnr": finite, "cosine": self.cosine, "top1": self.top1}


def judge(groups: Iterable[Sequence[Pair]]) -> Quality:
    """Quality of (expected, actual) pairs in groups; a group's pairs are judged together.

    A group is one output on inputs of one kind: a sample whose numbers happen to be small is no
    worse for it.
    """
    listed = [list(group) for group in groups]
    pairs = [pair for group in listed for pair in group]
    measures = [compare(expected, actual) for expected, actual in pairs]
    worst = Measure.worst(measures)
    if worst.problem:
        return Quality(worst, -math.inf, 0.0, None)
    hits = [
        hit
        for expected, actual in pairs
        if expected.ndim == 2
        for hit in agreement(expected, actual)
    ]
    return Quality(
        worst,
        min(psnr(group) for group in listed),
        min(measure.cosine for measure in measures),
        float(np.mean(hits)) if hits else None,
    )


def psnr(group: Sequence[Pair]) -> float:
    """In decibels, over all elements of a group; infinite where all are equal."""
    exact = np.concatenate([expected.ravel() for expected, _ in group]).astype(np.float64)
    actual = np.concatenate([actual.ravel() for _, actual in group])
    error = float(np.sqrt(np.mean(np.square(exact - actual))))
    peak = float(np.max(np.abs(exact))) or 1.0
    return math.inf if error == 0 else 20 * math.log10(peak / error)


def agreement(expected: Array, actual: Array) -> list[bool]:
    """For each row whether its largest element is at the same place."""
    agrees: list[bool] = (expected.argmax(axis=1) == actual.argmax(axis=1)).tolist()
    return agrees
