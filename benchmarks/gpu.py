"""Parity and speed on a GPU, in four minutes at most: one command for a machine that has one.

    python -m benchmarks.gpu --json gpu.json > gpu.md

Every fixture net that real Torch7 recorded is served on the GPU at the levels `exact` and `fast`,
with TF32 off and on. Against the recording and float64, errors with TF32 off must be within
porter's tolerances; those with TF32 on, which keeps ten bits of each factor, are only told. Then
published nets are timed, TF32 off: porter at every level, plain and by XLA, the `--format keras`
port and, where it is installed and sees the card, PyTorch, both eager.

    python -m benchmarks.gpu MODEL.t7 --shape 1x3x512x512

times one model alone; with KERAS_BACKEND=torch or jax, Keras on PyTorch or JAX, also where
TensorFlow sees no GPU. `--cpu` rehearses: the same, and the CPU in the place of the GPU.

Exit code: 0; 1 if a net's parity failed, or could not be shown; 2 if there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.models import FIXTURES, HERE, ZOO
from porter.report.progress import progress

REPOSITORY = HERE.parent
NETS = ("fast-neural-style", "CycleGAN", "ResNet-50", "pix2pix U-Net", "VGG-16")
"""Of the zoo, the smallest file first."""
PARITY, TIMES = 0.55, 0.9
"""When each starts nothing new, in parts of all seconds; at their end what still runs stops."""
NO_GPU = """\
no GPU: TensorFlow {version} sees none. On a machine where `nvidia-smi` shows a card, run
`pip install 'tensorflow[and-cuda]'`; TF_CPP_MIN_LOG_LEVEL=0 tells which library is missing.
`--cpu` rehearses without a GPU; KERAS_BACKEND=torch or jax with MODEL.t7 times Keras on these."""


@dataclass
class Worker:
    """A process of `module`, whose lines of JSON are read as they come."""

    label: str
    module: str
    settings: dict[str, Any]
    planned: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    """Why it ended before it was done, if not for time."""

    def run(self, stop: float, on_row: Callable[[str, int], None]) -> Worker:
        """Until the process ends, or `stop` (in seconds of time.time); `on_row` is called with
        what is new and how many are planned."""
        command = [sys.executable, "-m", self.module, json.dumps(self.settings)]
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        ) as process:
            killed = threading.Event()

            def kill() -> None:
                killed.set()
                process.kill()

            timer = threading.Timer(max(stop - time.time(), 0), kill)
            timer.start()
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                if "planned" in found:
                    self.planned = found["planned"]
                    on_row("", len(self.planned))
                else:
                    self.rows.append(found)
                    on_row(f"{self.label}: {found['name']}", 0)
            code = process.wait()
            timer.cancel()
        if code and not killed.is_set():
            self.problem = f"{self.label}: the process ended with {code}"
        return self

    @property
    def left_out(self) -> list[str]:
        done = {row["name"] for row in self.rows}
        return [name for name in self.planned if name not in done]


def main() -> int:
    options = arguments()
    started = time.time()
    # Read by TensorFlow when it first touches a GPU, which importing porter's part of it does.
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from benchmarks.gpu_table import machine, markdown

    described = machine(options.cpu)
    other_backend = os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    no_gpu = described["gpu"] is None and not options.cpu
    if no_gpu and not (options.model and other_backend):
        print(NO_GPU.format(version=described["tensorflow"]), file=sys.stderr)
        return 2
    with progress() as display:
        task = display.add_task("starting")

        def on_row(text: str, planned: int) -> None:
            with lock:
                totals["planned"] += planned
                display.update(
                    task,
                    description=text or None,
                    total=totals["planned"],
                    advance=1 if text else 0,
                )

        totals, lock = {"planned": 0}, threading.Lock()
        stop = started + options.seconds
        parity = run(parity_workers(options, started), stop, on_row)
        times = run(times_workers(options, started), stop, on_row)
    if no_gpu and not any(row["times"] for w in times for net in w.rows for row in net["rows"]):
        print(NO_GPU.format(version=described["tensorflow"]), file=sys.stderr)
        return 2
    found = described | summarised(parity, times) | {"seconds": round(time.time() - started, 1)}
    print(markdown(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if found["failed"] or found["problems"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, nargs="?", help="time this .t7 file alone")
    parser.add_argument("--shape", default="1x3x512x512", help="N×C×H×W of its input")
    parser.add_argument("--tf32", action="store_true", help="time with TF32 on")
    parser.add_argument("--cpu", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--seconds", type=float, default=240, help="for everything, at most")
    parser.add_argument("--rounds", type=int, default=30, help="calls that are timed, at most")
    parser.add_argument("--fixtures", type=Path, nargs="+", help="compare the nets below these")
    parser.add_argument("--net", action="append", help="time published nets named so in part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    return parser.parse_args()


def parity_workers(options: argparse.Namespace, started: float) -> list[Worker]:
    """For each setting of TF32 as many processes as there are cores for, up to four."""
    default = () if options.model else (FIXTURES, HERE / "models")
    paths = [str(path.resolve()) for path in options.fixtures or default]
    if not paths:
        return []
    parts = min(max(len(os.sched_getaffinity(0)) // 4, 1), 4)
    until = started + PARITY * options.seconds
    return [
        Worker(
            f"parity, TF32 {'on' if tf32 else 'off'}",
            "benchmarks.gpu_parity",
            {"fixtures": paths, "tf32": tf32, "until": until, "part": part, "parts": parts},
        )
        for tf32 in (False, True)
        for part in range(parts)
    ]


def times_workers(options: argparse.Namespace, started: float) -> list[Worker]:
    named = [net.name for net in ZOO if any(part in net.name for part in options.net or ())]
    settings = {
        "nets": named or list(NETS),
        "model": str(options.model.resolve()) if options.model else None,
        "shape": [int(size) for size in options.shape.split("x")],
        "tf32": options.tf32,
        "cpu": options.cpu,
        "rounds": options.rounds,
        "until": started + TIMES * options.seconds,
    }
    return [Worker("times", "benchmarks.gpu_times", settings)]


def run(workers: list[Worker], stop: float, on_row: Callable[[str, int], None]) -> list[Worker]:
    """All of them at once."""
    with ThreadPoolExecutor(max(len(workers), 1)) as pool:
        return list(pool.map(lambda worker: worker.run(stop, on_row), workers))


def summarised(parity: list[Worker], times: list[Worker]) -> dict[str, Any]:
    """What the workers found: every figure, what failed, and what was left out for time."""
    rows = [
        {"net": row["name"], "tf32": worker.settings["tf32"], "level": level, **errors}
        for worker in parity
        for row in worker.rows
        for level, errors in row["levels"].items()
    ]
    failed = [
        f"{row['net']}, {row['level']}, TF32 {'on' if row['tf32'] else 'off'}: "
        + (row["problem"] or f"{row['of_tolerance']:.1e} times the tolerance")
        for row in rows
        # With TF32 on, only what cannot be compared at all has failed.
        if row["problem"] or not (row["passed"] or row["tf32"])
    ]
    problems = [worker.problem for worker in parity + times if worker.problem]
    if parity and not any(not row["tf32"] for row in rows):
        problems.append("no net was compared with TF32 off")
    left_out: dict[str, list[str]] = {}
    for worker in parity + times:
        if not worker.problem:
            left_out.setdefault(worker.label, []).extend(worker.left_out)
    for worker in times:
        for row in worker.rows:
            runtimes = [f"{row['name']} by {runtime}" for runtime in row["left_out"]]
            left_out.setdefault(worker.label, []).extend(runtimes)
        if not worker.rows and not worker.problem:
            problems.append("nothing was timed")
    return {
        "parity": rows,
        "times": [
            {k: v for k, v in row.items() if k != "left_out"} for w in times for row in w.rows
        ],
        "failed": failed,
        "problems": problems,
        "left_out": {label: names for label, names in left_out.items() if names},
    }


if __name__ == "__main__":
    sys.exit(main())
