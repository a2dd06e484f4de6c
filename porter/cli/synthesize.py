"""`porter synthesize`: textures from a generator trained in texture mode, or by optimisation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from porter.cli.arguments import Commands, natural, preset_option, show_json
from porter.errors import UsageError


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "synthesize",
        help="generate seamless textures",
        description="Textures from a generator trained with porter train --mode texture (MODEL), "
        "or by optimisation towards the style of an image (--style-image and --descriptor).",
    )
    one.add_argument("model", type=Path, nargs="?", help=".t7, or the folder of a finished run")
    one.add_argument("-o", "--output", type=Path, required=True, help="the image file to write")
    one.add_argument(
        "--size", default="256x256", metavar="HxW", help="size in pixels (default: 256x256)"
    )
    one.add_argument("--seed", type=natural, default=1, help="seed of the noise (default: 1)")
    one.add_argument(
        "--style-image",
        "--style_image",
        type=Path,
        help="the style to imitate (default: none; give a MODEL)",
    )
    one.add_argument(
        "--descriptor", type=Path, help="a trained classifier, for --style-image (default: none)"
    )
    one.add_argument(
        "--style-layers",
        "--style_layers",
        default="relu1_1,relu2_1,relu3_1,relu4_1",
        help="layers of the style loss, separated by commas (default: "
        "relu1_1,relu2_1,relu3_1,relu4_1)",
    )
    one.add_argument(
        "--proto-file",
        "--proto_file",
        type=Path,
        help="the prototxt of a .caffemodel (default: none)",
    )
    one.add_argument(
        "--preprocessing",
        help="how images are encoded for the descriptor (default: what its file says)",
    )
    one.add_argument(
        "--steps",
        type=int,
        default=300,
        metavar="N",
        help="steps of the optimisation (default: 300)",
    )
    one.add_argument("--force", action="store_true", help="overwrite an existing file")
    preset_option(one)
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    from porter.imaging.photos import Photo, format_of, write_image
    from porter.system.atomic import require_file_target

    size = size_of(options.size)
    format_of(options.output)
    require_file_target(options.output, options.force)
    by_model, by_style = options.model is not None, options.style_image is not None
    if by_model == by_style or (by_style and options.descriptor is None):
        raise UsageError(
            "a texture is made by a MODEL, or by --style-image and --descriptor",
            hint="porter synthesize MODEL -o T.png",
        )
    texture = from_style(options, size) if by_style else from_model(options, size)
    write_image(options.output, texture.image, Photo(texture.image))
    body: dict[str, Any] = {"output": str(options.output), "seam": texture.seam}
    if texture.losses:
        body |= {"first_loss": texture.losses[0], "last_loss": texture.losses[-1]}
    if options.json:
        show_json(body)
        return 0
    losses = f"; loss {texture.losses[0]:.4g} → {texture.losses[-1]:.4g}" if texture.losses else ""
    print(
        f"{options.output}: {size[0]}×{size[1]}; opposite edges differ {texture.seam:.2f} times as "
        f"much as neighbours{losses}"
    )
    return 0


def from_model(options: argparse.Namespace, size: tuple[int, int]) -> Any:
    """By a generator."""
    from porter.apps.train.synthesize import Textures

    return Textures(options.model, options.seed, options.preset)(size)


def from_style(options: argparse.Namespace, size: tuple[int, int]) -> Any:
    """By optimisation, under a progress bar."""
    from porter.apps.train.options import split
    from porter.apps.train.synthesize import optimise
    from porter.apps.transfer.descriptor import open_descriptor
    from porter.apps.transfer.source import Opening
    from porter.imaging.photos import read_image
    from porter.report.progress import progress

    if options.steps < 1:
        raise UsageError("--steps is a positive number", received=str(options.steps))
    style = read_image(options.style_image).pixels
    layers = split(options.style_layers)
    descriptor = open_descriptor(
        options.descriptor,
        layers,
        preprocessing=options.preprocessing,
        opening=Opening(prototxt=options.proto_file),
    )
    with progress(options.json) as display:
        task = display.add_task("optimise", total=options.steps)
        return optimise(
            descriptor,
            style,
            layers,
            size,
            options.steps,
            options.seed,
            lambda step, loss: display.update(task, description=f"step {step} loss {loss:.4g}"),
        )


def size_of(text: str) -> tuple[int, int]:
    """`256x128` as height and width, `256` as both. Raises UsageError."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError("a size is HxW in pixels", received=text, hint="try --size 256x256")
    return int(parts[0]), int(parts[-1])
