"""Whether a model's activations fit into this machine's memory, asked before any is made."""

from __future__ import annotations

import math
from pathlib import Path

from porter.errors import OutOfMemory, UnsafeFile
from porter.ir.graph import Graph, Value

BYTES = 24
"""For each number at the widest node, at least: the oracle's in float64, the port's in float32, and
the float64 copies and differences that comparing takes."""

MAX_RATIO = 200
"""How often a file may be larger unpacked: floats compress to a half, zeros to a thousandth."""
SMALL = 2**28
"""Bytes of which it does not matter how they were packed."""

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")

_budget: int | None = None
"""Bytes that this process may use for activations, where somebody shared memory out."""


def grant(count: int | None) -> None:
    """Use at most so many bytes from now on; None for what the machine has."""
    global _budget
    _budget = count


def require(graph: Graph, what: str) -> None:
    """Raise OutOfMemory where verifying a walked model on `what` must run out of memory."""
    needed, free = widest(graph) * BYTES, smaller(available(), _budget)
    if free is not None and needed > free:
        raise OutOfMemory(
            f"verification on {what} takes at least {gigabytes(needed)} of memory",
            received=f"{gigabytes(free)} are free",
            hint="give a smaller input with `input_shapes=`, or more memory (fewer `jobs=`)",
        )


def require_unpacked(declared: int, stored: int, where: str) -> None:
    """Ask before a file of `stored` bytes is unpacked to the `declared` ones.

    Raises UnsafeFile where no honest file says so, OutOfMemory where memory does not suffice.
    """
    if declared > max(SMALL, stored * MAX_RATIO):
        raise UnsafeFile(
            f"{where} unpacks to {gigabytes(declared)}",
            received=f"{stored:,} bytes",
            hint="no weights or activations compress this well: do not trust this file",
        )
    free = smaller(available(), _budget)
    if free is not None and declared > free:
        raise OutOfMemory(
            f"{where} unpacks to {gigabytes(declared)}", received=f"{gigabytes(free)} are free"
        )


def widest(graph: Graph) -> int:
    """Elements of inputs and outputs at the node that has most."""
    nodes = (sum(map(elements, (*node.inputs, *node.outputs))) for node in graph.nodes)
    return max(nodes, default=0)


def elements(value: Value) -> int:
    """How many numbers a tensor has, a free size counted as one."""
    return math.prod(size or 1 for size in value.type.shape)


def available() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        rows = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit = int((GROUP / "memory.max").read_text())
        return min(free, limit - int((GROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no group, or one without a limit
        return free


def smaller(first: int | None, second: int | None) -> int | None:
    """The smaller of two numbers, None being none."""
    return min((each for each in (first, second) if each is not None), default=None)


def gigabytes(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:,.1f} GB"
