"""What the fuzzers share: the loop, its limits, its score, its command line.

Limits are measured in processor time, so that a busy machine reports no hangs; a case that does
not end is stopped. Memory is bounded for the whole process: what allocates beyond it is a crash.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from porter.errors import PorterError

HANG_SECONDS = 2.0
"""What a long run calls a hang. The test suite asks only that everything ends."""
STOP_SECONDS = 60.0
MEMORY_BYTES = 2 * 2**30

One = Callable[[bytes], bool]
"""Runs the code under test on a file; whether it was accepted."""


class NeverEnds(BaseException):
    """A case was stopped. No `except Exception` of the code under test catches it."""


def loop(
    one: One,
    cases: Iterator[bytes],
    name: str,
    keep: Path,
    hang_seconds: float = STOP_SECONDS,
) -> int:
    """Run all cases, print the score, return the number of bad ones; those go to `keep`."""
    runs = crashes = hangs = accepted = 0
    slowest = 0.0
    begin = time.monotonic()
    for runs, data in enumerate(cases, start=1):
        start = time.process_time()
        try:
            with stopped_after(STOP_SECONDS):
                accepted += one(data)
        except NeverEnds:
            pass
        except Exception:
            crashes += 1
            traceback.print_exc()
            (keep / f"crash-{name}-{runs}.t7").write_bytes(data)
        seconds = time.process_time() - start
        slowest = max(slowest, seconds)
        if seconds >= hang_seconds:
            hangs += 1
            (keep / f"hang-{name}-{runs}.t7").write_bytes(data)
    seconds = time.monotonic() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{runs:,} executions in {seconds:.0f} s ({runs / max(seconds, 1e-9):,.0f}/s), "
        f"{accepted:,} accepted, {crashes} crashes, {hangs} hangs; "
        f"slowest {slowest:.2f} s, peak {memory} MB"
    )
    return crashes + hangs


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raise NeverEnds inside the block after so much processor time."""

    def stop(*_: object) -> None:
        raise NeverEnds

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def guided(one: One, arguments: list[str]) -> None:
    """Run atheris (libFuzzer) with `arguments`."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main(doc: str, one: One, cases: Callable[[int, int], Iterator[bytes]]) -> int:
    """The command line; `cases(runs, seed)` gives the same files for the same numbers."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for bad cases")
    parser.add_argument("--atheris", action="store_true", help="coverage-guided instead")
    options, rest = parser.parse_known_args()
    if options.atheris:
        guided(one, rest)
    os.environ["PORTER_DEBUG"] = "1"  # what a layer map did not foresee is found, not told
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    files = cases(options.runs, options.seed)
    return 1 if loop(one, files, f"{options.seed}", options.keep, HANG_SECONDS) else 0


def accepted(attempt: Callable[[], Any]) -> bool:
    """Whether an attempt succeeds. Anything but a PorterError escapes; errors must print."""
    try:
        attempt()
    except PorterError as error:
        str(error)
        return False
    return True
