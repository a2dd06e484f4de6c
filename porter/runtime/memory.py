"""Whether a model's activations fit into this machine's memory, checked before any is computed."""

from __future__ import annotations

import math
from pathlib import Path

from porter.errors import OutOfMemory, UnsafeFile
from porter.ir.graph import Graph, Value

BYTES = 24
"""At least, per element at the widest node: the oracle in float64, the port in float32, and
the float64 copies and differences of the comparison."""

WEIGHT_BYTES = 24
"""At most, per element of the weights where the port is compared in float64 as well: those, the
largest of them in both orders, and its products."""

MAX_RATIO = 200
"""Largest credible compression ratio of a file: floats compress to half, zeros to a thousandth."""
SMALL = 2**28
"""Bytes below which any compression ratio is accepted."""

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
GROUP = Path("/sys/fs/cgroup")

_budget: int | None = None
"""Bytes that this process may use for activations, where a parent process set a budget."""


def grant(count: int | None) -> None:
    """Set the budget for activations in bytes; None for all memory of the machine."""
    global _budget
    _budget = count


def require(graph: Graph, what: str) -> None:
    """Raise OutOfMemory if verifying a walked model on `what` cannot fit into memory."""
    needed, free = widest(graph) * BYTES, smaller(available(), _budget)
    if free is not None and needed > free:
        raise OutOfMemory(
            f"verification on {what} takes at least {gigabytes(needed)} of memory",
            received=f"{gigabytes(free)} are free",
            hint="give a smaller input with `input_shapes=`, or more memory (fewer `jobs=`)",
        )


def holds_in_float64(graph: Graph) -> bool:
    """Whether there is memory for a second copy of all weights, in float64, and work on it."""
    params = (param for node in graph.nodes for param in node.op.params().values())
    weights = sum({param.key: param.array.size for param in params}.values())
    free = smaller(available(), _budget)
    return free is None or weights * WEIGHT_BYTES < free


def require_unpacked(declared: int, stored: int, where: str) -> None:
    """Check before a file of `stored` bytes is unpacked to the `declared` number of bytes.

    Raises UnsafeFile for an incredible ratio, OutOfMemory if memory does not suffice.
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
    """The largest number of input and output elements of any node."""
    nodes = (sum(map(elements, (*node.inputs, *node.outputs))) for node in graph.nodes)
    return max(nodes, default=0)


def elements(value: Value) -> int:
    """The number of elements of a tensor; a free size counts as one."""
    return math.prod(size or 1 for size in value.type.shape)


def available() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    return smaller(free_memory(), address_space_left())


def address_space_left() -> int | None:
    """Bytes below the limit that a shell's `ulimit -v` sets; None where there is none."""
    try:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(STATM.read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return max(limit - pages * resource.getpagesize(), 0)


def free_memory() -> int | None:
    """Bytes that the machine, or the group that the process belongs to, can spare."""
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
    """The smaller of two numbers, ignoring None."""
    return min((each for each in (first, second) if each is not None), default=None)


def gigabytes(count: int) -> str:
    """A byte count in GB, for messages."""
    return f"{count / 2**30:,.1f} GB"
