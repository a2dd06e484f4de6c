"""Windows on a storage, against NumPy's own strided arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from porter.ir.window import Window


@st.composite
def windows(draw: st.DrawFn, size: int = 24) -> Window:
    """What is left of a contiguous tensor after a few views."""
    shape = draw(st.sampled_from([(24,), (4, 6), (2, 3, 4), (2, 2, 2, 3), (1, 4, 1, 6)]))
    window = Window.contiguous(shape, draw(st.integers(0, 3)))
    for _ in range(draw(st.integers(0, 3))):
        rank = len(window.shape)
        if rank > 1 and draw(st.booleans()):
            axis = draw(st.integers(0, rank - 1))
            window = window.selected(axis, draw(st.integers(0, window.shape[axis] - 1)))
        elif draw(st.booleans()):
            window = window.repeated(draw(st.integers(0, rank)), draw(st.integers(1, 2)))
        else:
            window = window.reshaped((int(np.prod(window.shape)),)) or window
    return window


def strided(window: Window) -> np.ndarray:
    base = np.arange(64)
    strides = [step * base.itemsize for step in window.strides]
    return np.lib.stride_tricks.as_strided(base[window.offset :], window.shape, strides)


@given(windows())
def test_elements_are_numpys(window: Window) -> None:
    np.testing.assert_array_equal(window.elements(), strided(window))


@given(windows(), windows())
def test_windows_meet_where_they_share_elements(one: Window, other: Window) -> None:
    shared = np.intersect1d(one.elements(), other.elements()).size > 0
    assert one.meets(other) == shared
    assert other.meets(one) == shared


@given(windows(), windows())
def test_the_same_runs_are_the_same_elements(one: Window, other: Window) -> None:
    same = one.elements().size == other.elements().size and bool(
        np.all(one.elements().ravel() == other.elements().ravel())
    )
    assert one.same_elements(other) == same


@given(windows(), st.sampled_from([(4, 6), (24,), (2, 12), (3, 4), (2, 3), (6,), (2, 2, 6)]))
def test_a_reshape_keeps_the_elements(window: Window, shape: tuple[int, ...]) -> None:
    if np.prod(window.shape) != np.prod(shape):
        assert window.reshaped(shape) is None
        return
    reshaped = window.reshaped(shape)
    if reshaped is not None:
        np.testing.assert_array_equal(reshaped.elements(), window.elements().reshape(shape))
    else:
        assert not window.is_contiguous


@given(windows())
def test_contiguous_elements_lie_in_order(window: Window) -> None:
    assert window.is_contiguous == bool(np.all(np.diff(window.elements().ravel()) == 1))
