"""Which rows a window and its transpose read, for all small kernels, strides and padding."""

from __future__ import annotations

import itertools

import pytest

from porter.ir.reach import Reach

EXTENT = 9
GEOMETRIES = [
    (kernel, stride, pad)
    for kernel, stride in itertools.product(range(1, 6), range(1, 4))
    for pad in range(kernel)
]


def ranges(extent: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(extent) for b in range(a + 1, extent + 1)]


@pytest.mark.parametrize(("kernel", "stride", "pad"), GEOMETRIES)
def test_a_window(kernel: int, stride: int, pad: int) -> None:
    reach = Reach.window(kernel, stride, pad)
    for first, end in ranges((EXTENT + 2 * pad - kernel) // stride + 1):
        low, high = reach.rows((first, end), EXTENT)
        needed = {o * stride - pad + k for o in range(first, end) for k in range(kernel)}
        assert needed & set(range(EXTENT)) <= set(range(low, high))
        assert low % stride == 0
        assert reach.start(low) == low // stride


@pytest.mark.parametrize(("kernel", "stride", "pad"), GEOMETRIES)
def test_a_transposed_window(kernel: int, stride: int, pad: int) -> None:
    """The rows that are needed, and as many as make the output long enough."""
    reach = Reach.transposed(kernel, stride, pad)
    for first, end in ranges((EXTENT - 1) * stride - 2 * pad + kernel):
        low, high = reach.rows((first, end), EXTENT)
        needed = {
            i
            for i, k in itertools.product(range(EXTENT), range(kernel))
            if first <= i * stride - pad + k < end
        }
        assert needed <= set(range(low, high))
        length = (high - low - 1) * stride - 2 * pad + kernel
        assert reach.start(low) + length >= end
