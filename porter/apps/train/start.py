"""What a run starts from: a new generator, a `.t7`, a finished run, or a converted folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from porter.apps.train.generators import generator
from porter.apps.train.options import GENERATORS, TrainOptions
from porter.errors import UsageError
from porter.frontend.model_file import open_model
from porter.frontend.search import solve
from porter.imaging.image_spec import ImageSpec, image_spec_of
from porter.imaging.presets import BUILT_IN, PixelEncoding
from porter.layer_maps import default_registry
from porter.torch7 import TorchObject


@dataclass(frozen=True)
class StartingPoint:
    """A module tree, what its numbers mean, and a checkpoint to take the weights from if any."""

    root: TorchObject
    input_encoding: PixelEncoding
    output_encoding: PixelEncoding
    preset: str | None = None
    weights: Path | None = None


def start_of(options: TrainOptions) -> StartingPoint:
    """Open it. Raises T7Error, UsageError."""
    path = options.start
    if path is None:
        return new(options)
    if path.is_dir():
        return of_folder(path, options)
    return of_file(path, options.preset)


def new(options: TrainOptions, weights: Path | None = None) -> StartingPoint:
    """A new generator."""
    preset = BUILT_IN["texture-nets"]
    assert preset.output is not None
    root = generator(options.architecture, options.manualSeed)
    return StartingPoint(root, preset.input, preset.output, preset.name, weights)


def of_folder(path: Path, options: TrainOptions) -> StartingPoint:
    """A finished run or its port, which have the module tree; else weights for `model=`."""
    for file in (path / "model.t7", path.with_name(f"{path.name}.t7")):
        if file.is_file():
            return of_file(file, options.preset)
    if not (path / "checkpoint").is_dir():
        raise UsageError(
            f"{path} holds nothing to start from",
            hint="give a .t7, the folder of a run, or a folder of porter convert with checkpoint/",
        )
    if options.model not in GENERATORS:
        return of_file(Path(options.model), options.preset)
    return new(options, path / "checkpoint")


def of_file(path: Path, preset: str | None) -> StartingPoint:
    """A `.t7`. Raises UsageError where nothing says what its images mean."""
    opened = open_model(path, default_registry())
    model = opened.model()
    spec: ImageSpec | None = image_spec_of(opened, model, solve(model), preset)
    if spec is None or spec.preset.output is None:
        raise UsageError(
            f"{path} does not say how images become its numbers",
            hint=f"say it with `preset=`: {', '.join(BUILT_IN)}",
        )
    return StartingPoint(opened.root, spec.preset.input, spec.preset.output, preset)
