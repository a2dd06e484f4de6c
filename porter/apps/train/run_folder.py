"""Whether a folder can take a run: looked at before TensorFlow is imported."""

from __future__ import annotations

import json
from pathlib import Path

from porter.apps.train.options import TrainOptions
from porter.errors import UsageError

RECORD = "training.json"


def require_startable(options: TrainOptions) -> None:
    """Raise UsageError where something else is in the folder: another run, or no run at all."""
    output = options.output
    record = output / RECORD
    if record.exists():
        require_same_run(options, record)
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(
            f"{output} exists and holds no run of porter train",
            hint="choose another folder with `output=`",
        )


def require_same_run(options: TrainOptions, record: Path) -> None:
    """Raise UsageError where a run with other options is in the folder."""
    try:
        kept = json.loads(record.read_text(encoding="utf-8"))["options"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{record} cannot be read", received=repr(error)) from error
    differing = options.differences(kept)
    if differing:
        shown = ", ".join(f"{n} {old} → {new}" for n, (old, new) in differing.items())
        raise UsageError(
            f"{record.parent} holds a run with other options",
            received=shown,
            hint="choose another folder with `output=`, or begin anew with `force=True`; "
            "`init=` goes on from its result as another run",
        )
