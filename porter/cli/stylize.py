"""`porter stylize`: photographs through a model."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from porter.cli.arguments import (
    Commands,
    model_options,
    options_of,
    preset_option,
    registry_of,
    shapes_of,
    show_json,
)
from porter.errors import UsageError, printable

if TYPE_CHECKING:
    from porter.apps.stylize.arbitrary_style import ArbitraryStyle
    from porter.apps.stylize.runners import Net
    from porter.apps.stylize.stylize import Stylization, StylizeResult, StylizeSettings
    from porter.apps.stylize.video import VideoJob
    from porter.imaging.files import Pair
    from porter.imaging.image_spec import ImageSpec


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("stylize", help="run images through an image-to-image model")
    one.add_argument("model", type=Path, help=".t7, converted folder, .keras or .tflite")
    one.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="images, folders, patterns; or a video"
    )
    one.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="a file for one image or a video, else a folder",
    )
    preset_option(one)
    style_options(one)
    one.add_argument(
        "--image-size",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="scale the longer side to N pixels first; repeat it for several sizes, each as NAME_N "
        "(default: keep it)",
    )
    one.add_argument(
        "--crop", action="store_true", help="crop results that are larger than their image"
    )
    one.add_argument(
        "--compare",
        action="store_true",
        help="also write NAME_compare: image and result side by side",
    )
    one.add_argument(
        "--batch",
        type=int,
        default=8,
        metavar="N",
        help="largest number of images run at once (default: 8)",
    )
    one.add_argument(
        "--shard",
        metavar="I/N|TF_CONFIG",
        help="process only every N-th image and keep a record of what is done; TF_CONFIG: as this "
        "worker of that cluster (default: all images)",
    )
    one.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="share the images out by Ray, on this machine or a cluster, and keep a record of what "
        "is done (default: one process; without ADDRESS: on this machine)",
    )
    existing = one.add_mutually_exclusive_group()
    existing.add_argument(
        "--skip-existing", action="store_true", help="leave out images whose results exist"
    )
    existing.add_argument("--force", action="store_true", help="overwrite existing files")
    one.add_argument(
        "--trust-code",
        action="store_true",
        help="execute the layers.py beside a .keras although no manifest lists it",
    )
    model_options(one)
    one.set_defaults(run=run)


def style_options(command: argparse.ArgumentParser) -> None:
    """What makes a whole net of a decoder: AdaIN and WCT."""
    group = command.add_argument_group(
        "any painting's style (AdaIN, WCT)", "MODEL is then the decoder, a .t7."
    )
    group.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE",
        help="the encoder, a .t7 such as vgg_normalised.t7; it is cut where the decoder begins "
        "(default: none; MODEL is a whole net)",
    )
    group.add_argument(
        "--style",
        type=Path,
        metavar="IMAGE",
        help="the painting whose style the images get (default: none)",
    )
    group.add_argument(
        "--transform",
        choices=["adain", "wct"],
        default="adain",
        help="how features get the painting's statistics: mean and deviation of each plane, or "
        "whitening and colouring (default: adain)",
    )
    group.add_argument(
        "--alpha",
        type=float,
        default=1.0,
        metavar="A",
        help="strength of the style, from 0, none, to 1 (default: 1)",
    )
    group.add_argument(
        "--style-size",
        type=int,
        metavar="N",
        help="scale the painting's longer side to N pixels first (default: keep it)",
    )
    group.add_argument(
        "--then",
        type=Path,
        action="append",
        default=[],
        metavar="DECODER",
        help="another decoder, which goes on from the result of the one before; repeat it for "
        "several levels, coarsest first (default: none)",
    )


def style_of(options: argparse.Namespace) -> ArbitraryStyle | None:
    """The style that the options ask for, if any. Raises UsageError."""
    from porter.apps.stylize.arbitrary_style import arbitrary_style

    return arbitrary_style(
        options.encoder,
        options.style,
        options.transform,
        options.alpha,
        options.then,
        options.style_size,
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.system.atomic import no_empty_folders

    with no_empty_folders(options.output):
        return stylize_all(options)


def stylize_all(options: argparse.Namespace) -> int:
    """Stylizes pictures or a video; returns the exit code."""
    from porter.apps.stylize import ray_data
    from porter.apps.stylize.shards import Record, shard_of
    from porter.apps.stylize.stylize import StylizeSettings, stylize
    from porter.apps.stylize.terminal import stylized_line
    from porter.apps.stylize.video import video_job
    from porter.imaging.files import pairs
    from porter.report.console import out, show_error
    from porter.report.progress import progress

    settings = StylizeSettings(options.crop, options.batch, options.skip_existing)
    settings.require_sensible(options.image_size)
    options.style = style_of(options)
    if options.shard and options.ray:
        raise UsageError("--shard and --ray share images out, each by itself")
    shard, replaces = shard_of(options.shard), options.force or options.skip_existing
    job = video_job(options.inputs, options.output, options.image_size, replaces)
    if job is not None:
        return run_video(options, settings, job)
    photos = pairs(
        options.inputs,
        options.output,
        options.compare,
        replaces or shard is not None or options.ray is not None,
        options.image_size,
    )
    record = None
    if shard is not None or options.ray is not None:
        require_folder(options.output)
        record = Record(options.output / (shard.record if shard else ray_data.RECORD))
        photos = record.left(shard.of(photos) if shard else photos, replaces)
    console = out()
    with (
        progress(options.json) as display,
        record.open() if record else nullcontext() as done_so_far,
    ):
        task = display.add_task(f"open {options.model}", total=len(photos))

        def on_result(result: StylizeResult) -> None:
            display.update(task, advance=1, description=printable(result.source.name))
            if record is not None and result.error is None:
                record.add(done_so_far, result.source, result.target)
            if result.error is not None:
                show_error(result.error, options.spell)
            elif not (options.json or result.skipped):
                console.print(stylized_line(result))

        if options.ray is not None:
            done = run_ray(options, photos, settings, on_result)
        else:
            net, spec = opened(options)
            done = stylize(net, spec, photos, settings, on_result)
    show(options, done)
    return done.exit_code


def run_ray(
    options: argparse.Namespace,
    photos: list[Pair],
    settings: StylizeSettings,
    on_result: Callable[[StylizeResult], None],
) -> Stylization:
    """Share the photos out by Ray."""
    from porter.apps.stylize import ray_data
    from porter.apps.stylize.stylize import Stylization

    started = time.monotonic()
    opening = ray_data.NetOpening(
        options.model.absolute(),
        preset_path(options.preset),
        options.select,
        tuple(options.input_shapes),
        tuple(path.absolute() for path in options.layer_maps),
        tuple(options.identity),
        tuple(options.map),
        options.bn,
        options.seed,
        options.trust_code,
        options.style and options.style.absolute(),
    )
    results: list[StylizeResult] = []
    spec: ImageSpec | None = None
    with ray_data.cluster(options.ray) if photos else nullcontext() as ray:
        for spec, result in ray_data.stylized(ray, opening, photos, settings):  # noqa: B007
            results.append(result)
            on_result(result)
    return Stylization(spec, tuple(results), time.monotonic() - started)


def preset_path(preset: str | None) -> str | None:
    """A preset's file with the whole path, a name as it is."""
    return preset if preset is None or not Path(preset).is_file() else str(Path(preset).absolute())


def run_video(options: argparse.Namespace, settings: StylizeSettings, job: VideoJob) -> int:
    """Runs the command on a video; returns the exit code."""
    from porter.apps.stylize.terminal import stylized_line, time_left
    from porter.apps.stylize.video import stylize_video
    from porter.report.console import out
    from porter.report.progress import progress

    if options.compare or options.shard or options.ray:
        what = "--compare, --shard and --ray are for pictures"
        raise UsageError(what, received=str(job.source))
    with progress(options.json) as display:
        task = display.add_task(f"open {options.model}")
        net, spec = opened(options)
        files = (options.model, *(options.style.files if options.style else ()))
        started = time.monotonic()
        resumed_at: int | None = None

        def on_frames(done: int, count: int | None) -> None:
            nonlocal resumed_at
            resumed_at = done if resumed_at is None else resumed_at
            left = time_left(resumed_at, done, count, time.monotonic() - started)
            name = printable(job.source.name)
            display.update(task, total=count, completed=done, description=f"{name}{left}")

        done = stylize_video(net, spec, files, job, settings, on_frames)
    if not (options.json or done.skipped):
        out().print(stylized_line(done.results[0]))
    show(options, done)
    return done.exit_code


def opened(options: argparse.Namespace) -> tuple[Net, ImageSpec]:
    """The net, and how images are encoded for it."""
    from porter.apps.stylize.loading import LoadOptions, open_net

    choices = LoadOptions(
        options.preset,
        options.select,
        shapes_of(options),
        registry_of(options),
        options_of(options),
        options.trust_code,
        options.style,
    )
    return open_net(options.model, choices)


def show(options: argparse.Namespace, done: Stylization) -> None:
    """The last line, or the JSON object."""
    from porter.report.console import out

    if options.json:
        show_json(done.json(options.spell))
    else:
        out().print(done.summary())


def require_folder(output: Path) -> None:
    """Raise UsageError for the name of one picture, where there are several runs."""
    if not output.is_dir():
        raise UsageError(
            f"{output} names one picture", hint="with --shard and --ray, -o names a folder"
        )
