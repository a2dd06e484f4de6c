"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from porter.frontend.inputs import RequestedShape
    from porter.ir.options import Options
    from porter.ir.registry import Registry

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any


def model_options(command: argparse.ArgumentParser) -> None:
    """Options of every command that opens a model."""
    command.add_argument(
        "--select",
        metavar="PATH",
        help="the module to take from a file, such as netG or model.1-31 (default: the only one)",
    )
    command.add_argument(
        "--input-shape",
        dest="input_shapes",
        action="append",
        default=[],
        metavar="CxHxW[:int]",
        help="input shape in Torch's order, without a batch or with one in front, :int for indices "
        "(as they are); repeat it for each input (default: shapes that the model takes)",
    )
    map_options(command)


def preset_option(command: argparse.ArgumentParser) -> None:
    """How images are encoded for a net."""
    command.add_argument(
        "--preset",
        metavar="NAME|FILE.toml",
        help="how images are encoded for the net (default: detected from the file)",
    )


def format_options(command: argparse.ArgumentParser) -> None:
    """Options of single formats."""
    command.add_argument(
        "--tflite",
        default="float32",
        metavar="KIND,…",
        help="for --format tflite: float32, float16, dynamic, int8, uint8 (default: float32)",
    )
    command.add_argument(
        "--representative",
        type=Path,
        metavar="DIR|.npz",
        help="calibration data for int8 and uint8: a folder of images, or an .npz of inputs "
        "(default: none; both kinds need it)",
    )
    command.add_argument(
        "--quantised-psnr",
        type=float,
        metavar="DB",
        help="minimum PSNR of quantised files in dB (default: 50 for float16, 30 for dynamic, 20 "
        "for int8 and uint8)",
    )
    command.add_argument(
        "--weights",
        default="npz",
        metavar="KIND,…",
        help="for --format weights: npz, safetensors, h5 (default: npz)",
    )
    command.add_argument(
        "--order",
        choices=["torch", "tensorflow"],
        default="tensorflow",
        help="for --format weights: order of axes (default: tensorflow)",
    )


def map_options(command: argparse.ArgumentParser) -> None:
    """Options that choose how modules are interpreted."""
    command.add_argument(
        "--layer-maps",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a Python file with your own layer maps; it is run (default: none)",
    )
    command.add_argument(
        "--identity",
        action="append",
        default=[],
        metavar="CLASS",
        help="treat an unknown class as identity (default: none)",
    )
    command.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CLASS=KNOWN",
        help="treat a class as one that porter knows, for example nn.MyNet=nn.Sequential "
        "(default: none)",
    )
    command.add_argument(
        "--bn",
        choices=["auto", "as-saved", "train", "evaluate"],
        default="auto",
        help="which statistics batch normalisation uses (default: auto, as the model's own scripts "
        "run it; a warning says where the file was saved in the other mode)",
    )
    command.add_argument(
        "--seed",
        type=natural,
        default=1,
        help="seed of generated inputs and of random modules (default: 1)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def detail_options(command: argparse.ArgumentParser) -> None:
    """How much is printed."""
    amount = command.add_mutually_exclusive_group()
    amount.add_argument(
        "-v", "--verbose", action="store_true", help="show every layer and every warning"
    )
    amount.add_argument(
        "-q", "--quiet", action="store_true", help="print one line, and no progress"
    )


def natural(text: str) -> int:
    """An integer from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("an integer from 0 on is needed")
    return number


def tolerance_options(command: argparse.ArgumentParser) -> None:
    """Tolerances of the comparison with the oracle."""
    command.add_argument(
        "--isolated",
        type=float,
        default=1e-5,
        metavar="ERROR",
        help="tolerance for a layer that is fed the oracle's inputs, in units of its output's "
        "scale (default: 1e-5)",
    )
    command.add_argument(
        "--accumulated",
        type=float,
        default=1e-4,
        metavar="ERROR",
        help="tolerance for a layer that is fed by the port's own layers, in units of its "
        "output's scale (default: 1e-4)",
    )


def arguments_of(options: argparse.Namespace, function: Callable[..., Any]) -> dict[str, Any]:
    """The options that are keyword arguments of a function of `porter.api`."""
    names = inspect.signature(function).parameters
    return {
        name: value for name, value in vars(options).items() if name in names and value is not None
    }


def registry_of(options: argparse.Namespace) -> Registry:
    """porter's maps, the user's, and the classes to be treated as identity."""
    from porter.apps.registry import registry_with

    return registry_with(options.layer_maps, options.identity, options.map)


def options_of(options: argparse.Namespace) -> Options:
    from porter.ir.options import Options

    return Options(bn=options.bn, seed=options.seed)


def shapes_of(options: argparse.Namespace) -> tuple[RequestedShape, ...]:
    from porter.frontend.inputs import parse_shape

    return tuple(parse_shape(text) for text in options.input_shapes)


def show_json(body: Any) -> None:
    """One JSON object on standard output, in ASCII: strings of a file may hold anything."""
    json.dump(body, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def require_report(path: Path) -> None:
    """Refuse a report that cannot be written before anything is run."""
    from porter.report.pages import kind_of, require_kinds

    require_kinds((kind_of(path),))
    require_places(report=path)


def require_places(**files: Path | None) -> None:
    """Refuse files, by option, that cannot be written before anything is run; others replace."""
    places = {option: path for option, path in files.items() if path is not None}
    if not places:
        return
    from porter.system.atomic import require_file_target

    for option, path in places.items():
        require_file_target(path, True, option)
