"""Images a second in training: porter beside a PyTorch script of the same net, taking turns.

    python -m benchmarks.train --torch /path/to/python/with/torch [--slim 4 --size 96 --batch 1]

Both train texture_nets' johnson with the bundled descriptor by Adam, each in a process of its own
with the same number of threads. A turn is a few steps of one, then of the other, so that whatever
else the machine does meets both; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTOR = ROOT / "fixtures" / "descriptors" / "slim_vgg16.npz"
STYLE = ROOT / "fixtures" / "styles" / "strokes.png"
PHOTOS = ROOT / "fixtures" / "trained" / "oilpaint"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
CONTENT_LAYER = "relu4_2"


def main() -> None:
    """Compare, or be one of the two that are compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--torch", default=sys.executable, help="a Python with PyTorch")
    parser.add_argument("--slim", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="in one turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--be", choices=["porter", "torch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        serve({"porter": porter_step, "torch": torch_step}[options.be](options))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Take turns; print images a second and their ratio."""
    workers = {"porter": start(sys.executable, "porter"), "torch": start(options.torch, "torch")}
    for worker in workers.values():
        turn(worker, options.steps)  # Tracing and warming up.
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(options.turns):
        order = list(workers) if number % 2 == 0 else list(workers)[::-1]
        for name in order:
            seconds[name].append(turn(workers[name], options.steps))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    images = options.steps * options.batch
    rates = {name: images / statistics.median(each) for name, each in seconds.items()}
    print(
        f"johnson / {options.slim}, {options.size}×{options.size}, batch {options.batch}, "
        f"{options.threads} threads: porter {rates['porter']:.2f}, PyTorch {rates['torch']:.2f} "
        f"images a second; ratio {rates['porter'] / rates['torch']:.2f}"
    )


def start(python: str, who: str) -> Any:
    """One of the two, in a process of its own."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--be"]
    return subprocess.Popen(
        [python, "-m", "benchmarks.train", *arguments, "--be", who],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def turn(worker: Any, steps: int) -> float:
    """Seconds that a worker took for some steps."""
    worker.stdin.write(f"{steps}\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def serve(step: Any) -> None:
    """Make steps when asked to, and tell how long they took."""
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - began, flush=True)


def porter_step(options: argparse.Namespace) -> Any:
    """What `porter train` does in one iteration, photos included."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(options.threads)
    from porter.apps.train.options import TrainOptions
    from porter.apps.train.session import Session

    train_options = TrainOptions(
        style_image=STYLE,
        descriptor=DESCRIPTOR,
        output=Path(tempfile.mkdtemp()) / "run",
        data=PHOTOS,
        model="johnson",
        slim=options.slim,
        image_size=options.size,
        batch_size=options.batch,
        style_layers=",".join(STYLE_LAYERS),
        content_layers=CONTENT_LAYER,
        nThreads=2,
    )
    trainer = Session(train_options).trainer
    batches = iter(trainer.dataset(range(train_options.num_iterations)))
    numbers = iter(range(1, train_options.num_iterations))
    return lambda: trainer.iterate(batches, next(numbers))


def torch_step(options: argparse.Namespace) -> Any:
    """The same in PyTorch, photos from memory."""
    import numpy as np
    import torch
    from PIL import Image
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(options.threads)
    few, some, many = (count // options.slim for count in (32, 64, 128))

    def convolved(planes: int, outputs: int, kernel: int, stride: int) -> list[Any]:
        return [
            nn.ReplicationPad2d(kernel // 2),
            nn.Conv2d(planes, outputs, kernel, stride),
            nn.InstanceNorm2d(outputs, affine=True),
        ]

    class Residual(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            inner = [*convolved(many, many, 3, 1), nn.ReLU(True), *convolved(many, many, 3, 1)]
            self.inner = nn.Sequential(*inner)

        def forward(self, x: Any) -> Any:
            return x + self.inner(x)

    def doubled(planes: int, outputs: int) -> list[Any]:
        full = nn.ConvTranspose2d(planes, outputs, 3, 2, 1, 1)
        return [full, nn.InstanceNorm2d(outputs, affine=True), nn.ReLU(True)]

    net = nn.Sequential(
        *convolved(3, few, 9, 1),
        nn.ReLU(True),
        *convolved(few, some, 3, 2),
        nn.ReLU(True),
        *convolved(some, many, 3, 2),
        nn.ReLU(True),
        *(Residual() for _ in range(5)),
        *doubled(many, some),
        *doubled(some, few),
        nn.ReplicationPad2d(1),
        nn.Conv2d(few, 3, 3),
    )
    weights = np.load(DESCRIPTOR)
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    blocks = [[f"{b}_{i}" for i in range(1, n + 1)] for b, n in ((1, 2), (2, 2), (3, 3), (4, 2))]
    filters = {
        name: (
            torch.tensor(weights[f"conv{name}_W"]).float().permute(3, 2, 0, 1).contiguous(),
            torch.tensor(weights[f"conv{name}_b"]).float(),
        )
        for block in blocks
        for name in block
    }

    def features(x: Any) -> dict[str, Any]:
        found, x = {}, x - mean
        for number, block in enumerate(blocks):
            x = functional.max_pool2d(x, 2) if number else x
            for name in block:
                x = functional.relu(functional.conv2d(x, *filters[name], padding=1))
                found[f"relu{name}"] = x
        return found

    def gram(x: Any) -> Any:
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])

    def levels(path: Path) -> Any:
        array = np.asarray(Image.open(path).convert("RGB"), np.float32)
        return torch.from_numpy(array.transpose(2, 0, 1))[None]

    with torch.no_grad():
        style = {n: gram(x) for n, x in features(levels(STYLE)).items() if n in STYLE_LAYERS}
    photos = [levels(path)[0] for path in sorted(PHOTOS.glob("*.png"))]
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    random = np.random.default_rng(0)

    def crop() -> Any:
        photo = photos[random.integers(len(photos))]
        top, left = (random.integers(0, n - options.size + 1) for n in photo.shape[1:])
        return photo[:, top : top + options.size, left : left + options.size]

    def step() -> None:
        batch = torch.stack([crop() for _ in range(options.batch)])
        with torch.no_grad():
            target = features(batch)[CONTENT_LAYER]
        found = features(net(batch / 255).flip(1) + mean)
        loss = functional.mse_loss(found[CONTENT_LAYER], target)
        for name, target in style.items():
            output = gram(found[name])
            loss = loss + functional.mse_loss(output, target.expand_as(output))
        adam.zero_grad()
        loss.backward()
        adam.step()
        loss.item()

    return step


if __name__ == "__main__":
    main()
