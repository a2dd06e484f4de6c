"""Run an emitted model in a fresh process and bring its outputs back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import EmitError
from porter.ir.fields import Array
from porter.system.atomic import staging_dir

HERE = Path(__file__).parent
RELOAD = HERE / "reload.py"
RELOAD_GRAPH = HERE / "reload_graph.py"
RELOAD_TRAINING = HERE / "reload_training.py"
RELOAD_TFLITE = HERE / "reload_tflite.py"

Named = dict[str, Array]
"""Tensors by name, as they are stored."""


def run_saved_model(folder: Path, samples: Sequence[Named], *signatures: str) -> list[Named]:
    """Named outputs of a SavedModel for each sample. Raises EmitError.

    `signatures` is `serving_default` if none, one for all samples, or one for each.
    """
    return run_in_subprocess(RELOAD, folder, samples, *(signatures or ("serving_default",)))


def run_frozen_graph(file: Path, samples: Sequence[Named], outputs: dict[str, str]) -> list[Named]:
    """Named outputs of a GraphDef; `outputs` names their tensors. Raises EmitError."""
    pairs = [f"{name}={tensor}" for name, tensor in outputs.items()]
    return run_in_subprocess(RELOAD_GRAPH, file, samples, *pairs)


def train_saved_model(folder: Path, sample: Named) -> Array:
    """For each trainable variable of a SavedModel, whether its outputs in training depend on it.

    Raises EmitError if it cannot be run in training mode and differentiated.
    """
    (made,) = run_in_subprocess(RELOAD_TRAINING, folder, [sample])
    return made["gradients"]


def run_tflite(file: Path, samples: Sequence[Named], interpreter: str) -> list[Named]:
    """Named outputs of a LiteRT file, as numbers that quantisation stands for. Raises EmitError."""
    return run_in_subprocess(RELOAD_TFLITE, file, samples, interpreter)


def run_in_subprocess(
    script: Path, model: Path, samples: Sequence[Named], *extra: str
) -> list[Named]:
    """Named outputs that `script` makes of each sample of named inputs, all as stored.

    The script is started as `python -I SCRIPT MODEL INPUTS.npz OUTPUTS.npz EXTRA…`, where porter
    cannot be imported from the working folder. Raises EmitError if the model cannot be loaded or
    run.
    """
    with scratch() as folder:
        given, made = folder / "in.npz", folder / "out.npz"
        named: dict[str, Any] = {
            f"{i}/{name}": array
            for i, sample in enumerate(samples)
            for name, array in sample.items()
        }
        np.savez(given, **named)
        done = subprocess.run(
            [sys.executable, "-I", script, model, given, made, *extra],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not made.is_file():
            raise EmitError(
                f"the model in {model} cannot be run after it was reloaded",
                received="\n".join(done.stderr.strip().splitlines()[-3:]) or None,
            )
        results: list[Named] = [{} for _ in samples]
        with np.load(made, allow_pickle=False) as archive:
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
