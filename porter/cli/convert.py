"""`porter convert`: a model into the formats that are asked for, verified layer by layer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from porter.cli.arguments import (
    Commands,
    arguments_of,
    detail_options,
    format_options,
    model_options,
    preset_option,
    show_json,
    tolerance_options,
)


def add_to(commands: Commands) -> None:
    """Arguments of the command."""
    one = commands.add_parser("convert", help="convert a model, verified layer by layer")
    one.add_argument("file", type=Path, help="the .t7 file")
    one.add_argument(
        "-o",
        "--output",
        type=Path,
        help="output folder (default: NAME_tensorflow beside the model, with --select "
        "NAME_PATH_tensorflow)",
    )
    one.add_argument(
        "--reference",
        type=Path,
        help="activations recorded by Torch, .t7 or .npz (default: none; the oracle is NumPy)",
    )
    one.add_argument(
        "--format",
        dest="formats",
        default=None,
        metavar="F,G",
        help="formats to write, separated by commas (default: saved_model,checkpoint)",
    )
    one.add_argument(
        "--data-format",
        choices=["channels_last", "channels_first"],
        default="channels_last",
        help="order of image inputs and outputs (default: channels_last, N×H×W×C)",
    )
    one.add_argument(
        "--optimize",
        choices=["none", "exact", "fast"],
        default="exact",
        help="optimise the exported graph: exact keeps the arithmetic, fast also uses Winograd "
        "convolution (default: exact)",
    )
    one.add_argument(
        "--precision",
        choices=["float32", "bfloat16", "float16"],
        default="float32",
        help="precision of the products in the SavedModel's serving function; 16 bits are up to "
        "twice as fast on processors that support them (default: float32)",
    )
    one.add_argument(
        "--trainable",
        action="store_true",
        help="also export the net in training mode, so that it can be trained without porter",
    )
    preset_option(one)
    format_options(one)
    one.add_argument("--force", action="store_true", help="replace an earlier port in the folder")
    one.add_argument(
        "--report",
        metavar="html,markdown",
        help="write report.html or report.md into the folder, or beside it if the conversion "
        "fails (default: none)",
    )
    one.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="write the graph, histograms of both sides, images and errors for TensorBoard "
        "(default: none)",
    )
    tolerance_options(one)
    model_options(one)
    detail_options(one)
    one.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code."""
    # TensorFlow's own allocator keeps what is freed: up to twice the size of large weights.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    from porter.api import convert
    from porter.conversion.summary import one_line, summary
    from porter.report.as_json import worst_rows
    from porter.report.console import format_table, out, parity_table
    from porter.report.progress import progress

    with progress(options.json or options.quiet) as display:
        task = display.add_task("start")
        done = convert(
            options.file,
            **arguments_of(options, convert),
            on_progress=lambda stage, what: display.update(task, description=f"{stage} {what}"),
        )
    console = out()
    if options.json:
        show_json(done.json())
    elif options.quiet:
        console.print(options.spell(one_line(done)), soft_wrap=True)
    elif options.verbose:
        console.print(parity_table(worst_rows(done.reports), console.width))
        console.print()
        console.print(format_table(done.emitted))
        text = summary(done, every_warning=True, files=False)
        console.print(f"\n{options.spell(text)}", soft_wrap=True)
    else:
        console.print(options.spell(summary(done)), soft_wrap=True)
    return 0
