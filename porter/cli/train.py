"""`porter train`: its arguments, and a run from beginning to result."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.apps.train.options import CHOICES, TrainOptions
from porter.apps.train.run_folder import require_startable
from porter.cli.arguments import Commands, show_json

if TYPE_CHECKING:
    from porter.apps.train.session import Session

HELP = {
    "content_layers": "layers of the content loss, separated by commas",
    "style_layers": "layers of the style loss, separated by commas",
    "learning_rate": "learning rate of Adam; multiplied by 0.8 every 2,000 iterations",
    "num_iterations": "total number of steps",
    "save_every": "keep a checkpoint every N iterations",
    "batch_size": "images in one step, over all machines",
    "image_size": "crops of N×N pixels",
    "content_weight": "weight of the content loss",
    "style_weight": "weight of the style loss",
    "tv_weight": "weight of the total variation",
    "style_size": "scale the style image's longer side to N pixels; 0: keep its size",
    "mode": "stylised images, or textures from noise",
    "model": "johnson, pyramid, skip_unpool, or a .t7 file to continue from",
    "vgg_no_pad": "no padding in the descriptor's convolutions: true or false",
    "normalization": "normalisation layers of a new generator",
    "pyramid_loss": "number of scales on which images are compared",
    "pyramid_decay": "weight of each coarser scale",
    "nThreads": "number of threads that read images",
    "manualSeed": "seed of initial weights, the order of images, and noise",
    "proto_file": "the prototxt of a .caffemodel",
    "preprocessing": "how images are encoded for the descriptor, where its file does not say",
    "init": "start from a .t7, a finished run, or a converted folder (with --model)",
    "preset": "how images are encoded for --init, where its file does not say",
    "slim": "divide the number of planes in a new generator by N",
    "sample_every": "write sample images every N iterations; 0: never",
    "keep": "number of checkpoints to keep",
    "mixed_precision": "float16 for GPUs, bfloat16 for CPUs that have it",
}
ALIASES = {
    "output": ("-o", "--output", "--checkpoints_path"),
    "descriptor": ("--descriptor", "--model_file"),
}


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser(
        "train",
        help="train a style or texture network, or fine-tune a port",
        description="Train texture_nets' generators on a style image, or fine-tune a port. "
        "Options have the names and defaults of texture_nets' train.lua, with underscores or "
        "dashes. To resume a run that was stopped, repeat its command.",
    )
    one.add_argument(*spelled("style_image"), type=Path, required=True, help="the style image")
    one.add_argument(
        *ALIASES["descriptor"],
        type=Path,
        required=True,
        help="a trained classifier, whose features are compared",
    )
    one.add_argument(
        *spelled("data"),
        type=Path,
        help="a folder of images, or one with train/ and val/ (default: none, for --mode texture)",
    )
    one.add_argument(
        *ALIASES["output"], dest="output", type=Path, required=True, help="output folder of the run"
    )
    for field in fields(TrainOptions):
        if field.name in HELP:
            add_option(one, field.name, field.default)
    one.add_argument(
        "--force", action="store_true", help="start over in the folder of an earlier run"
    )
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.set_defaults(run=run)


def add_option(command: argparse.ArgumentParser, name: str, default: Any) -> None:
    """One of train.lua's options, with its default in the help."""
    default_shown = "none" if default is None else str(default)
    if isinstance(default, bool):
        default_shown = default_shown.lower()
    help = f"{HELP[name]} (default: {default_shown})"
    if isinstance(default, bool):
        command.add_argument(
            *spelled(name), type=truth, nargs="?", const=True, default=default, help=help
        )
    elif name in CHOICES:
        command.add_argument(*spelled(name), choices=CHOICES[name], default=default, help=help)
    else:
        kind = Path if default is None and name != "preset" else type(default)
        kind = str if name in ("preset", "preprocessing") else kind
        metavar = {int: "N", float: "X"}.get(kind)
        command.add_argument(*spelled(name), type=kind, default=default, metavar=metavar, help=help)


def spelled(name: str) -> list[str]:
    """An option with underscores and with dashes."""
    return list(dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")))


def truth(text: str) -> bool:
    """`true` or `false`, as train.lua takes them."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError("true or false is needed")
    return text == "true"


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    asked = TrainOptions(**{f.name: getattr(options, f.name) for f in fields(TrainOptions)})
    # Several workers share the folder, which one of them is just making: they look later.
    if not options.force and "TF_CONFIG" not in os.environ:
        require_startable(asked)
    from porter.apps.train.session import Session

    session = Session(asked, options.force)
    show(session, options.json)
    return 0


def show(session: Session, as_json: bool) -> None:
    """Run under a progress bar, then say what came of it."""
    from porter.apps.train.display import progress
    from porter.report.console import out

    with progress(session.options.num_iterations) as on_progress:
        result = session.run(on_progress)
    if as_json:
        show_json(result.json())
    else:
        out().print(result.summary())
