"""What whole conversions cost, verification with it: processor seconds and memory.

Run by `python -m benchmarks.conversion --whole`. Each conversion is a process of its own, which
starts others that load again what was written; of both the most memory is read while they run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.models import CONVERTED, HERE

IMPORT = "import os, json, porter.system.tensorflow; print(json.dumps(os.times()[:4]))"
CONVERT = """\
import json, os, sys
from pathlib import Path
from porter.conversion.pipeline import convert
from porter.conversion.request import Request
model, output, *formats = sys.argv[1:]
convert(Request(Path(model), Path(output), formats=tuple(formats)))
print(json.dumps(os.times()[:4]))
"""
INTERVAL = 0.05
"""Seconds between two looks at the memory; the most is kept by Linux, and only lost at the end."""


@dataclass(frozen=True)
class Cost:
    """Processor seconds and megabytes at most, of a process and of those that it started."""

    seconds: float
    seconds_below: float
    peak: float
    peak_below: float


def main(names: Sequence[str], formats: Sequence[str]) -> None:
    """A table of the nets whose names contain one of `names`, or of all."""
    nets = [net for net in CONVERTED if not names or any(part in net.name for part in names)]
    if not nets:
        sys.exit(f"no net is named so: {', '.join(net.name for net in CONVERTED)}")
    imported = measure(IMPORT).seconds
    print(
        f"One `import tensorflow` takes {imported:.1f} processor seconds here; formats: "
        f"{', '.join(formats)}.\n"
    )
    print("| net | file MB | processor s | of it below | peak MB | below |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for net in nets:
        with tempfile.TemporaryDirectory() as place:
            model = net.model
            if net.make is not None:
                model = Path(place) / "model.t7"
                net.make(model)
            cost = measure(CONVERT, str(model), str(Path(place) / "port"), *formats)
            size = model.stat().st_size / 1e6
        total = cost.seconds + cost.seconds_below
        print(
            f"| {net.name} | {size:.0f} | {total:.1f} | {cost.seconds_below:.1f} | "
            f"{cost.peak:.0f} | {cost.peak_below:.0f} |",
            flush=True,
        )


def measure(code: str, *arguments: str) -> Cost:
    """The cost of code that prints its processor's times at the end. Raises RuntimeError where it
    fails."""
    command = [sys.executable, "-c", code, *arguments]
    peaks: dict[int, float] = {}
    with subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0.0), peak_megabytes(pid))
            time.sleep(INTERVAL)
        assert process.stdout is not None
        output = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {process.returncode}")
    user, system, user_below, system_below = json.loads(output.splitlines()[-1])
    peak = peaks.pop(process.pid, 0.0)
    return Cost(user + system, user_below + system_below, peak, max(peaks.values(), default=0.0))


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and those that these did."""
    for task in read(f"/proc/{pid}/task/{pid}/children").split():
        yield int(task)
        yield from descendants(int(task))


def peak_megabytes(pid: int) -> float:
    """The most memory that a process held; 0 where it has ended."""
    lines = [line for line in read(f"/proc/{pid}/status").splitlines() if "VmHWM" in line]
    return int(lines[0].split()[1]) / 2**10 if lines else 0.0


def read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
