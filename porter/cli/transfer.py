"""`porter transfer`: the content of one picture in the style of others."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.apps.transfer.recipe import CHOICES, NAMES, Recipe, layer_weights, read_recipe
from porter.cli.arguments import Commands, require_places, show_json
from porter.errors import UsageError
from porter.system.atomic import require_file_target

if TYPE_CHECKING:
    from porter.apps.transfer.job import TransferResult

HELP = {
    "content_layers": "layers of the content loss, for example relu4_2 or relu3_1=0.5,relu4_2=1",
    "content_weight": "weight of the content loss",
    "content_loss": "normalisation of the content loss",
    "style_layers": "layers of the style loss, with weights as above",
    "style_weight": "weight of the style loss",
    "style_loss": "normalisation of the style loss",
    "tv_weight": "weight of the total variation",
    "tv_loss": "form of the total variation",
    "pooling": "pooling of the descriptor",
    "padding": "padding of the descriptor's convolutions",
    "colour": "colours of the style; of the content, by transferring luminance only; or of a style "
    "matched to the content's colours",
    "init": "starting point: content, noise, or an image file",
    "noise": "standard deviation of the noise, in levels of 0…255",
    "scales": "successive sizes, relative to the last, for example 0.25,0.5,1",
    "optimizer": "L-BFGS (SciPy) or Adam",
    "evaluations": "total number of loss and gradient evaluations",
    "learning_rate": "learning rate of Adam, in levels of 0…255",
    "decay": "decay of the learning rate",
    "decay_steps": "steps between two decays",
    "memory": "number of steps that L-BFGS remembers",
    "seed": "seed of the noise",
}


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "transfer",
        help="optimise an image: the content of one, the style of others",
        description="Optimise an image until its features in a descriptor network match the "
        "content of one image and the style of others (Gatys et al., 2016). Options that are left "
        "out have the recipe's values. To resume a run that was stopped, repeat its command.",
    )
    one.add_argument(
        "--content",
        type=Path,
        required=True,
        metavar="IMAGE",
        help="the image whose content is kept",
    )
    one.add_argument(
        "--style",
        type=Path,
        required=True,
        nargs="+",
        metavar="IMAGE",
        help="one or more images of the style",
    )
    one.add_argument(
        "--blend", type=numbers, metavar="A,B,…", help="weights of several styles (default: equal)"
    )
    one.add_argument(
        "--descriptor",
        type=Path,
        metavar="FILE|keras:NAME",
        help="a VGG or another classifier: .t7, converted folder, .caffemodel, .npz, .npy, .h5, "
        ".keras, .pth, .safetensors, .mat, or keras:vgg19 and its like, which Keras downloads "
        "(default: the recipe's)",
    )
    one.add_argument(
        "--prototxt",
        type=Path,
        metavar="FILE",
        help="the prototxt of a .caffemodel (default: none)",
    )
    one.add_argument(
        "--preprocessing",
        metavar="NAME|FILE.toml",
        help="how images are encoded for the descriptor (default: what its file says)",
    )
    one.add_argument(
        "--sha256",
        metavar="HEX",
        help="expected checksum of the descriptor's file; any other is refused (default: no check)",
    )
    one.add_argument(
        "--select", metavar="PATH", help="the module to take from a .t7 (default: the only one)"
    )
    one.add_argument(
        "-o", "--output", type=Path, required=True, metavar="IMAGE", help="the image file to write"
    )
    one.add_argument(
        "--recipe",
        default="gatys",
        metavar="NAME|FILE.toml",
        help=f"{', '.join(NAMES)}, or a file (default: gatys)",
    )
    for field in fields(Recipe):
        if field.name in HELP:
            add_option(one, field.name, getattr(Recipe(), field.name))
    one.add_argument(
        "--bounded",
        action="store_true",
        default=None,
        help="keep levels within 0…255 (default: the recipe's)",
    )
    one.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="longer side of the result in pixels (default: that of the content)",
    )
    one.add_argument(
        "--style-size",
        type=int,
        metavar="N",
        help="longer side of the style images in pixels (default: the same)",
    )
    one.add_argument(
        "--snapshot",
        type=int,
        metavar="N",
        help="write OUTPUT_00050 … every N evaluations (default: never)",
    )
    one.add_argument("--curve", type=Path, metavar="IMAGE", help="plot the losses (default: none)")
    one.add_argument(
        "--keep-state", action="store_true", help="keep OUTPUT.state.npz when the run is complete"
    )
    one.add_argument(
        "--force", action="store_true", help="begin anew, and overwrite an existing file"
    )
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.set_defaults(run=run)


def add_option(command: argparse.ArgumentParser, name: str, default: Any) -> None:
    """One of a recipe's entries; without a default, which is the recipe's."""
    option = f"--{name.replace('_', '-')}"
    keywords = {"help": f"{HELP[name]} (default: the recipe's)"}
    if name in CHOICES:
        command.add_argument(option, choices=CHOICES[name], **keywords)  # type: ignore[arg-type]
    elif isinstance(default, dict):
        command.add_argument(option, metavar="LAYER=WEIGHT,…", **keywords)  # type: ignore[arg-type]
    elif isinstance(default, tuple):
        command.add_argument(option, type=numbers, metavar="A,B,…", **keywords)  # type: ignore[arg-type]
    else:
        kind = type(default)
        shown = {int: "N", float: "X"}.get(kind, "content|noise|FILE")
        command.add_argument(option, type=kind, metavar=shown, **keywords)  # type: ignore[arg-type]


def numbers(text: str) -> list[float]:
    """Numbers joined by commas, for argparse."""
    return [float(part) for part in text.split(",")]


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe with what was given in its place. Raises UsageError."""
    changes = {
        name: getattr(options, name)
        for name in (*HELP, "bounded")
        if getattr(options, name) is not None
    }
    for name in ("content_layers", "style_layers"):
        if name in changes:
            changes[name] = layer_weights(changes[name])
    return read_recipe(options.recipe, **changes)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    recipe = recipe_of(options)
    require_sensible(options, recipe)
    from porter.imaging.photos import write_image
    from porter.report.console import out, show_error

    state = state_of(options.output)
    result = optimised(options, recipe, state)
    write_image(options.output, result.image, result.content)
    if options.curve:
        from porter.apps.transfer.curve import write_curve

        write_curve(options.curve, result.history)
    if result.stopped is None and not options.keep_state:
        state.unlink(missing_ok=True)
    if options.json:
        show_json({"output": str(options.output), **result.json()})
    else:
        out().print(summary(options, result))
    if result.stopped is not None:
        if not options.json:
            show_error(result.stopped, options.spell)
        return result.stopped.exit_code
    return 0


def require_sensible(options: argparse.Namespace, recipe: Recipe) -> None:
    """Refuse before anything is run what would fail at its end. Raises UsageError."""
    from porter.imaging.photos import format_of

    recipe.descriptor_or(options.descriptor)

    output = options.output
    for path in (output, *([options.curve] if options.curve else [])):
        format_of(path)
    require_places(curve=options.curve)
    for name in ("image_size", "style_size", "snapshot"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} is a positive number", received=str(value)
            )
    inputs = [options.content, *options.style]
    if any(path.exists() and output.exists() and path.samefile(output) for path in inputs):
        raise UsageError(f"{output} is one of the pictures given", hint="choose another with -o")
    require_file_target(output, options.force or state_of(output).exists())


def state_of(output: Path) -> Path:
    """The file from which a run that was stopped goes on."""
    return output.with_suffix(".state.npz")


def optimised(options: argparse.Namespace, recipe: Recipe, state: Path) -> TransferResult:
    """Open everything and run, with progress where somebody looks."""
    from porter.apps.transfer.job import Checkpointing, transfer
    from porter.apps.transfer.objective import Losses
    from porter.apps.transfer.run import TransferProgress
    from porter.apps.transfer.source import Opening
    from porter.imaging.photos import Photo, write_image
    from porter.report.progress import progress

    def snapshot(picture: Any, count: int) -> None:
        name = f"{options.output.stem}_{count:05d}{options.output.suffix}"
        write_image(options.output.with_name(name), picture, Photo(picture))

    repeatable()
    with progress(options.json) as display:
        task = display.add_task(f"open {options.descriptor or recipe.descriptor}")

        def on_progress(done: TransferProgress, losses: Losses) -> None:
            size = f" size {done.scale + 1}" if len(recipe.scales) > 1 else ""
            display.update(
                task,
                description=f"{done.count}/{recipe.evaluations}{size}  "
                f"content {losses.content:.3g}  style {losses.style:.3g}  "
                f"variation {losses.variation:.3g}",
            )

        return transfer(
            options.content,
            list(options.style),
            options.descriptor,
            recipe,
            blend=options.blend,
            image_size=options.image_size,
            style_size=options.style_size,
            preprocessing=options.preprocessing,
            sha256=options.sha256,
            opening=Opening(options.prototxt, options.select),
            checkpointing=Checkpointing(
                state,
                options.snapshot or 50,
                snapshot if options.snapshot else None,
                resume=state.exists() and not options.force,
            ),
            on_progress=on_progress,
        )


def repeatable() -> None:
    """Have GPUs compute the same picture every time; CPUs do so anyway."""
    from porter.system.tensorflow import tf

    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def summary(options: argparse.Namespace, result: TransferResult) -> str:
    """Two lines of what came of it."""
    first, best = result.history[0][1], result.history[result.best_step - 1][1]
    height, width = result.image.shape[:2]
    steps = len(result.history)
    return (
        f"{options.output}: {width}×{height}, best of {steps} evaluations at {result.best_step}, "
        f"{result.seconds:.1f} s\n"
        f"loss {first.total:.3g} → {best.total:.3g}: content {best.content:.3g}, "
        f"style {best.style:.3g}, variation {best.variation:.3g}; "
        f"recipe {result.recipe.name}, {result.descriptor}"
    )
