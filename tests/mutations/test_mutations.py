"""The mutation suite: a broken layer map must not get past the parity gate, and is named by it.

Each mutation is a mistake that converters make. It is compared on the inputs that `porter convert`
would choose by itself, so that the suite also proves these inputs to be enough. The score is
printed at the end: `mutation score: N/N`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.mutations import convolutions, functions, normalizations, poolings, recordings, structure
from tests.mutations.mutation import Mutation, gate

FAMILIES = (convolutions, poolings, normalizations, functions, structure)
AGAINST_REFERENCE = [mutation for family in FAMILIES for mutation in family.MUTATIONS]
AGAINST_RECORDING = recordings.MUTATIONS


def test_there_are_enough_mutations_and_none_twice() -> None:
    names = [m.name for m in AGAINST_REFERENCE], [m.name for m in AGAINST_RECORDING]
    assert all(len(set(each)) == len(each) for each in names)
    assert sum(map(len, names)) >= 40


@pytest.mark.parametrize("mutation", AGAINST_REFERENCE, ids=str)
def test_the_reference_catches(
    mutation: Mutation, record_property: Callable[[str, object], None]
) -> None:
    record_property("mutation", mutation.name)
    found = gate(mutation)
    assert (found.path, found.column in ("isolated", "float64")) == (mutation.at, True), found
    record_property("caught by", f"{found.column}, at {found.path or 'the root'}")


@pytest.mark.parametrize("mutation", AGAINST_RECORDING, ids=str)
def test_a_recording_catches_what_the_reference_cannot(
    mutation: Mutation, record_property: Callable[[str, object], None]
) -> None:
    record_property("mutation", f"{mutation.name} (both sides)")
    found = gate(mutation)
    # The chain is judged where what goes into a layer was not recorded.
    columns = ("isolated", "accumulated", "refused")
    assert (found.path, found.column in columns) == (mutation.at, True), found
    assert found.column == "refused" or len(found.unnoticed) >= 3, "the reference notices as well"
    record_property("caught by", f"{found.column}, at {found.path or 'the root'}, by torch7")
