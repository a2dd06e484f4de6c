"""Tables of times and ratios as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = (
    "runtime", "median ms", "min ms", "× median", "× min", "processor ms", "× processor",
    "import s", "load s", "first call s", "peak MB", "error",
)  # fmt: skip


def markdown(tables: list[tuple[str, list[Any]]], base: str) -> str:
    """A table for each net and size; ratios are the base's time over the row's."""
    return "\n".join(f"## {label}\n\n{table(rows, base)}" for label, rows in tables)


def table(rows: list[Any], base: str) -> str:
    lines = [
        " | ".join(COLUMNS),
        " | ".join("---" if i == 0 else "---:" for i, _ in enumerate(COLUMNS)),
    ]
    against = next((row for row in rows if row.runtime == base and row.times), None)
    for row in rows:
        lines.append(" | ".join(cells(row, against)))
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def cells(row: Any, base: Any) -> list[str]:
    if not row.times:
        return [row.runtime, row.problem, *[""] * (len(COLUMNS) - 2)]
    kinds: tuple[tuple[Callable[[list[float]], float], list[float], str], ...] = (
        (median, row.times, "times"),
        (min, row.times, "times"),
        (min, row.processor, "processor"),
    )
    seconds = [function(times) for function, times, _ in kinds]
    ratios = [
        f"{function(getattr(base, name)) / mine:.2f}" if base else ""
        for (function, _, name), mine in zip(kinds, seconds, strict=True)
    ]
    milliseconds = [f"{1e3 * each:.1f}" for each in seconds]
    facts = [f"{row.facts.get(k, float('nan')):.2f}" for k in ("import", "load", "first")]
    return [
        row.runtime, *milliseconds[:2], *ratios[:2], milliseconds[2], ratios[2],
        *facts, f"{row.facts.get('peak', float('nan')):.0f}", f"{row.error:.1e}",
    ]  # fmt: skip


def heading(options: Any, base: str) -> str:
    """Date, machine and versions."""
    from benchmarks.runtimes import THREADS

    versions = [f"Python {platform.python_version()}", *version_lines(options.other_python)]
    return (
        "# Results\n\n"
        f"{datetime.now(timezone.utc):%Y-%m-%d}, {processor()}, {THREADS} threads; "
        f"{', '.join(versions)}.\n\n"
        "All runtimes of a table ran in turn, one call each a round, in processes of their own. "
        f"`×` is the time of {base} over the row's: above 1 is faster. `processor` is the "
        "least processor time of a call, over all threads. `error` is the largest difference in "
        "standard deviations of the output.\n\n"
    )


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def version_lines(other: str | None) -> list[str]:
    import subprocess

    names = ("tensorflow", "ai-edge-litert")
    found = [f"{name} {metadata.version(name)}" for name in names]
    if other is None:
        return found
    packages = ("torch", "onnxruntime", "openvino", "opencv-python-headless")
    code = f"from importlib import metadata as m\nfor n in {packages!r}: print(n, m.version(n))"
    done = subprocess.run([other, "-c", code], capture_output=True, text=True, check=False)
    return found + done.stdout.strip().splitlines()
