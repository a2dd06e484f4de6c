"""Fuzzes the reader: whatever the bytes, only PorterError may come out, and soon.

    python -m tests.fuzz.fuzz_reader --runs 200000 --seed 1      structure-aware, pure Python
    python -m tests.fuzz.fuzz_reader --atheris [libFuzzer flags]  coverage-guided, needs atheris

The pure Python loop knows where in each seed file the reader found integers, and mostly changes
those; the rest of the time it flips, cuts, inserts and splices bytes. After a read that succeeds
every tensor is summed, so that a window outside its storage would be found.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from porter.errors import PorterError
from porter.torch7 import Storage, Table, Tensor, TorchObject, read_bytes
from porter.torch7.cursor import BinaryCursor
from porter.torch7.parse import Parser
from tests.fuzz.harness import accepted, main

FIXTURES = Path(__file__).parents[2] / "fixtures"
MAX_SEED = 16_000
MAX_SUM = 1_000_000  # elements; expanded tensors may have more than is worth summing

INTERESTING = (-(2**31), -(2**16), -2, -1, *range(10), 16, 127, 255, 256, 4096, 2**16, 2**31 - 1)
WIDE = (*INTERESTING, -(2**63), 2**31, 2**32, 2**40, 2**62, 2**63 - 1)


class Seed:
    """A file and the places (offset, size) of the integers in it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        recorder = RecordingCursor(memoryview(data), 8)
        with contextlib.suppress(PorterError):  # hostile seeds: the places up to the error
            Parser(recorder).read()
        self.integers = recorder.integers


class RecordingCursor(BinaryCursor):
    """Notes where integers were read."""

    def __init__(self, data: memoryview, long_size: int) -> None:
        super().__init__(data, long_size)
        self.integers: list[tuple[int, int]] = []

    def integer(self, what: str) -> int:
        self.integers.append((self.position, 4))
        return super().integer(what)

    def longs(self, count: int, what: str) -> tuple[int, ...]:
        self.integers += [(self.position + 8 * i, 8) for i in range(count)]
        return super().longs(count, what)


def seeds() -> list[Seed]:
    """All small fixture files."""
    paths = sorted(FIXTURES.glob("formats/*.t7")) + sorted(FIXTURES.glob("hostile/*.t7"))
    return [Seed(p.read_bytes()) for p in paths if p.stat().st_size <= MAX_SEED]


def mutate(seed: Seed, other: Seed, rng: random.Random) -> bytes:
    """`seed` with one to four changes."""
    data = bytearray(seed.data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(8)
        if kind < 4 and seed.integers:
            at, size = rng.choice(seed.integers)
            old = int.from_bytes(data[at : at + size], "little", signed=True)
            new = rng.choice((rng.choice(WIDE if size == 8 else INTERESTING), old + 1, old - 1))
            data[at : at + size] = (new % 2**64).to_bytes(8, "little")[:size]
        elif kind == 4 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 5:
            del data[at : at + rng.choice((1, 4, 8, len(data)))]
        elif kind == 6:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 8)))
        else:
            start = rng.randrange(len(other.data) + 1)
            data[at : at + rng.randrange(64)] = other.data[start : start + rng.randrange(64)]
    return bytes(data)


def use(value: Any) -> None:
    """Touches every element of every tensor below `value`."""
    pending, visited = [value], set[int]()
    while pending:
        value = pending.pop()
        if id(value) in visited:
            continue
        visited.add(id(value))
        if isinstance(value, (Tensor, Storage)):
            if value.array.size <= MAX_SUM:
                value.array.tobytes()
        elif isinstance(value, (Table, TorchObject)):
            items = value.items if isinstance(value, Table) else value.fields
            pending += [*items.keys(), *items.values()]


def one(data: bytes) -> bool:
    """Reads `data` and touches all of it."""
    return accepted(lambda: use(read_bytes(data).root))


def cases(runs: int, seed: int) -> Iterator[bytes]:
    """The mutated files of one run, the same for the same `seed`."""
    rng, corpus = random.Random(seed), seeds()
    for _ in range(runs):
        yield mutate(rng.choice(corpus), rng.choice(corpus), rng)


if __name__ == "__main__":
    sys.exit(main(__doc__, one, cases))
