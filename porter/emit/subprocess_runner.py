"""Run an emitted model in a fresh process and bring its outputs back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import EmitError
from porter.ir.fields import Array
from porter.system.atomic import staging_dir
from porter.system.fresh_process import run_fresh

RELOAD = "reload.py"

Named = dict[str, Array]
"""Tensors by name, as they are stored."""


def run_saved_model(folder: Path, samples: Sequence[Named], *signatures: str) -> list[Named]:
    """Named outputs of a SavedModel for each sample. Raises EmitError.

    `signatures` is `serving_default` if none, one for all samples, or one for each.
    """
    return run_in_subprocess("saved_model", folder, samples, *(signatures or ("serving_default",)))


def run_frozen(
    folder: Path, samples: Sequence[Named], outputs: dict[str, str], large: bool
) -> tuple[list[Named], list[Named]]:
    """Named outputs of `frozen/` and of `frozen.pb` in a folder; `outputs` names their tensors.

    `large`: both are fed with their constants, which takes less memory. Raises EmitError.
    """
    pairs = [f"{name}={tensor}" for name, tensor in outputs.items()]
    kind, count = "large_frozen" if large else "frozen", len(samples)
    results = run_in_subprocess(kind, folder, [*samples, *samples], *pairs)
    return results[:count], results[count:]


def train_saved_model(folder: Path, sample: Named) -> Array:
    """For each trainable variable of a SavedModel, whether its outputs in training depend on it.

    Raises EmitError if it cannot be run in training mode and differentiated.
    """
    (result,) = run_in_subprocess("training", folder, [sample])
    return result["gradients"]


def run_tflite(file: Path, samples: Sequence[Named], interpreter: str) -> list[Named]:
    """Named outputs of a LiteRT file, as numbers that quantisation stands for. Raises EmitError."""
    return run_in_subprocess("tflite", file, samples, interpreter)


def run_onnx(file: Path, samples: Sequence[Named]) -> list[Named]:
    """Named outputs of an ONNX file, by ONNX Runtime. Raises EmitError."""
    return run_in_subprocess("onnx", file, samples)


def run_in_subprocess(kind: str, model: Path, samples: Sequence[Named], *extra: str) -> list[Named]:
    """Named outputs of a model for each sample of named inputs, all as stored.

    `kind` is one of `reload.py`. Raises EmitError if the model cannot be loaded or run.
    """
    with scratch() as folder:
        inputs, outputs = folder / "in.npz", folder / "out.npz"
        named: dict[str, Any] = {
            f"{i}/{name}": array
            for i, sample in enumerate(samples)
            for name, array in sample.items()
        }
        np.savez(inputs, **named)
        # A copy: in a zipapp it is no file.
        script = folder / RELOAD
        script.write_bytes(resources.files("porter.emit").joinpath(RELOAD).read_bytes())
        done = run_fresh(script, kind, model, inputs, outputs, *extra)
        if done.returncode != 0 or not outputs.is_file():
            raise EmitError(
                f"the model in {model} cannot be run after it was reloaded",
                received="\n".join(done.stderr.strip().splitlines()[-3:]) or None,
            )
        results: list[Named] = [{} for _ in samples]
        with np.load(outputs, allow_pickle=False) as archive:
            for key in archive.files:
                sample, name = key.split("/", 1)
                results[int(sample)][name] = archive[key]
        return results


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder; those of killed runs are removed. Raises EmitError if it cannot be."""
    home = Path(tempfile.gettempdir())
    try:
        with staging_dir(home / "reload") as folder:
            yield folder
    except OSError as error:
        raise EmitError(
            f"the temporary folder {home} cannot be written: "
            f"{os.strerror(error.errno) if error.errno else error}",
            hint="free some space there, or name another folder in the variable TMPDIR",
        ) from error
