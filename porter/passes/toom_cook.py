"""Toom and Cook's multiplication of polynomials, as three matrices: short convolutions with fewer
multiplications.

m outputs of a filter of r taps, y[p] = Σ_k g[k] · x[p + k], take m·r multiplications. Multiplying
polynomials by their values at n = m + r - 1 points takes n, and transposing that algorithm gives

    y = Aᵀ · ((G · g) ⊙ (Bᵀ · x))         Aᵀ: m×n, G: n×r, Bᵀ: n×n, ⊙ element by element

With points a₀ … a₍ₙ₋₂₎ and infinity, and Nⱼ = Π₍ₗ≠ⱼ₎ (aⱼ - aₗ):

    Aᵀ[i, j] = aⱼⁱ          last column: 0 … 0 1
    G[j, k]  = aⱼᵏ / Nⱼ     last row: 0 … 0 1
    Bᵀ[j, :] = the coefficients of Π₍ₗ≠ⱼ₎ (x - aₗ), lowest first; last row: those of Π (x - aₗ)

Images are convolved by nesting it: with ⊗ as Kronecker's product, (A ⊗ A)ᵀ and so on, applied to
flattened tiles.

Sources: S. Winograd, Arithmetic complexity of computations, 1980; A. Lavin and S. Gray, Fast
algorithms for convolutional neural networks, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from porter.ir.fields import Array

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""For m = 4, r = 3. The usual points 0, ±1, ±2 save multiplications by small integers, of which
a matrix product makes no use; these halve the rounding error."""


@dataclass(frozen=True)
class Transforms:
    """Matrices for tiles of two dimensions, flattened: `output` m²×n², `filters` n²×r²,
    `input` n²×n²."""

    output: Array
    filters: Array
    input: Array


def transforms(outputs: int, taps: int, points: Sequence[float] = POINTS) -> Transforms:
    """The nested matrices in float64; `points` are outputs + taps - 2 different numbers."""
    n = outputs + taps - 1
    assert len(set(points)) == n - 1
    output, filters, inputs = np.zeros((outputs, n)), np.zeros((n, taps)), np.zeros((n, n))
    for j, point in enumerate(points):
        others = np.delete(np.array(points), j)
        output[:, j] = point ** np.arange(outputs)
        filters[j] = point ** np.arange(taps) / np.prod(point - others)
        inputs[j, :-1] = np.poly(others)[::-1]
    output[-1, -1] = filters[-1, -1] = 1
    inputs[-1] = np.poly(points)[::-1]
    return Transforms(*(np.kron(matrix, matrix) for matrix in (output, filters, inputs)))
