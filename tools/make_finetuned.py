"""Write fixtures/trained/digits_lenet/finetuned.t7: the digits net with its last layer trained on.

    python tools/make_finetuned.py

The last linear layer takes 200 steps of gradient descent on the digits turned by 90 degrees; all
other layers stay, as in most fine-tuning. Its new weights take the old ones' place in the bytes of
the file, so that everything else is as Torch wrote it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import porter  # noqa: E402
from porter.frontend.inputs import types_of  # noqa: E402
from porter.ir.nested import leaves  # noqa: E402
from porter.ir.options import Options  # noqa: E402
from porter.runtime.reference import run  # noqa: E402

FOLDER = ROOT / "fixtures" / "trained" / "digits_lenet"
STEPS, RATE = 200, 0.05


def main() -> None:
    """Train the last layer on, and write the file."""
    images = np.rot90(array("all_input.t7"), axes=(2, 3)).copy()
    labels = array("labels.t7").astype(int).ravel()
    labels = labels - labels.min()
    opened = porter.open_model(FOLDER / "model.t7", select="1-11")
    graph = opened.model(Options()).walk(types_of(images))
    (pixels,), (output,) = leaves(graph.inputs), leaves(graph.outputs)
    features = run(graph, {pixels.id: images}, np.float32)[output.id]
    last = porter.open_model(FOLDER / "model.t7", select="12").root
    old = {name: last.tensor(name).array for name in ("weight", "bias")}
    new = {name: value.astype(np.float64) for name, value in old.items()}
    for step in range(STEPS):
        scores = features @ new["weight"].T + new["bias"]
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        if step % 50 == 0:
            print(f"step {step}: {(scores.argmax(axis=1) == labels).mean():.1%} right")
        slope = (chances - np.eye(10)[labels]) / len(labels)
        new["weight"] -= RATE * slope.T @ features
        new["bias"] -= RATE * slope.sum(axis=0)
    content = (FOLDER / "model.t7").read_bytes()
    for name, value in old.items():
        before = np.ascontiguousarray(value).tobytes()
        assert content.count(before) == 1, name
        content = content.replace(before, new[name].astype(value.dtype).tobytes())
    (FOLDER / "finetuned.t7").write_bytes(content)


def array(name: str) -> NDArray[np.float32]:
    """The tensor that a file of the folder holds."""
    return np.asarray(porter.read(FOLDER / name).root.array)


if __name__ == "__main__":
    main()
