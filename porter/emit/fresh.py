"""Run an emitted model in a fresh process and bring its outputs back."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from porter.errors import EmitError
from porter.fields import Array

RELOAD = Path(__file__).with_name("reload.py")


def run_saved_model(
    folder: Path, samples: list[dict[str, Array]], signature: str = "serving_default"
) -> list[dict[str, Array]]:
    """Named outputs for each sample of named inputs, all as stored.

    Raises EmitError if the model cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory(prefix="porter-reload-") as scratch:
        given, made = Path(scratch, "in.npz"), Path(scratch, "out.npz")
        named: dict[str, Any] = {
            f"{i}/{name}": array
            for i, sample in enumerate(samples)
            for name, array in sample.items()
        }
        np.savez(given, **named)
        done = subprocess.run(
            [sys.executable, "-I", RELOAD, folder, given, made, signature],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not made.is_file():
            raise EmitError(
                f"the model in {folder} cannot be run after it was reloaded",
                received="\n".join(done.stderr.strip().splitlines()[-3:]) or None,
            )
        results: list[dict[str, Array]] = [{} for _ in samples]
        with np.load(made, allow_pickle=False) as archive:
            for key in archive.files:
                sample, name = key.split("/", 1)
                results[int(sample)][name] = archive[key]
        return results
