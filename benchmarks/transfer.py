"""Style transfer by porter and by a plain PyTorch script of the same losses, side by side.

    pip install torch
    python benchmarks/transfer.py --size 256 --evaluations 100 --rounds 3

Both optimise the same noise by L-BFGS with the recipe `gatys` on the same VGG-19-shaped descriptor
(random weights) for the same number of losses and gradients. Each run has a process of its own,
the two take turns, and the time counts from opened pictures to the last evaluation: tracing,
targets and all. Peak memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,))
"""VGG-19 up to conv5_1."""
STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
MEAN = (123.68, 116.779, 103.939)


def write_weights(path: Path) -> None:
    """Random filters that keep the size of activations (He et al. 2015)."""
    random, planes, arrays = np.random.default_rng(0), 3, {}
    for block, widths in enumerate(BLOCKS, start=1):
        for number, width in enumerate(widths, start=1):
            scale = np.sqrt(2 / (9 * planes))
            filters = random.standard_normal((3, 3, planes, width)) * scale
            arrays[f"conv{block}_{number}_W"] = filters.astype(np.float32)
            arrays[f"conv{block}_{number}_b"] = np.zeros(width, np.float32)
            planes = width
    np.savez(path, **arrays)


def pictures(size: int) -> tuple[Any, Any]:
    """Content and style, 8 bits."""
    random = np.random.default_rng(1)
    content, style = (random.integers(0, 256, (size, size, 3)).astype(np.uint8) for _ in range(2))
    return content, style


def run_porter(weights: Path, size: int, evaluations: int) -> float:
    """Seconds."""
    from porter.apps.transfer import read_recipe, transfer

    content, style = pictures(size)
    start = time.perf_counter()
    result = transfer(content, style, weights, read_recipe("gatys", evaluations=evaluations))
    assert len(result.history) == evaluations
    return time.perf_counter() - start


def run_torch(weights: Path, size: int, evaluations: int) -> float:
    """Seconds of a script as people write it: nn modules, autograd, torch.optim.LBFGS."""
    import torch
    from torch import nn

    layers: dict[str, nn.Module] = {}
    with np.load(weights) as arrays:
        for block, widths in enumerate(BLOCKS, start=1):
            for number, width in enumerate(widths, start=1):
                filters = arrays[f"conv{block}_{number}_W"].transpose(3, 2, 0, 1)
                conv = nn.Conv2d(filters.shape[1], width, 3, padding=1)
                conv.weight.data = torch.tensor(np.ascontiguousarray(filters))
                conv.bias.data = torch.tensor(arrays[f"conv{block}_{number}_b"])
                layers[f"conv{block}_{number}"] = conv.requires_grad_(False)
                layers[f"relu{block}_{number}"] = nn.ReLU()
            layers[f"pool{block}"] = nn.AvgPool2d(2)
    mean = torch.tensor(MEAN).reshape(1, 3, 1, 1)

    def features(x: Any) -> dict[str, Any]:
        x, activations = x - mean, {}
        for name, layer in layers.items():
            x = layer(x)
            activations[name] = x
            if name == "relu5_1":
                return activations
        raise AssertionError

    def gram(x: Any) -> Any:
        flat = x.flatten(2)[0]
        return flat @ flat.T / flat.shape[1]

    start_pictures = [
        torch.tensor(each.transpose(2, 0, 1)[None], dtype=torch.float32) for each in pictures(size)
    ]
    start = time.perf_counter()
    with torch.no_grad():
        content = features(start_pictures[0])["relu4_2"]
        style = {name: gram(features(start_pictures[1])[name]) for name in STYLE}
    generator = torch.Generator().manual_seed(1)
    picture = 127.5 + 20 * torch.randn(start_pictures[0].shape, generator=generator)
    picture.requires_grad_(True)
    calls = 0

    class Enough(Exception):
        pass

    def closure() -> Any:
        nonlocal calls
        if calls >= evaluations:
            raise Enough
        calls += 1
        optimizer.zero_grad()
        activations = features(picture)
        loss = ((activations["relu4_2"] - content) ** 2).sum() / 2
        for name in STYLE:
            difference = ((gram(activations[name]) - style[name]) ** 2).sum()
            loss = loss + 1000 * 0.2 * difference / (4 * style[name].shape[0] ** 2)
        loss.backward()
        return loss

    optimizer = torch.optim.LBFGS(
        [picture],
        max_iter=10 * evaluations,
        max_eval=10 * evaluations,
        history_size=10,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    try:
        while True:
            optimizer.step(closure)
    except Enough:
        pass
    return time.perf_counter() - start


def child(options: argparse.Namespace) -> None:
    """One run, told as JSON."""
    sys.path.insert(0, str(ROOT))
    run = {"porter": run_porter, "torch": run_torch}[options.child]
    seconds = run(options.weights, options.size, options.evaluations)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "gigabytes": peak}))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--evaluations", type=int, default=100)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, help="of both (default: as many as cores)")
    options.add_argument("--only", choices=["porter", "torch"])
    options.add_argument("--child", help=argparse.SUPPRESS)
    options.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        child(chosen)
        return
    found: dict[str, list[dict[str, float]]] = {"porter": [], "torch": []}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "vgg19.npz"
        write_weights(weights)
        for _ in range(chosen.rounds):
            for name, runs in found.items():
                if chosen.only in (None, name):
                    runs.append(measured(name, weights, chosen))
    for name, runs in found.items():
        if runs:
            seconds = [each["seconds"] for each in runs]
            print(
                f"{name:7} min {min(seconds):7.1f} s, median {statistics.median(seconds):7.1f} s, "
                f"peak {max(each['gigabytes'] for each in runs):.2f} GB"
            )
    if all(found.values()):
        pairs = [b["seconds"] / a["seconds"] for a, b in zip(*found.values(), strict=True)]
        least = [min(each["seconds"] for each in runs) for runs in found.values()]
        print(
            f"torch / porter: of the minima {least[1] / least[0]:.2f}, "
            f"median of the rounds {statistics.median(pairs):.2f}"
        )


def measured(name: str, weights: Path, options: argparse.Namespace) -> dict[str, float]:
    """One run in a process of its own."""
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS") if options.threads else ()
    threads = dict.fromkeys(names, str(options.threads))
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--child", name, "--weights", str(weights)),
            *("--size", str(options.size), "--evaluations", str(options.evaluations)),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | threads,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name:7} {result['seconds']:.1f} s, {result['gigabytes']:.2f} GB", flush=True)
    return result


if __name__ == "__main__":
    main()
