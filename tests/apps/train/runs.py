"""Runs in processes of their own: some are killed, some work together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from porter.apps.train.options import TrainOptions

ROOT = Path(__file__).parents[3]
PROGRAM = """
import json, sys
from pathlib import Path
from porter.torch7 import writer
from porter.errors import PorterError
from porter.apps.train.options import TrainOptions
from porter.apps.train.session import Session
from porter.apps.train.trainer import Hooks

paths = ("style_image", "descriptor", "output", "data")
arguments = json.loads(sys.argv[1])
options = TrainOptions(**{k: Path(v) if k in paths and v else v for k, v in arguments.items()})
losses = []
try:
    session = Session(options)
    done = session.trainer.train(Hooks(on_progress=lambda progress: losses.append(progress.total)))
except PorterError as error:
    print(json.dumps({"error": error.message}))
    sys.exit(error.exit_code)
weights = {n: v.numpy().tolist() for n, v in session.network.variables.by_name.items()}
print(json.dumps({"start": done.first_iteration, "losses": losses, "weights": weights}))
"""


@dataclass
class Run:
    """A process; what it says goes to files, since workers wait for each other when they end."""

    process: subprocess.Popen[str]
    out: IO[str]
    errors: IO[str]

    def reported(self) -> Any:
        """What it said when it ended well."""
        with self.out, self.errors:
            code = self.process.wait(timeout=300)
            self.errors.seek(0)
            assert code == 0, self.errors.read()[-3000:]
            self.out.seek(0)
            return json.loads(self.out.read().splitlines()[-1])

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.died()

    def died(self) -> int:
        """The exit code of a run that was expected to fail."""
        with self.out, self.errors:
            return self.process.wait(timeout=300)


def start(options: TrainOptions, environment: dict[str, str] | None = None) -> Run:
    """Train in a process of its own, without the port at the end."""
    out, errors = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(options.json())],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=out,
        stderr=errors,
        text=True,
    )
    return Run(process, out, errors)


def start_workers(options: TrainOptions, count: int) -> list[Run]:
    """The same run by several workers on this machine."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    described = [
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        for index in range(count)
    ]
    return [start(options, {"TF_CONFIG": json.dumps(each)}) for each in described]


def last_checkpoint(options: TrainOptions) -> int:
    """The iteration of the last checkpoint, as TensorFlow's own record has it."""
    record = (options.output / "checkpoints" / "checkpoint").read_text(encoding="utf-8")
    return int(record.splitlines()[0].split("iteration-")[1].rstrip('"'))


def free_ports(count: int) -> Sequence[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
