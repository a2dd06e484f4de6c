"""Protobuf's wire format, as far as it takes to find the pieces of a large message.

A `.caffemodel` of VGG has half a gigabyte, most of it in fully-connected layers that no descriptor
reads. The pieces are found here, and only those that are needed go through protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class MalformedMessage(ValueError):
    """The bytes are no message, or end before it does."""


class Piece(NamedTuple):
    """One field of a message: its number, its wire type, where it starts (with its key), where its
    value starts and where it ends."""

    number: int
    wire: int
    start: int
    value: int
    end: int


def pieces(data: memoryview, start: int, end: int) -> Iterator[Piece]:
    """The fields of the message in `data[start:end]`. Raises MalformedMessage."""
    at = start
    while at < end:
        key, value = varint(data, at, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise MalformedMessage(f"no protobuf message: field number 0 at byte {at:,}")
        if wire == 0:
            _, after = varint(data, value, end)
        elif wire in (1, 5):
            after = value + (8 if wire == 1 else 4)
        elif wire == 2:
            length, value = varint(data, value, end)
            after = value + length
        else:
            raise MalformedMessage(f"no protobuf message: wire type {wire} at byte {at:,}")
        if after > end:
            raise MalformedMessage(
                f"field {number} at byte {at:,} ends at byte {after:,}, the file has {end:,}"
            )
        yield Piece(number, wire, at, value, after)
        at = after


def varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A variable-length integer and the place behind it."""
    number = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
    raise MalformedMessage(f"a number is cut off at byte {at:,}")
