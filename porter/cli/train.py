"""`porter train`: its arguments, and a run from beginning to result."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.apps.train.options import CHOICES, TrainOptions
from porter.cli.arguments import Commands, show_json

if TYPE_CHECKING:
    from porter.apps.train.session import Session

HELP = {
    "content_layers": "layers of the content loss, joined by commas",
    "style_layers": "layers of the style loss, joined by commas",
    "learning_rate": "of Adam; 0.8 times as large every 2,000 iterations",
    "num_iterations": "how many steps in all",
    "save_every": "keep a checkpoint every N iterations",
    "batch_size": "pictures in one step, of all machines together",
    "image_size": "crops of N×N pixels",
    "content_weight": "of the content loss",
    "style_weight": "of the style loss",
    "tv_weight": "of total variation",
    "style_size": "scale the style picture's longer side to N pixels; 0: as it is",
    "mode": "pictures in a style, or textures from noise",
    "model": "johnson, pyramid, skip_unpool, or a .t7 file to go on from",
    "vgg_no_pad": "no padding in the descriptor's convolutions: true or false",
    "normalization": "of a new generator",
    "pyramid_loss": "on how many scales pictures are compared",
    "pyramid_decay": "weight of each coarser scale",
    "nThreads": "photos read at once",
    "manualSeed": "for initial weights, the order of photos and noise",
    "proto_file": "the prototxt of a .caffemodel",
    "preprocessing": "what the descriptor's numbers mean, where its file does not tell",
    "init": "start from a .t7, a finished run, or a converted folder (with --model)",
    "preset": "what the numbers of --init mean, where it does not tell",
    "slim": "divide the numbers of planes of a new generator by N",
    "sample_every": "write sample pictures every N iterations; 0: never",
    "keep": "how many checkpoints are kept",
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
        help="train a texture network, or go on from a port",
        description="Train texture_nets' generators on a style picture, or fine-tune a port. "
        "Options have the names and defaults of texture_nets' train.lua; dashes do as well as "
        "underscores. The same command goes on where a run was stopped.",
    )
    one.add_argument(*spelled("style_image"), type=Path, required=True, help="the style picture")
    one.add_argument(
        *ALIASES["descriptor"],
        type=Path,
        required=True,
        help="a trained classifier whose features are compared",
    )
    one.add_argument(*spelled("data"), type=Path, help="a folder of photos, or of train/ and val/")
    one.add_argument(
        *ALIASES["output"], dest="output", type=Path, required=True, help="folder of the run"
    )
    for field in fields(TrainOptions):
        if field.name in HELP:
            add_option(one, field.name, field.default)
    one.add_argument("--force", action="store_true", help="begin anew in the folder of a run")
    one.add_argument("--json", action="store_true", help="print one JSON object")
    one.set_defaults(run=run)


def add_option(command: argparse.ArgumentParser, name: str, default: Any) -> None:
    """One of train.lua's options, with its default in the help."""
    help = f"{HELP[name]} (default: {default})" if default is not None else HELP[name]
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
