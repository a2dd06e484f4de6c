"""One runtime with one net at one size, in a process of its own: what the driver talks to.

    python worker.py RUNTIME FOLDER

Answers each line on standard input with a line of JSON: `start` loads and makes the first call,
`run N` makes N calls, `output FILE` keeps the last output, `peak` tells the most memory held.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(runtime: str, folder: str) -> None:
    answers = Session(runtime, Path(folder))
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        try:
            answer = getattr(answers, command)(argument)
        except Exception as error:  # A peer that fails is a row of the table.
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers.answers, flush=True)


class Session:
    """The runtime, loaded by `start`."""

    def __init__(self, runtime: str, folder: Path) -> None:
        # What libraries print must not be taken for an answer.
        self.answers, sys.stdout = sys.stdout, sys.stderr
        self.runtime, self.folder = runtime, folder
        self.call: Any = None
        self.last_output: Any = None

    def start(self, _: str) -> dict[str, float]:
        from benchmarks import runtimes

        began = time.perf_counter()
        runtimes.IMPORTS[self.runtime]()
        imported = time.perf_counter()
        import numpy as np

        x = np.load(self.folder / "input.npy")
        read = time.perf_counter()
        self.call = runtimes.OPEN[self.runtime](self.folder, x)
        loaded = time.perf_counter()
        self.last_output = self.call()
        first = time.perf_counter()
        return {"import": imported - began, "load": loaded - read, "first": first - loaded}

    def run(self, count: str) -> dict[str, list[float]]:
        times, processor = [], []
        for _ in range(int(count)):
            began, used = time.perf_counter(), time.process_time()
            self.last_output = self.call()
            times.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
        return {"times": times, "processor": processor}

    def output(self, file: str) -> dict[str, str]:
        import numpy as np

        np.save(file, np.asarray(self.last_output))
        return {"output": file}

    def peak(self, _: str) -> dict[str, float]:
        # Not getrusage, which counts what the driver held when it started this process.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        (line,) = (each for each in status.splitlines() if each.startswith("VmHWM"))
        return {"peak": int(line.split()[1]) / 2**10}


if __name__ == "__main__":
    main(*sys.argv[1:])
