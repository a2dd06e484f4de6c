"""Layouts that follow reshapes and axes without moving a byte."""

from __future__ import annotations

import pytest

from porter.ir.graph import TensorType
from porter.ir.layout import Layout, channels_last, torch_order
from porter.ir.layout_reshape import complete, regrouped

IMAGE = channels_last(4, 2)


@pytest.mark.parametrize(
    ("before", "after", "first", "order"),
    [
        pytest.param((2, 3, 4, 5), (2, 3, 20), (0, 0), (0, 2, 1), id="merge H and W"),
        pytest.param((2, 6, 4, 5), (2, 3, 2, 4, 5), (0, 0), (0, 3, 4, 1, 2), id="split C"),
        pytest.param((2, 3, 4, 5), (2, 3, 1, 4, 5), (0, 0), (0, 2, 3, 4, 1), id="new axis"),
        pytest.param((2, 3, 1, 1), (2, 3), (0, 0), (0, 1), id="drop axes of size 1"),
        pytest.param((None, 3, None, None), (None, 3, None), (1, 1), (0, 2, 1), id="free sizes"),
        pytest.param((None, 3, 4, 5), (None, 3, 20), (0, 0), (0, 2, 1), id="batch from behind"),
        pytest.param((2, 3, 4, 5), (6, 4, 5), (0, 0), None, id="N and C are apart"),
        pytest.param((2, 3, 4, 5), (2, 12, 5), (0, 0), None, id="C and H are apart"),
        pytest.param((None, 3, None, None), (None, 3, None), (0, 0), None, id="nothing known"),
    ],
)
def test_a_reshape_runs_on_stored_axes_where_it_may(
    before: tuple[int | None, ...],
    after: tuple[int | None, ...],
    first: tuple[int, int],
    order: tuple[int, ...] | None,
) -> None:
    found = regrouped(IMAGE, TensorType(before), TensorType(after), first)
    assert found == (None if order is None else Layout(order))


def test_flattened_features_become_an_image_again() -> None:
    flat = Layout((0, 1), flat=(3, 4, 5))
    features, image = TensorType((2, 60)), TensorType((2, 3, 4, 5))
    assert regrouped(flat, features, image) == IMAGE
    assert regrouped(flat, features, features) == flat
    assert regrouped(flat, features, TensorType((2, 5, 12))) is None


def test_new_axes_go_where_they_make_a_known_layout() -> None:
    assert complete([0, 1], 3) == torch_order(3)
    assert complete([2, 3, 1], 4) == IMAGE
