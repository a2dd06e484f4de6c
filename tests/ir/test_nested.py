"""Tables of tensors as lists and dicts."""

from __future__ import annotations

import pytest

from porter.ir.nested import Nested, leaves, map_leaves, named_leaves, same_structure

NESTED: Nested[int] = [1, [2, 3], {"b": 5, "a": 4}]


def test_leaves_are_depth_first_and_dict_entries_sorted() -> None:
    assert list(leaves(NESTED)) == [1, 2, 3, 4, 5]
    assert list(leaves(7)) == [7]
    assert list(leaves([])) == []


def test_map_leaves_keeps_the_structure_and_the_order_of_leaves() -> None:
    visited: list[int] = []

    def tenfold(leaf: int) -> int:
        visited.append(leaf)
        return 10 * leaf

    assert map_leaves(tenfold, NESTED) == [10, [20, 30], {"a": 40, "b": 50}]
    assert visited == list(leaves(NESTED))


def test_names_are_made_of_positions_from_one() -> None:
    assert named_leaves(7, "input") == [("input", 7)]
    assert [name for name, _ in named_leaves(NESTED, "input")] == [
        "input_1",
        "input_2_1",
        "input_2_2",
        "input_3_a",
        "input_3_b",
    ]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([9, [9, 9], {"a": 9, "b": 9}], True),
        ([9, [9, 9], {"a": 9, "c": 9}], False),
        ([9, [9], {"a": 9, "b": 9}], False),
        ([9, [9, 9], 9], False),
        (9, False),
    ],
)
def test_same_structure(other: Nested[int], same: bool) -> None:
    assert same_structure(NESTED, other) is same
    assert same_structure(other, NESTED) is same
