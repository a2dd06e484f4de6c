"""The command line; `porter --help` lists the commands.

No logic lives here. Exit codes: 0 ok, 1 parity failed, 2 usage or output, 3 unreadable file,
4 unmapped or malformed modules.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from porter.errors import ParityError, PorterError, TooLarge, UsageError

if TYPE_CHECKING:
    from porter.options import Options
    from porter.registry import Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except PorterError as error:
        return report_error(error, options)
    except RecursionError:
        return report_error(UsageError("a file holds something that is nested too deep"), options)
    except MemoryError:
        return report_error(
            TooLarge("there is not enough memory", hint="give a smaller input with --input-shape"),
            options,
        )
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


def report_error(error: PorterError, options: argparse.Namespace) -> int:
    """Show an error, as JSON where that was asked for; returns its exit code."""
    from porter.reports.as_json import report_json, worst_rows
    from porter.reports.console import out, parity_table, show_error, show_hints

    reports = error.reports if isinstance(error, ParityError) else ()
    if getattr(options, "json", False):
        body: dict[str, Any] = report_json(reports) if reports else {}
        body["error"] = {
            "type": type(error).__name__,
            "message": error.message,
            "where": error.location,
            "received": error.received,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        show_json(body)
    elif reports:
        console, rows = out(), worst_rows(reports)
        console.print(parity_table(rows, console.width))
        show_hints(console, rows)
    show_error(error)
    return error.exit_code


def show_json(body: Any) -> None:
    """One JSON object on standard output, in ASCII: strings of a file may hold anything."""
    json.dump(body, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    from porter.conversion.manifest import version

    top = argparse.ArgumentParser(
        prog="porter",
        description="Trained Torch7 models (.t7) as TensorFlow models, proven layer by layer.",
        epilog="Exit codes: 0 ok, 1 parity failed, 2 usage or output, 3 unreadable file, "
        "4 unmapped or malformed modules.",
    )
    top.add_argument("--version", action="version", version=f"porter {version()}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    one = commands.add_parser("inspect", help="what a .t7 file is and holds")
    one.add_argument("file", type=Path)
    one.add_argument("--html", type=Path, metavar="FILE", help="also write a page with a drawing")
    one.add_argument("--svg", type=Path, metavar="FILE", help="also write the drawing alone")
    model_options(one)
    one.set_defaults(run=run_inspect)

    one = commands.add_parser("convert", help="convert a model, verified layer by layer")
    one.add_argument("file", type=Path)
    one.add_argument("-o", "--output", type=Path, help="folder to make (default: NAME_tensorflow)")
    one.add_argument("--reference", type=Path, help="activations recorded by Torch (.t7 or .npz)")
    one.add_argument(
        "--format",
        default=None,
        metavar="F,G",
        help="what to write, joined by commas (default: saved_model,checkpoint)",
    )
    one.add_argument(
        "--data-format",
        choices=["channels_last", "channels_first"],
        default="channels_last",
        help="order of image inputs and outputs (default: channels_last, N×H×W×C)",
    )
    preset_option(one)
    format_options(one)
    one.add_argument("--force", action="store_true", help="replace an earlier port in the folder")
    one.add_argument(
        "--report",
        metavar="html,markdown",
        help="write report.html or report.md into the folder; beside it if the conversion fails",
    )
    one.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="write graph, histograms of both sides, pictures and errors for TensorBoard",
    )
    tolerance_options(one)
    model_options(one)
    one.set_defaults(run=run_convert)

    one = commands.add_parser("weights", help="every tensor by Torch path, also of unknown classes")
    one.add_argument("file", type=Path)
    one.add_argument(
        "-o", "--output", type=Path, required=True, help="a file .npz, .safetensors or .h5"
    )
    one.add_argument(
        "--order", choices=["torch", "tensorflow"], default="torch", help="order of axes"
    )
    one.add_argument("--force", action="store_true", help="replace the file if it is there")
    one.add_argument("--select", metavar="PATH", help="which module of a checkpoint")
    map_options(one)
    one.set_defaults(run=run_weights)

    one = commands.add_parser("stylize", help="photographs through a model, and its pictures")
    one.add_argument("model", type=Path, help=".t7, converted folder, .keras or .tflite")
    one.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders or patterns")
    one.add_argument(
        "-o", "--output", type=Path, required=True, help="a file for one picture, else a folder"
    )
    preset_option(one)
    one.add_argument(
        "--image-size", type=int, metavar="N", help="scale the longer side to N pixels first"
    )
    one.add_argument(
        "--crop", action="store_true", help="cut pictures that came out larger than the photo"
    )
    one.add_argument(
        "--compare", action="store_true", help="also write NAME_compare: photo and picture"
    )
    one.add_argument("--batch", type=int, default=8, metavar="N", help="most pictures at once")
    one.add_argument("--force", action="store_true", help="replace pictures that are there")
    model_options(one)
    one.set_defaults(run=run_stylize)

    one = commands.add_parser("diff", help="compare models, ports and recordings layer by layer")
    one.add_argument("first", type=Path, help="the oracle: .t7 model, converted folder, recording")
    one.add_argument("second", type=Path, help="what is compared with it")
    one.add_argument("--report", type=Path, metavar="FILE.html|FILE.md", help="for people")
    one.add_argument(
        "--factor",
        type=float,
        default=10.0,
        metavar="K",
        help="between two JSON reports: errors more than K times larger are drift (default: 10)",
    )
    tolerance_options(one)
    model_options(one)
    one.set_defaults(run=run_diff)

    one = commands.add_parser("check", help="regression over folders of fixtures")
    one.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    one.add_argument("--junit", type=Path, help="also write a JUnit XML file")
    one.add_argument("--report", type=Path, metavar="FILE.html|FILE.md", help="for people")
    one.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    one.add_argument(
        "--cache", type=Path, metavar="DIR", help="do not check again what has not changed"
    )
    one.add_argument(
        "--update",
        action="store_true",
        help="record the errors in porter.expected.json: ten times larger ones fail from then on",
    )
    tolerance_options(one)
    map_options(one)
    one.set_defaults(run=run_check)

    one = commands.add_parser("record", help="print the Lua script that records activations")
    one.add_argument("-o", "--output", type=Path, help="write it to a file instead")
    one.set_defaults(run=run_record)

    one = commands.add_parser("layers", help="which Torch classes are handled, and how well")
    one.add_argument("--markdown", action="store_true", help="as a Markdown table")
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(run=run_layers)

    one = commands.add_parser("scaffold", help="write the stub of a layer map for a class")
    one.add_argument("typename", metavar="CLASS", help="for example nn.MyLayer")
    one.add_argument("--from", dest="file", type=Path, required=True, help="a model that holds it")
    one.add_argument("-o", "--output", type=Path, help="write it to a file instead of printing it")
    one.add_argument("--select", metavar="PATH", help="which module of a checkpoint")
    one.set_defaults(run=run_scaffold)
    return top


def model_options(command: argparse.ArgumentParser) -> None:
    """Options of every command that opens a model."""
    command.add_argument("--select", metavar="PATH", help="which module of a checkpoint")
    command.add_argument(
        "--input-shape",
        action="append",
        default=[],
        metavar="CxHxW",
        help="input shape in Torch's order; once for each input of the model",
    )
    map_options(command)


def preset_option(command: argparse.ArgumentParser) -> None:
    """What the numbers of a net of pictures mean."""
    command.add_argument(
        "--preset",
        metavar="NAME|FILE.toml",
        help="how pictures become the net's numbers (default: as the file tells)",
    )


def format_options(command: argparse.ArgumentParser) -> None:
    """Options of single formats."""
    command.add_argument(
        "--tflite",
        default="float32",
        metavar="KIND,…",
        help="for --format tflite: float32, float16, dynamic, int8, uint8",
    )
    command.add_argument(
        "--representative",
        type=Path,
        metavar="DIR|.npz",
        help="what int8 and uint8 are calibrated on: pictures, or the net's own inputs",
    )
    command.add_argument(
        "--quantised-psnr", type=float, metavar="DB", help="least PSNR of quantised files"
    )
    command.add_argument(
        "--weights",
        default="npz",
        metavar="KIND,…",
        help="for --format weights: npz, safetensors, h5",
    )
    command.add_argument(
        "--order",
        choices=["torch", "tensorflow"],
        default="tensorflow",
        help="for --format weights: order of axes",
    )


def map_options(command: argparse.ArgumentParser) -> None:
    """Options that say what a module means."""
    command.add_argument(
        "--layer-maps",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a Python file with your own layer maps",
    )
    command.add_argument(
        "--identity",
        action="append",
        default=[],
        metavar="CLASS",
        help="treat an unknown class as identity",
    )
    command.add_argument(
        "--bn",
        choices=["as-saved", "train", "evaluate"],
        default="as-saved",
        help="which statistics batch normalisation uses (default: as the file says)",
    )
    command.add_argument("--seed", type=natural, default=1, help="for inputs and random modules")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def natural(text: str) -> int:
    """An integer from 0 on, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("an integer from 0 on is needed")
    return number


def tolerance_options(command: argparse.ArgumentParser) -> None:
    """Largest accepted errors."""
    command.add_argument("--isolated", type=float, default=1e-5, metavar="ERROR")
    command.add_argument("--accumulated", type=float, default=1e-4, metavar="ERROR")


def registry_of(options: argparse.Namespace) -> Registry:
    """porter's maps, the user's, and the classes to be treated as identity."""
    from porter.registry import default_registry, load_layer_maps, with_identity

    registry = default_registry()
    for path in options.layer_maps:
        registry = load_layer_maps(path, registry)
    return with_identity(registry, options.identity)


def options_of(options: argparse.Namespace) -> Options:
    from porter.options import Options

    return Options(bn=options.bn, seed=options.seed)


def tolerance_of(options: argparse.Namespace) -> Any:
    from porter.parity.compare import Tolerance

    for value in (options.isolated, options.accumulated):
        if not 0 < value < math.inf:
            raise UsageError("a tolerance is a positive number", received=str(value))
    return Tolerance(options.isolated, options.accumulated)


def shapes_of(options: argparse.Namespace) -> tuple[tuple[int, ...], ...]:
    from porter.walk.inputs import parse_shape

    return tuple(parse_shape(text) for text in options.input_shape)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Options of single formats by format."""
    from porter.emit.settings import TFLiteSettings, WeightSettings

    kinds, weights = (tuple(text.split(",")) for text in (options.tflite, options.weights))
    return {
        "tflite": TFLiteSettings(kinds, options.representative, options.quantised_psnr),
        "weights": WeightSettings(weights, options.order),
    }


def run_inspect(options: argparse.Namespace) -> int:
    from porter.commands.inspect import inspect
    from porter.model_file import open_model

    opened = open_model(options.file, options.select)
    seen = inspect(opened, registry_of(options), options_of(options), shapes_of(options))
    if options.html or options.svg:
        from porter.conversion.output import write_text
        from porter.pages import network

        if options.html:
            write_text(options.html, network.render_html(seen))
        if options.svg:
            write_text(options.svg, network.render_svg(seen))
    if options.json:
        show_json(seen.json())
        return 0
    from porter.reports.console import out, show_inspection

    show_inspection(out(), seen)
    return 0


def run_convert(options: argparse.Namespace) -> int:
    from porter import recording
    from porter.conversion.pipeline import convert
    from porter.conversion.request import Request
    from porter.emit.formats import DEFAULT
    from porter.reports.as_json import worst_rows
    from porter.reports.console import format_table, out, parity_table, progress

    request = Request(
        source=options.file,
        output=options.output,
        input_shapes=shapes_of(options),
        reference=recording.read(options.reference) if options.reference else None,
        select=options.select,
        registry=registry_of(options),
        options=options_of(options),
        tolerance=tolerance_of(options),
        data_format=options.data_format,
        preset=options.preset,
        formats=tuple(options.format.split(",")) if options.format else DEFAULT,
        settings=settings_of(options),
        force=options.force,
        pages=tuple(options.report.split(",")) if options.report else (),
        tensorboard=options.tensorboard,
    )
    with progress() as display:
        task = display.add_task("start")
        done = convert(
            request, lambda stage, what: display.update(task, description=f"{stage} {what}")
        )
    if options.json:
        show_json(done.json())
        return 0
    console = out()
    console.print(parity_table(worst_rows(done.reports), console.width))
    console.print()
    console.print(format_table(done.emitted))
    console.print(f"\n{done.summary()}")
    return 0


def run_weights(options: argparse.Namespace) -> int:
    from porter.commands.weights import collect, collect_as_tensorflow
    from porter.emit.arrays import save
    from porter.model_file import open_model
    from porter.reports.console import out, size_shown

    root = open_model(options.file, options.select).root
    if options.order == "torch":
        weights = collect(root)
    else:
        weights = collect_as_tensorflow(root, registry_of(options))
    save(weights, options.output, options.force)
    if options.json:
        show_json(weights.json())
        return 0
    out().print(
        f"{len(weights.arrays)} arrays in {weights.order}'s order, {len(weights.aliases)} aliases; "
        f"{size_shown(options.output.stat().st_size)}, read back bit by bit: {options.output}"
    )
    return 0


def run_stylize(options: argparse.Namespace) -> int:
    from porter.images.files import pairs
    from porter.images.opening import Choices, open_net
    from porter.images.stylize import Result, Settings, stylize
    from porter.reports.console import out, progress, show_error, stylized_line

    settings = Settings(options.image_size, options.crop, options.batch)
    settings.require_sensible()
    photos = pairs(options.inputs, options.output, options.compare, options.force)
    choices = Choices(
        options.preset,
        options.select,
        shapes_of(options),
        registry_of(options),
        options_of(options),
    )
    console = out()
    with progress() as display:
        task = display.add_task(f"open {options.model}", total=len(photos))
        net, meaning = open_net(options.model, choices)
        display.reset(task)

        def seen(result: Result) -> None:
            display.update(task, advance=1, description=result.source.name)
            if result.error is not None:
                show_error(result.error)
            elif not options.json:
                console.print(stylized_line(result))

        done = stylize(net, meaning, photos, settings, seen)
    if options.json:
        show_json(done.json())
    else:
        console.print(done.summary())
    return done.exit_code


def run_diff(options: argparse.Namespace) -> int:
    from porter.commands.diff import diff, open_side
    from porter.reports.as_json import report_json
    from porter.reports.console import out, parity_table, show_hints

    if options.first.suffix == options.second.suffix == ".json":
        return run_drift(options)
    if options.report:
        require_report(options.report)
    registry, choices = registry_of(options), options_of(options)
    first = open_side(options.first, registry, choices, options.select)
    second = open_side(options.second, registry, choices, options.select)
    report = diff(first, second, tolerance_of(options), options.seed)
    if options.report:
        from porter.pages import write
        from porter.pages.document import Document

        title = f"{options.first.name} and {options.second.name}"
        write(Document(title, (report,)), options.report)
    if options.json:
        show_json(report_json([report]))
    else:
        console = out()
        console.print(parity_table(report.rows, console.width))
        show_hints(console, report.rows)
        diverging = report.first_diverging
        console.print(
            f"\nthe same, by {report.oracle}"
            if diverging is None
            else f"\nfirst diverging: {diverging.path or 'the root'} ({diverging.type}): "
            f"{diverging.summary()}"
        )
    return 0 if report.passed else 1


def require_report(path: Path) -> None:
    """Refuse a report that cannot be written before anything is run."""
    from porter.pages import kind_of, require_kinds

    require_kinds((kind_of(path),))


def run_drift(options: argparse.Namespace) -> int:
    from porter.reports import drift
    from porter.reports.console import out, show_drift

    if not options.factor > 1:
        raise UsageError("a factor of drift is larger than 1", received=str(options.factor))
    changes = drift.compare(drift.read(options.first), drift.read(options.second), options.factor)
    if options.json:
        show_json(changes.json())
    else:
        show_drift(out(), changes)
    return 1 if changes.worse else 0


def run_check(options: argparse.Namespace) -> int:
    from porter.check import campaign, checker
    from porter.reports.console import out, progress, result_line

    if options.report:
        require_report(options.report)
    fixtures = checker.find(options.paths)
    recipe = campaign.Recipe(
        tuple(options.layer_maps),
        tuple(options.identity),
        options_of(options),
        tolerance_of(options),
    )
    console = out()
    with progress() as display:
        task = display.add_task("check", total=len(fixtures))

        def seen(result: checker.Result) -> None:
            display.update(task, advance=1, description=result.path)
            if not options.json:
                console.print(result_line(result))

        results = campaign.run(fixtures, recipe, options.jobs, options.cache, seen)
    counts = checker.summary(results)
    if options.json:
        show_json({"results": [result.json() for result in results], "summary": counts})
    else:
        if len(results) > console.height:
            # What failed has scrolled away.
            for result in campaign.by_severity(results):
                console.print(result_line(result))
        console.print(", ".join(f"{count} {status}" for status, count in counts.items()))
        if not results:
            console.print("no fixtures were found")
    if options.junit:
        from porter.check.junit import write_junit

        write_junit(results, options.junit)
    if options.report:
        from porter.pages import checks

        checks.write(results, options.report)
    if options.update:
        for path in campaign.accept(results, options.paths[0]):
            print(f"recorded: {path}", file=sys.stderr)
    return checker.exit_code(results)


def run_record(options: argparse.Namespace) -> int:
    from porter.conversion.output import write_text
    from porter.recorder import script

    if options.output:
        write_text(options.output, script())
    else:
        sys.stdout.write(script())
    return 0


def run_layers(options: argparse.Namespace) -> int:
    from porter.commands import coverage

    table = coverage.table()
    if options.json:
        show_json(coverage.as_json(table))
    elif options.markdown:
        sys.stdout.write(coverage.as_markdown(table))
    else:
        from porter.reports.console import out

        out().print(coverage.as_rich(table))
    return 0


def run_scaffold(options: argparse.Namespace) -> int:
    from porter.commands.scaffold import stub
    from porter.conversion.output import write_text
    from porter.model_file import open_model

    text = stub(options.typename, open_model(options.file, options.select).root)
    if options.output:
        write_text(options.output, text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
