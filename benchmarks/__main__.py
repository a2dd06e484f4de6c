"""The driver: prepares every net, checks every runtime against Torch, times them in turn."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.models import NETS, ZOO, BenchmarkNet
from benchmarks.runtimes import OPEN, channels_last, torch_order
from benchmarks.table import markdown

REPOSITORY = Path(__file__).parent.parent
OTHERS = ("PyTorch eager", "torch.compile", "ONNX Runtime", "OpenVINO", "OpenCV")
"""What `--other-python` runs."""
NO_ZOO = ("hand-written", "porter bfloat16", "LiteRT, naive export", "OpenCV")
"""What nobody made for the published nets."""
BY_TORCH = ("PyTorch eager", "torch.compile")
BASE = "hand-written"
ZOO_BASE = "ONNX Runtime"
PORTER = ("porter exact", "porter fast", "porter frozen")
"""What is emitted in float32; the plain layers of `--optimize none` are a measure, not a choice."""


@dataclass
class Timed:
    """One runtime with one net at one size. Seconds, megabytes; error in deviations."""

    runtime: str
    times: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)
    error: float = float("nan")
    problem: str = ""


class Worker:
    """A process that runs one runtime."""

    def __init__(self, python: str, runtime: str, folder: Path) -> None:
        self.row = Timed(runtime)
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", runtime, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a command; a failure becomes the row's problem."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            answer = {"error": "the process ended"}
        self.row.problem = self.row.problem or answer.get("error", "")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("set", nargs="?", choices=("zoo",), help="published nets at full size")
    parser.add_argument("--net", action="append", help="only nets whose name contains this")
    parser.add_argument("--runtime", action="append", help="only runtimes whose name contains this")
    parser.add_argument("--other-python", metavar="PYTHON", help="has torch, onnxruntime, …")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60, help="most for one net at one size")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file")
    options = parser.parse_args()
    base = ZOO_BASE if options.set else BASE
    nets = [
        n
        for n in (ZOO if options.set else NETS)
        if not options.net or any(p in n.name for p in options.net)
    ]
    tables: list[tuple[str, list[Timed]]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, net in enumerate(nets):
            for label, rows in run_net(net, Path(place) / str(number), options):
                tables.append((label, rows))
                print(markdown([(label, rows)], base), flush=True)
                if options.set:
                    print(best(label, rows), flush=True)
    if options.output:
        from benchmarks.table import heading

        text = heading(options, base) + markdown(tables, base)
        if options.set:
            text += "\n" + "\n".join(best(label, rows) for label, rows in tables) + "\n"
        options.output.write_text(text, encoding="utf-8")


def best(label: str, rows: list[Timed]) -> str:
    """The best of porter against the best of the others, by the medians."""
    medians = {row.runtime: median(row.times) for row in rows if row.times}
    ours = min((t, name) for name, t in medians.items() if name in PORTER)
    others = [(t, name) for name, t in medians.items() if "porter" not in name]
    if not others:
        return f"- {label}: {ours[1]}, and no other runtime"
    other = min(others)
    return f"- {label}: {ours[1]} {other[0] / ours[0]:.2f} times as fast as {other[1]}"


def run_net(net: BenchmarkNet, place: Path, options: Any) -> Iterator[tuple[str, list[Timed]]]:
    """Every size of a net: the recorded input is checked against Torch, the others against the
    layers as they are in float64."""
    from benchmarks.prepare import ports, prepare, recorded

    inputs: dict[tuple[int, ...], tuple[Any, Any]] = {}
    if net.make is None:
        recorded_input, output = recorded(net)
        inputs[recorded_input.shape] = recorded_input, output
    else:
        write_net = net.make
        net = replace(net, folder=place)
        place.mkdir()
        write_net(net.model)
    ports(net, place / "converted", {name.removeprefix("porter ") for name in chosen(options)})
    for shape in net.shapes:
        random = np.random.default_rng(1)
        x = random.standard_normal(shape).astype(np.float32)
        if net.tokens:
            x = random.integers(1, net.tokens + 1, shape).astype(np.float32)
        inputs.setdefault(shape, (x, None))
    for shape, (x, expected) in inputs.items():
        folder = place / "×".join(map(str, shape))
        problems = prepare(net, x, place / "converted", folder, options.other_python)
        truth = first(expected) if expected is not None else in_float64(net, x)
        rows = time_all(folder, truth, problems, options)
        oracle = "Torch7's recording" if expected is not None else "float64"
        yield f"{net.name} {'×'.join(map(str, shape))} (error against {oracle})", rows


def first(expected: Any) -> Any:
    return expected[0] if isinstance(expected, list | tuple) else expected


def in_float64(net: BenchmarkNet, x: Any) -> Any:
    """The first output by the plain layers in double precision."""
    from porter.emit.port import build_widest
    from porter.frontend.model_file import open_model
    from porter.ir.graph import TensorType
    from porter.layer_maps import default_registry
    from porter.runtime.runner import Variables

    model = open_model(net.model, default_registry()).model()
    port = build_widest(model, TensorType(x.shape), Variables("float64"))
    fed = channels_last(x).astype(port.serve.structured_input_signature[0][0].dtype.name)
    output = port.module.serve(fed)
    return torch_order(output[min(output)])


def chosen(options: Any) -> list[str]:
    """The runtimes that are asked for, with the one that they are compared with."""
    base = ZOO_BASE if options.set else BASE
    parts = [base, *options.runtime] if options.runtime else [""]
    every = (name for name in OPEN if not (options.set and name in NO_ZOO))
    return [name for name in every if any(part in name for part in parts)]


def time_all(folder: Path, truth: Any, problems: dict[str, str], options: Any) -> list[Timed]:
    """Start every runtime, check it, then let them run in turn."""
    workers: list[Worker] = []
    rows: list[Timed] = []
    for runtime in chosen(options):
        python = options.other_python if runtime in OTHERS else sys.executable
        if python is None:
            rows.append(Timed(runtime, problem="skipped: no --other-python"))
            continue
        worker = Worker(python, runtime, folder)
        worker.row.facts |= {k: v for k, v in worker.ask("start").items() if k != "error"}
        rows.append(worker.row)
        if worker.row.problem:
            worker.close()
            continue
        answer = worker.ask(f"output {folder / 'made.npy'}")
        if "error" not in answer:
            output = np.load(folder / "made.npy").reshape(truth.shape)
            worker.row.error = float(abs(output.astype(np.float64) - truth).max() / truth.std())
        worker.ask("run 1")
        workers.append(worker)
    for row in rows:
        if row.problem and not row.facts:
            kind = "LiteRT" if row.runtime.startswith("LiteRT") else "ONNX"
            if row.runtime not in BY_TORCH:
                row.problem = problems.get(kind, row.problem)
    began = time.perf_counter()
    for turn in range(options.rounds):
        for worker in workers[turn % 2 :] + workers[: turn % 2]:
            # Threads of the runtime before may still spin.
            time.sleep(0.02)
            answer = worker.ask("run 1")
            worker.row.times += answer.get("times", [])
            worker.row.processor += answer.get("processor", [])
        if time.perf_counter() - began > options.seconds and turn >= 2:
            break
    for worker in workers:
        worker.row.facts |= worker.ask("peak")
        worker.close()
    return rows


if __name__ == "__main__":
    main()
