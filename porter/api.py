"""porter from Python: one function a command, with the command's options as keyword arguments.

Every function raises PorterError, and only that, for whatever is wrong with files or arguments; the
message names the keyword argument to change. Shapes are Torch's (N×C×H×W, or C×H×W for a batch of
one). Arguments that several functions take:

    select        which module of a file that holds several: `model`, `agent.network`; also one
                  inside a module, `netG.2`, or part of an nn.Sequential, `netG.1-31`
    input_shapes  one shape, or one for each input of the model: "3x256x256" or (3, 256, 256),
                  with or without a batch in front, or "5x3:int" for indices, as it is;
                  by default porter finds shapes that the model takes
    layer_maps    Python files with layer maps of your own (CONTRIBUTING.md); they are executed
    identity      Torch classes without a map that hand their input on unchanged
    map           classes treated as known ones, whose methods they have: "nn.My=nn.Sequential"
    bn            which statistics batch normalisation uses: "auto" (as the model's own scripts run
                  it), "as-saved", "train" or "evaluate"
    seed          of inputs that are drawn, and of modules that draw numbers
    isolated, accumulated
                  largest accepted errors of a layer, in units of the largest absolute value of
                  its output: fed the oracle's inputs, and fed by the port's own layers

Names joined by commas ("saved_model,checkpoint") do as well as a list of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.errors import UsageError

if TYPE_CHECKING:
    from porter.apps.check.checker import CheckResult
    from porter.apps.inspect import Inspection, PlainInspection
    from porter.apps.stylize.stylize import Stylization, StylizeResult
    from porter.conversion.pipeline import Conversion
    from porter.frontend.inputs import RequestedShape
    from porter.frontend.model_file import ModelFile
    from porter.ir.options import BatchNormMode
    from porter.parity.compare import Report, Tolerance
    from porter.torch7 import T7File

    StrPath = str | os.PathLike[str]
    InputShapes = str | Sequence[int] | Sequence[str | Sequence[int]]


def read(path: StrPath) -> T7File:
    """Everything that a `.t7` file holds: `read(path).root` is a number, string, table, tensor or
    object; tensors are read-only views of the file. Nothing of the file is executed.

    Raises T7Error. Source: torch/File.lua and torch7's DiskFile.c.
    """
    from porter import torch7

    return torch7.read(path)


def open_model(
    path: StrPath,
    *,
    select: str | None = None,
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
) -> ModelFile:
    """The network in a `.t7` file: `open_model(path).root` is its outermost module.

    Raises T7Error, WrongFile where there is no module, UsageError where there are several.
    """
    from porter.apps.registry import registry_with
    from porter.frontend.model_file import open_model

    return open_model(path, registry_with(layer_maps, identity, map), select)


def inspect(
    path: StrPath,
    *,
    select: str | None = None,
    input_shapes: InputShapes = (),
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
    bn: BatchNormMode = "auto",
    seed: int = 1,
) -> Inspection | PlainInspection:
    """What a `.t7` file is and holds, without TensorFlow: format, module tree, shapes, parameters.

    Of a file without a module, such as a dataset, a table of parameters or a recording, and of one
    with several of which none is selected, the result lists what there is. Classes without a map
    and shapes that cannot be found are part of the result. Raises T7Error, and UsageError where
    there is no such module.
    """
    from porter.apps.inspect import inspect, inspect_plain
    from porter.apps.registry import registry_with
    from porter.apps.zoo.advice import systems_named
    from porter.errors import SeveralModules
    from porter.frontend.model_file import choose, holds_model
    from porter.ir.options import Options

    file, registry = read(path), registry_with(layer_maps, identity, map)
    if select is None and not holds_model(file, registry):
        return inspect_plain(file)
    try:
        with systems_named(path, registry, select):
            opened = choose(file, os.fspath(path), registry, select)
    except SeveralModules as several:
        return inspect_plain(file, several)
    return inspect(opened, Options(bn, seed), shapes_of(input_shapes))


def convert(
    model: StrPath,
    *,
    output: StrPath | None = None,
    reference: StrPath | None = None,
    input_shapes: InputShapes = (),
    select: str | None = None,
    formats: str | Iterable[str] = "saved_model,checkpoint",
    data_format: str = "channels_last",
    optimize: str = "exact",
    precision: str = "float32",
    trainable: bool = False,
    preset: str | None = None,
    tflite: str | Iterable[str] = "float32",
    representative: StrPath | None = None,
    quantised_psnr: float | None = None,
    weights: str | Iterable[str] = "npz",
    order: str = "tensorflow",
    bn: BatchNormMode = "auto",
    seed: int = 1,
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
    isolated: float = 1e-5,
    accumulated: float = 1e-4,
    report: str | Iterable[str] = (),
    tensorboard: StrPath | None = None,
    force: bool = False,
    on_progress: Callable[[str, str], None] | None = None,
) -> Conversion:
    """Convert a model, verified layer by layer, and write it to the folder `output`.

    `output` (default: NAME_tensorflow beside the model, NAME_SELECT_tensorflow of a selected
    module) appears when every comparison has passed,
    also those of the written files, loaded in a fresh process; else nothing is written. `force`
    replaces an earlier port.

    `reference` has the activations that Torch recorded, `.t7` or `.npz` (`porter record`); without
    it the oracle is a second implementation of every layer, in NumPy and float64.

    `formats` are saved_model, checkpoint, keras, tflite, onnx, web, coreml, frozen, source and
    weights (docs/formats.md). `data_format` is the order of image inputs and outputs:
    "channels_last", N×H×W×C, or "channels_first". `optimize` says how far the exported graph is
    rewritten for speed: "none", "exact" (the arithmetic stays) or "fast" (Winograd's algorithm,
    Lavin and Gray, 2015). `precision` is that of products in the SavedModel: "float32", "bfloat16"
    or "float16".
    `trainable` also writes the net in training mode. `preset` says how images become the net's
    numbers: a name, a `.toml` file, "none", or None for what the file tells.

    `tflite` has kinds of LiteRT files: float32, float16, dynamic, int8, uint8; the last two are
    calibrated on `representative`, a folder of images or an `.npz` of inputs, and refused below
    `quantised_psnr` decibels. `weights` has kinds of weight files: npz, safetensors, h5, with axes
    in the `order` of "torch" or "tensorflow".

    `report` writes "html" or "markdown" into the folder (beside it if the conversion fails),
    `tensorboard` event files into another. `on_progress` is called with each stage and its detail.

    Raises ParityError, with the reports of every layer, where the port differs; UnmappedModules for
    classes without a map; another WalkError for malformed modules; T7Error for files that cannot be
    read; EmitError where nothing can be written; UsageError for arguments that do not go together.
    """
    from porter.apps.registry import registry_with
    from porter.apps.zoo.advice import systems_named
    from porter.apps.zoo.systems import likenesses
    from porter.conversion.pipeline import convert, silent
    from porter.conversion.request import Request
    from porter.emit.settings import ExportOptions, TFLiteSettings, WeightSettings
    from porter.ir.options import Options
    from porter.parity import recording

    calibration, registry = path_of(representative), registry_with(layer_maps, identity, map)
    request = Request(
        Path(model),
        path_of(output),
        input_shapes=shapes_of(input_shapes),
        reference=recording.read(Path(reference)) if reference is not None else None,
        select=select,
        registry=registry,
        options=Options(bn, seed),
        tolerance=tolerance_of(isolated, accumulated),
        export=ExportOptions(data_format, trainable, optimize, precision),
        formats=names(formats),
        settings={
            "tflite": TFLiteSettings(names(tflite), calibration, quantised_psnr),
            "weights": WeightSettings(names(weights), order),
        },
        preset=preset,
        force=force,
        tensorboard=path_of(tensorboard),
        pages=names(report),
        likenesses=likenesses,
    )
    with systems_named(model, registry, select):
        return convert(request, on_progress or silent)


def diff(
    first: StrPath,
    second: StrPath,
    *,
    select: str | None = None,
    input_shapes: InputShapes = (),
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
    bn: BatchNormMode = "auto",
    seed: int = 1,
    isolated: float = 1e-5,
    accumulated: float = 1e-4,
) -> Report:
    """Compare two of `.t7` model, converted folder and recording, layer by layer.

    `first` is the oracle. `report.first_diverging` is the first layer that differs, if any. Raises
    UsageError for two sides that have nothing to compare, Corrupt for a folder that was changed.
    """
    from porter.apps.diff import diff, open_side
    from porter.apps.registry import registry_with
    from porter.ir.options import Options

    limits, registry = tolerance_of(isolated, accumulated), registry_with(layer_maps, identity, map)
    oracle, other = (
        open_side(Path(path), registry, Options(bn, seed), select) for path in (first, second)
    )
    return diff(oracle, other, limits, seed, shapes_of(input_shapes))


def check(
    paths: StrPath | Iterable[StrPath],
    *,
    jobs: int = 1,
    memory: float | None = None,
    cache: StrPath | None = None,
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
    bn: BatchNormMode = "auto",
    seed: int = 1,
    isolated: float = 1e-5,
    accumulated: float = 1e-4,
    on_start: Callable[[int], None] = lambda count: None,
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Check every fixture below some paths against what Torch recorded; results in their order.

    `jobs` processes together use at most `memory` GiB (default: what is free); `cache` is a folder
    that remembers what has not changed. `on_start` is called with the number of fixtures,
    `on_result` with each result as it is known.

    A fixture that fails or cannot be read is a result. Raises UsageError for a path that is not
    there, for paths without fixtures and for a `porter.toml` that cannot be understood.
    """
    from porter.apps.check import parallel_runner
    from porter.apps.check.fixtures import find
    from porter.ir.options import Options

    chosen = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    fixtures = find([Path(path) for path in chosen])
    if not fixtures:
        raise UsageError(
            "no fixtures were found",
            where=", ".join(str(path) for path in chosen),
            hint="a fixture is model.t7 with activations.t7, X.t7 with X.in.t7 and X.out.t7 or "
            "with X.activations.t7, or one file {module=, input=, output=}; `porter convert` "
            "compares a model without a recording with NumPy",
        )
    settings = parallel_runner.CheckSettings(
        tuple(Path(path) for path in layer_maps),
        tuple(identity),
        tuple(map),
        Options(bn, seed),
        tolerance_of(isolated, accumulated),
    )
    limit = None if memory is None else int(memory * 2**30)
    on_start(len(fixtures))
    return parallel_runner.run(fixtures, settings, jobs, path_of(cache), on_result, limit)


def stylize(
    model: StrPath,
    images: StrPath | Iterable[StrPath],
    output: StrPath,
    *,
    preset: str | None = None,
    image_size: int | Iterable[int] = (),
    crop: bool = False,
    compare: bool = False,
    batch: int = 8,
    skip_existing: bool = False,
    select: str | None = None,
    input_shapes: InputShapes = (),
    layer_maps: Iterable[StrPath] = (),
    identity: Iterable[str] = (),
    map: Iterable[str] = (),
    bn: BatchNormMode = "auto",
    seed: int = 1,
    force: bool = False,
    trust_code: bool = False,
    encoder: StrPath | None = None,
    style: StrPath | None = None,
    transform: str = "adain",
    alpha: float = 1.0,
    style_size: int | None = None,
    then: StrPath | Iterable[StrPath] = (),
    on_result: Callable[[StylizeResult], None] = lambda result: None,
) -> Stylization:
    """Run images through an image-to-image model and write what it makes of them.

    `model` is a `.t7`, a converted folder, `.keras` or `.tflite`; `images` are files, folders or
    patterns, or one video; `output` is a file for one image or a video, else a folder. `image_size`
    scales the longer side, in pixels; of several sizes each is made, as `NAME_SIZE.png`. `crop`
    cuts results larger than their image; `compare` also writes both side by side; `batch` is the
    largest number of images run at once. `skip_existing` leaves out images whose results are there.
    `trust_code` executes the `layers.py` beside a `.keras` even where no manifest lists it.

    With an `encoder` (a VGG's `.t7`) and a `style` (a painting) `model` is a decoder's `.t7`, and
    images get the style of the painting: `transform` is "adain" (Huang and Belongie, 2017) or "wct"
    (Li et al., 2017), `alpha` its strength from 0 to 1, `style_size` scales the painting's longer
    side. `then` names more decoders, each for the result of the one before.

    An image that cannot be read or run is a result with its `error`, and the others go on. A video
    that was stopped goes on where it was. Raises UsageError for a model that does not take or make
    images, UnreadablePicture for a video that cannot be read, UnsafeFile for a `.keras` of unknown
    layers, EmitError where nothing can be written.
    """
    from porter.apps.registry import registry_with
    from porter.apps.stylize.arbitrary_style import arbitrary_style
    from porter.apps.stylize.loading import LoadOptions, open_net
    from porter.apps.stylize.stylize import StylizeSettings, stylize
    from porter.apps.stylize.video import stylize_video, video_job
    from porter.imaging.files import pairs
    from porter.ir.options import Options
    from porter.system.atomic import no_empty_folders

    sizes = [image_size] if isinstance(image_size, int) else list(image_size)
    if force and skip_existing:
        raise UsageError("`force=True` does not go with `skip_existing=True`")
    settings = StylizeSettings(crop, batch, skip_existing)
    settings.require_sensible(sizes)
    decoders = [then] if isinstance(then, str | os.PathLike) else list(then)
    painting = arbitrary_style(
        path_of(encoder),
        path_of(style),
        transform,
        alpha,
        [Path(decoder) for decoder in decoders],
        style_size,
    )
    chosen = [images] if isinstance(images, str | os.PathLike) else list(images)
    sources, replaces = [os.fspath(image) for image in chosen], force or skip_existing
    video = video_job(sources, Path(output), sizes, replaces)
    if video and compare:
        raise UsageError("`compare=True` is for pictures", received=str(video.source))
    with no_empty_folders(Path(output)):
        photos = [] if video else pairs(sources, Path(output), compare, replaces, sizes)
        registry = registry_with(layer_maps, identity, map)
        shapes = shapes_of(input_shapes)
        options = LoadOptions(
            preset, select, shapes, registry, Options(bn, seed), trust_code, painting
        )
        net, spec = open_net(Path(model), options)
        if video:
            files = (Path(model), *(painting.files if painting else ()))
            return stylize_video(net, spec, files, video, settings)
        return stylize(net, spec, photos, settings, on_result)


# Arguments ----------------------------------------------------------------------------------------


def shapes_of(shapes: InputShapes) -> tuple[RequestedShape, ...]:
    """One shape or several, as text or as integers. Raises UsageError."""
    from porter.frontend.inputs import parse_shape

    several: Any = [shapes] if isinstance(shapes, str) else list(shapes)
    if several and all(isinstance(size, int) for size in several):
        several = [several]
    return tuple(
        parse_shape(shape if isinstance(shape, str) else "x".join(map(str, shape)))
        for shape in several
    )


def names(joined: str | Iterable[str]) -> tuple[str, ...]:
    """Names joined by commas, or a list of names."""
    return tuple(joined.split(",") if isinstance(joined, str) else joined)


def path_of(path: StrPath | None) -> Path | None:
    """A path, where there is one."""
    return None if path is None else Path(path)


def tolerance_of(isolated: float, accumulated: float) -> Tolerance:
    """Largest accepted errors. Raises UsageError for numbers that no error can be below."""
    from porter.parity.compare import Tolerance

    for value in (isolated, accumulated):
        if not 0 < value < math.inf:
            raise UsageError("a tolerance is a positive number", received=str(value))
    return Tolerance(isolated, accumulated)
